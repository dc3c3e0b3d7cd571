"""`totes alerts` and `totes report`: alert rules and the scheduled report."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING, Annotated

import typer

from totes.cli.output import Json
from totes.errors import TotesError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from totes.config.settings import Settings
    from totes.operations.finding import Finding

HOLDS = 1
"""Exit code if the condition of a rule holds."""


def alerts(
    *,
    send: Annotated[
        bool,
        typer.Option(
            "--send",
            help="Also send a message for each rule that begins or ceases to hold, and a report "
            "that is due, as `totes run` does.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the alert rules of TOTES_DASHBOARD_CONFIG, and list their values.

    Exits with 1 if the condition of a rule holds. `totes run` checks them after each batch; where
    it does not run, schedule `totes alerts --send`.
    """
    from totes.cli.output import print_json
    from totes.cli.terminal import cell, format_time, out, table
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.notifications.background import open_notifications

    with Resources(load_settings(), create=False) as resources:
        notifications = open_notifications(
            resources.settings, resources.warehouse, resources.alert_targets
        )
        if send:
            notifications.check()
        results = notifications.evaluate()
    if as_json:
        print_json(results)
    elif not results:
        out().print("There are no alert rules.")
    else:
        rows = table("rule", "state", "condition", "value", "since")
        for one in results:
            since = format_time(one.since) if one.since else "-"
            rows.add_row(*map(cell, (one.rule, one.state, one.condition, one.value, since)))
        out().print(rows)
    raise typer.Exit(HOLDS if any(one.state == "alert" for one in results) else 0)


def report(
    *,
    html: Annotated[bool, typer.Option("--html", help="Print it as HTML.")] = False,
    send: Annotated[
        bool, typer.Option("--send", help="Send it now, whether it is due or not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the scheduled report of the last day, week or month, or send it.

    `totes run` sends it when it is due. The table [report] of TOTES_DASHBOARD_CONFIG has the
    schedule and the recipients.
    """
    from totes.cli.output import print_json
    from totes.cli.terminal import out
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.notifications.background import open_notifications

    with Resources(load_settings(), create=False) as resources:
        notifications = open_notifications(
            resources.settings, resources.warehouse, resources.alert_targets
        )
        schedule = notifications.config.report
        if schedule is None:
            raise UsageError("There is no table [report] in the file of TOTES_DASHBOARD_CONFIG.")
        composed = notifications.compose_report(schedule)
        if send:
            from totes.notifications.schedule import senders

            for deliver in senders(schedule, resources.settings).values():
                deliver(composed)
            out().print("The report is sent.")
            return
    if as_json:
        print_json(composed)
    else:
        out().print(composed.html if html else composed.text, markup=False, end="")


def check_config(settings: "Settings") -> "Iterator[Finding]":
    """Yield whether the configuration file is valid, if there is one."""
    from totes.notifications.background import open_config
    from totes.operations.finding import Finding

    file = settings.dashboard_file
    if file is None:
        return
    try:
        config = open_config(settings)
    except TotesError as error:
        yield Finding("dashboard configuration", str(error), ok=False)
        return
    parts = f"{len(config.alert)} alert rules" + (", a report" if config.report else "")
    yield Finding("dashboard configuration", f"{file}: {parts}")
