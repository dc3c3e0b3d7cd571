"""`totes settings`: list the settings."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from totes.cli.output import Json, print_json


def settings(*, as_json: Json = False) -> None:
    """List all settings with their values and origins."""
    from rich.text import Text

    from totes.cli.terminal import out
    from totes.config.settings import list_settings, load_settings
    from totes.escape import escape_controls

    listed = list(list_settings(load_settings()))
    if as_json:
        print_json(listed)
        return
    console, width = out(), max(len(setting.name) for setting in listed)
    for setting in listed:
        value = (
            escape_controls(setting.value) if setting.value is not None else f"({setting.default})"
        )
        console.print(
            Text.assemble((f"{setting.name:<{width}}", "bold"), f" {value}  ({setting.origin})")
        )
        console.print(Text(f"{'':<{width}} {setting.meaning}", "dim"))
