"""Send a mail through an SMTP server, encrypted unless the settings say otherwise."""

import logging
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from types import MappingProxyType
from typing import Self
from urllib.parse import urlsplit

from totes.config.secrets import read_secret_fields
from totes.config.settings import PREFIX, Settings
from totes.errors import DeliveryError, UsageError

LOG = logging.getLogger(__name__)

PORTS: Mapping[str, int] = MappingProxyType({"starttls": 587, "tls": 465, "off": 25})
"""The usual ports, by TOTES_SMTP_TLS."""

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class MailServer:
    """A mail server and the sender's login; printed without the password."""

    host: str
    port: int
    tls: str
    sender: str
    user: str | None = None
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the mail server of the settings, None if they have none.

        Raises UsageError if settings are missing, or would send the password unencrypted.
        """
        if settings.smtp_server is None:
            return None
        address = urlsplit(f"//{settings.smtp_server}")
        if settings.smtp_sender is None:
            raise UsageError("TOTES_SMTP_SENDER is not set: set it to the report's sender.")
        user, password = settings.smtp_user, settings.smtp_password
        login = {"username": user, "password": password.get_secret_value() if password else ""}
        if settings.smtp_secret:
            login |= read_secret_fields(settings.smtp_secret, f"{PREFIX}SMTP_SECRET", [*login])
        if login["password"] and settings.smtp_tls == "off":
            raise UsageError(
                "TOTES_SMTP_TLS=off would send the password unencrypted: use starttls or tls."
            )
        return cls(
            str(address.hostname),
            address.port or PORTS[settings.smtp_tls],
            settings.smtp_tls,
            settings.smtp_sender,
            login["username"],
            login["password"] or "",
        )

    def send(self, message: EmailMessage) -> None:
        """Send a message; DeliveryError if the server or all recipients can't be reached."""
        try:
            self._send(message)
        except smtplib.SMTPAuthenticationError as error:
            raise self._error(f"rejects user {self.user} (code {error.smtp_code})") from None
        except smtplib.SMTPNotSupportedError:
            raise self._error(
                f"offers no {'encryption' if self.tls == 'starttls' else 'login'}: "
                "correct TOTES_SMTP_SERVER and TOTES_SMTP_TLS"
            ) from None
        except smtplib.SMTPRecipientsRefused as error:
            raise self._error(f"refuses the recipients {', '.join(error.recipients)}") from None
        except smtplib.SMTPResponseException as error:
            answer = error.smtp_error
            text = answer if isinstance(answer, str) else answer.decode(errors="replace")
            raise self._error(f"answers {error.smtp_code} {' '.join(text.split())}") from None
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message.rstrip(".")
            raise self._error(f"has a certificate that can't be verified: {reason}") from None
        except (OSError, smtplib.SMTPException) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise self._error(f"can't be reached: {reason or type(error).__name__}") from None

    def _send(self, message: EmailMessage) -> None:
        context = ssl.create_default_context()
        connect = (
            smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_SECONDS, context=context)
            if self.tls == "tls"
            else smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_SECONDS)
        )
        with connect as server:
            if self.tls == "starttls":
                server.starttls(context=context)
            if self.user:
                server.login(self.user, self.password)
            refused = server.send_message(message)
        if refused:
            LOG.warning(
                "The mail server %s:%s refuses the recipients %s; the others have the report.",
                self.host,
                self.port,
                ", ".join(refused),
            )

    def _error(self, reason: str) -> DeliveryError:
        return DeliveryError(f"The mail server {self.host}:{self.port} {reason}.")
