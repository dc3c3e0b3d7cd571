"""A mail server on this machine, which keeps the mails that it accepts."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from certificates import certificate, private_key
from cryptography.hazmat.primitives.asymmetric import ec

from totes.dashboard.server.web_server import free_port

USER, PASSWORD = "reporter", "open sesame"

REFUSED = "nobody@totes.example"
"""A recipient that the server refuses."""


class MailServer:
    """A running server: its address, and the mails with their recipients."""

    def __init__(self) -> None:
        self.address = ""
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.logins = 0

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        if address == REFUSED:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        content = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        assert isinstance(content, EmailMessage)
        self.mails.append((envelope.rcpt_tos, content))
        return "250 OK"

    def authenticate(self, *arguments: Any) -> AuthResult:
        login = arguments[-1]
        assert isinstance(login, LoginPassword)
        is_right = login == LoginPassword(USER.encode(), PASSWORD.encode())
        self.logins += is_right
        return AuthResult(success=is_right, handled=False)


@contextmanager
def mail_server(folder: Path, tls: str = "starttls") -> Iterator[MailServer]:
    """Serve with a certificate for localhost, whose root is root.pem in `folder`.

    With `tls` off, the server offers neither encryption nor login.
    """
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    (folder / "root.pem").write_bytes(certificate("Authority", root, "Authority", root))
    chain = folder / "server.pem"
    chain.write_bytes(certificate("localhost", key, "Authority", root) + private_key(key))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    server = MailServer()
    options: dict[str, Any] = {}
    if tls != "off":
        options = {"authenticator": server.authenticate, "auth_required": True}
    if tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if tls == "tls":
        options |= {"ssl_context": context, "auth_required": False, "auth_require_tls": False}
    controller = Controller(server, hostname="127.0.0.1", port=free_port(wanted=0), **options)
    controller.start()
    server.address = f"localhost:{controller.port}"
    try:
        yield server
    finally:
        controller.stop()
