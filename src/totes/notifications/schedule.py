"""Send the scheduled report once for each due time, also across restarts and processes."""

from collections.abc import Callable
from datetime import date, datetime, timedelta, tzinfo
from functools import partial
from typing import Any

from psycopg import Connection

from totes.alert import publish
from totes.config.settings import Settings
from totes.dashboard.config_file import Schedule
from totes.errors import DeliveryError, UsageError
from totes.notifications.mail import MailServer
from totes.notifications.report import Report

_DAY = timedelta(days=1)


def last_due(schedule: Schedule, now: datetime, zone: tzinfo) -> datetime:
    """Return the last moment at which a report was due; its time of day is in `zone`."""
    day: date = now.astimezone(zone).date()
    while True:
        due = datetime.combine(day, schedule.at, zone)
        if _is_report_day(schedule.schedule, day) and due <= now:
            return due
        day -= _DAY


def _is_report_day(schedule: str, day: date) -> bool:
    if schedule == "weekly":
        return day.weekday() == 0
    return schedule == "daily" or day.day == 1


def send_if_due(
    connection: Connection[Any], name: str, due: datetime, send: Callable[[], None]
) -> None:
    """Call `send` unless the report `name` of this due time was sent.

    The first due time is only recorded: a schedule begins with the next one. Runs in the caller's
    transaction: if `send` raises, nothing is recorded, and the next check calls it again.
    """
    [(now, last)] = connection.execute(
        "SELECT clock_timestamp(), (SELECT due_at FROM totes.sent_reports WHERE report = %s)",
        [name],
    ).fetchall()
    if last is not None and last >= due:
        return
    if last is not None:
        send()
    connection.execute(
        "INSERT INTO totes.sent_reports (report, due_at, sent_at) VALUES (%s, %s, %s)"
        " ON CONFLICT (report) DO UPDATE SET due_at = excluded.due_at, sent_at = excluded.sent_at",
        [name, due, None if last is None else now],
    )


def senders(schedule: Schedule, settings: Settings) -> dict[str, Callable[[Report], None]]:
    """Return the functions that send a report by `mail` and to the SNS `topic`, if they are set.

    They raise DeliveryError, or UsageError if settings of the mail server are missing or invalid.
    Raises UsageError if neither is set.
    """
    by_way: dict[str, Callable[[Report], None]] = {}
    if schedule.recipients:
        by_way["mail"] = partial(_mail, schedule.recipients, settings)
    if settings.report_topic:
        by_way["topic"] = partial(_publish, settings.report_topic)
    if not by_way:
        raise UsageError(
            "The report has neither recipients nor TOTES_REPORT_TOPIC: set one of the two."
        )
    return by_way


def check_delivery(schedule: Schedule, settings: Settings) -> None:
    """Raise UsageError if the settings don't say how to send the report."""
    if "mail" in senders(schedule, settings):
        _mail_server(settings)


def _mail_server(settings: Settings) -> MailServer:
    server = MailServer.of(settings)
    if server is None:
        raise UsageError("The report has recipients, but TOTES_SMTP_SERVER is not set.")
    return server


def _mail(recipients: tuple[str, ...], settings: Settings, report: Report) -> None:
    server = _mail_server(settings)
    server.send(report.mail(server.sender, recipients))


def _publish(topic: str, report: Report) -> None:
    if not publish(topic, f"{report.title}: {report.period}", report.text, "report"):
        raise DeliveryError(f"The SNS topic {topic} fails: see the log.")
