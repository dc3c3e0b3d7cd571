"""CSV files for spreadsheets, without formulas."""

import pandas as pd

_BEGINS_A_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001  spreadsheets take the wide ones, too


def csv(frame: pd.DataFrame) -> bytes:
    """Return a CSV file in UTF-8 with a byte order mark, and with lines as in RFC 4180.

    A text that a spreadsheet would execute as a formula is prefixed with ', as OWASP advises:
    names of customers, designs and columns may be any text. Numbers are unchanged.
    """
    return (
        frame.map(_shown)
        .rename(columns=_shown)
        .to_csv(index=False, lineterminator="\r\n")
        .encode("utf-8-sig")
    )


def _shown(value: object) -> object:
    if isinstance(value, str) and value.startswith(_BEGINS_A_FORMULA):
        return f"'{value}"
    return value
