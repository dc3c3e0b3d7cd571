"""Sign-in to the dashboard by OpenID Connect: its settings, and who has which role."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from totes.config.settings import PREFIX, Settings
from totes.errors import UsageError

_MIN_COOKIE_SECRET = 32

_FIELDS = ("client_id", "client_secret", "cookie_secret")
"""Fields of the secret in AWS Secrets Manager."""


class Role(StrEnum):
    """What a user may see: a viewer all pages but those about the pipeline, an operator all."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True)
class SignIn:
    """Who may sign in, and how; without the secrets when printed."""

    url: str
    """Where users open the dashboard."""
    viewers: frozenset[str]
    operators: frozenset[str]
    provider: Mapping[str, str] = field(repr=False)
    """Streamlit's section `auth`, which has secrets."""

    def role(self, claims: Mapping[str, object]) -> Role | None:
        """Return the role of the user with the claims of an ID token; None without one.

        The user is known by the email address, whatever its case. An address that the provider
        reports as not verified has no role.
        """
        email = str(claims.get("email") or "").casefold()
        name, _, domain = email.rpartition("@")
        if not name or str(claims.get("email_verified")).casefold() == "false":
            return None
        names = {email, f"@{domain}"}
        if names & self.operators:
            return Role.OPERATOR
        return Role.VIEWER if names & self.viewers else None


def sign_in(settings: Settings) -> SignIn | None:
    """Return the sign-in of the settings; None if they have none.

    Raises UsageError if settings of it are missing.
    """
    fields = {
        "client_id": settings.dashboard_oidc_client_id,
        "client_secret": _revealed(settings, "dashboard_oidc_client_secret"),
        "cookie_secret": _revealed(settings, "dashboard_cookie_secret"),
    }
    users = (*settings.dashboard_viewers, *settings.dashboard_operators)
    provider = (settings.dashboard_oidc_url, settings.dashboard_oidc_secret)
    if not any((*fields.values(), *provider, *users)):
        return None
    if name := settings.dashboard_oidc_secret:
        from totes.config.secrets import read_secret_fields  # noqa: PLC0415  AWS is optional

        fields |= read_secret_fields(name, f"{PREFIX}DASHBOARD_OIDC_SECRET", _FIELDS)
    missing = [
        f"{PREFIX}DASHBOARD_{name}"
        for name, value in {
            "OIDC_URL": settings.dashboard_oidc_url,
            "OIDC_CLIENT_ID": fields["client_id"],
            "OIDC_CLIENT_SECRET": fields["client_secret"],
            "URL": settings.dashboard_url,
            "VIEWERS or TOTES_DASHBOARD_OPERATORS": users,
        }.items()
        if not value
    ]
    if missing:
        raise UsageError(f"Sign-in to the dashboard lacks {', '.join(missing)}.")
    cookie_secret = fields["cookie_secret"] or secrets.token_urlsafe(_MIN_COOKIE_SECRET)
    if len(cookie_secret) < _MIN_COOKIE_SECRET:
        raise UsageError(
            f"The cookie secret of the dashboard is shorter than {_MIN_COOKIE_SECRET} characters: "
            "`openssl rand -hex 32` prints a new one."
        )
    return SignIn(
        url=str(settings.dashboard_url),
        viewers=frozenset(user.casefold() for user in settings.dashboard_viewers),
        operators=frozenset(user.casefold() for user in settings.dashboard_operators),
        provider={
            "redirect_uri": f"{settings.dashboard_url}/oauth2callback",
            "cookie_secret": cookie_secret,
            "client_id": str(fields["client_id"]),
            "client_secret": str(fields["client_secret"]),
            "server_metadata_url": str(settings.dashboard_oidc_url),
        },
    )


def _revealed(settings: Settings, name: str) -> str | None:
    secret = getattr(settings, name)
    return secret.get_secret_value() if secret else None
