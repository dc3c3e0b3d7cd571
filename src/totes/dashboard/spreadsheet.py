"""CSV for spreadsheets, which show what is in it and never run it."""

import pandas as pd

_BEGINS_A_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001  spreadsheets take the wide ones, too


def csv(frame: pd.DataFrame) -> bytes:
    """As UTF-8 with a byte order mark, by which spreadsheets know it.

    A text that a spreadsheet would take for a formula has a ' before it, as OWASP says: customers
    and designs are named by strangers. Numbers are as they are. Lines end as RFC 4180 has it, by
    which a line's end within a text is quoted.
    """
    return frame.map(_shown).to_csv(index=False, lineterminator="\r\n").encode("utf-8-sig")


def _shown(value: object) -> object:
    if isinstance(value, str) and value.startswith(_BEGINS_A_FORMULA):
        return f"'{value}"
    return value
