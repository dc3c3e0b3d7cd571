"""`totes settings`: every setting, its value and where it comes from."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from totes.cli.report import Json, report


def settings(*, as_json: Json = False) -> None:
    """Every setting, its value and where it is from."""
    from rich.text import Text

    from totes.cli.terminal import out, printable
    from totes.config.settings import listed, load_settings

    found = list(listed(load_settings()))
    if as_json:
        report(found)
        return
    console = out()
    for one in found:
        value = printable(one.value) if one.value is not None else f"({one.default})"
        console.print(Text.assemble((f"{one.name:<21}", "bold"), f" {value}  ({one.origin})"))
        console.print(Text(f"{'':<21} {one.meaning}", "dim"))
