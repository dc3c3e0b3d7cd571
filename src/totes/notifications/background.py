"""Check alert rules and the report's schedule while the pipeline runs."""

# ruff: noqa: PLC0415  the dashboard's packages are optional, and imported only for a configuration

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING

from totes.alert import AlertTargets
from totes.config.dsn import Dsn
from totes.config.settings import Settings
from totes.dashboard.server.packages import require_packages
from totes.stages.runner import StageHealth

if TYPE_CHECKING:
    from totes.dashboard.config_file import ConfigFile
    from totes.notifications.sending import Notifications

EVERY_SECONDS = 60.0
"""Pause between two checks if there is no new batch: the age of data and due times depend on it."""

_STOP_SECONDS = 10.0


def open_notifications(
    settings: Settings, warehouse: Dsn, targets: AlertTargets
) -> "Notifications":
    """Return the notifications; UsageError if the dashboard's packages are not installed."""
    require_packages()
    from totes.dashboard.preferences import Preferences, set_preferences
    from totes.notifications.sending import Notifications

    set_preferences(Preferences.of(settings))
    return Notifications(settings, warehouse, targets)


def open_config(settings: Settings) -> "ConfigFile":
    """Return the configuration file; UsageError if it is invalid, or its report can't be sent."""
    require_packages()
    from totes.dashboard.config_file import load_config
    from totes.notifications.schedule import check_delivery

    config = load_config(settings.dashboard_file)
    if config.report is not None:
        check_delivery(config.report, settings)
    return config


@dataclass
class Checker:
    """Checks the rules of the configuration file, if there is one; logs errors, and raises none."""

    settings: Settings
    warehouse: Dsn
    targets: AlertTargets
    _health: StageHealth = field(default_factory=StageHealth)

    def check(self) -> None:
        """Check and send; log an error, and send an alert about it once."""
        if self.settings.dashboard_file is None:
            return
        try:
            open_notifications(self.settings, self.warehouse, self.targets).check()
        except Exception as error:  # noqa: BLE001  the pipeline goes on whatever fails here
            self._health.record_failure("alerts", error, self.targets)
        else:
            self._health.record_success("alerts")


@contextmanager
def checks_in_background(checker: Checker) -> Iterator[Event]:
    """Check in a thread whenever the event that is yielded is set, and every minute.

    A check that the end of the process interrupts is rolled back; the next process repeats it.
    """
    wake, stop = Event(), Event()

    def run() -> None:
        while not stop.is_set():
            wake.clear()
            checker.check()
            wake.wait(EVERY_SECONDS)

    thread = Thread(target=run, daemon=True, name="alerts")
    thread.start()
    try:
        yield wake
    finally:
        stop.set()
        wake.set()
        thread.join(_STOP_SECONDS)
