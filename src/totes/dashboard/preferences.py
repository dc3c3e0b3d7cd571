"""How the dashboard of one company looks, and who may see it; set when the server starts."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

from totes.config.settings import Settings
from totes.config.sign_in import SignIn
from totes.errors import UsageError

MAX_LOGO_BYTES = 1_000_000

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Preferences:
    """The settings that the pages need.

    Without `sign_in`, all users are operators, or viewers with `viewers_only`.
    """

    company: str = "Terrific Totes"
    logo: Path | None = None
    currency: str = "GBP"
    time_zone: tzinfo = UTC
    fiscal_month: int = 1
    contact: str = "an operator of the dashboard"
    embedders: tuple[str, ...] = ()
    sign_in: SignIn | None = None
    viewers_only: bool = False

    @classmethod
    def of(
        cls, settings: Settings, sign_in: SignIn | None = None, *, viewers_only: bool = False
    ) -> Self:
        """Return the preferences of the settings."""
        zone = settings.dashboard_time_zone
        return cls(
            company=settings.dashboard_company,
            logo=settings.dashboard_logo,
            currency=settings.dashboard_currency,
            time_zone=UTC if zone == "UTC" else ZoneInfo(zone),
            fiscal_month=settings.dashboard_fiscal_year,
            contact=settings.dashboard_contact,
            embedders=settings.dashboard_embedders,
            sign_in=sign_in,
            viewers_only=viewers_only,
        )


_preferences = [Preferences()]


def set_preferences(preferences: Preferences) -> None:
    """Use these preferences for all pages of this process."""
    _preferences[:] = [preferences]


def preferences() -> Preferences:
    """Return what `set_preferences` was called with; without that, the defaults."""
    return _preferences[0]


def local(moment: datetime) -> datetime:
    """Return a moment in the time zone that the pages show."""
    return moment.astimezone(preferences().time_zone)


def check_logo(path: Path) -> None:
    """Raise UsageError if a file is not an SVG or PNG image of at most 1 MB."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_LOGO_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"Setting TOTES_DASHBOARD_LOGO: {path} can't be read: {error.strerror}."
        ) from None
    is_svg = path.suffix.lower() == ".svg" and b"<svg" in content
    is_png = path.suffix.lower() == ".png" and content.startswith(_PNG)
    if len(content) > MAX_LOGO_BYTES or not (is_svg or is_png):
        raise UsageError(
            f"Setting TOTES_DASHBOARD_LOGO: {path} is not an SVG or PNG image of at most 1 MB."
        )
