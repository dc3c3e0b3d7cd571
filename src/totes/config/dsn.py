"""A connection string of libpq, with secrets that are never shown."""

import logging
import os
import re
from collections.abc import Callable
from ipaddress import ip_address
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

log = logging.getLogger(__name__)

_SECRET_KEYWORDS = frozenset(
    {"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}
)
"""Keywords of libpq whose values are never shown."""

_OPTIONAL_TLS = frozenset({"disable", "allow", "prefer"})
"""Values of `sslmode` that permit an unencrypted connection."""


class Dsn:
    """A libpq connection string; it is printed without secrets and can't be pickled."""

    __slots__ = ("_parts", "_renew", "_renewed", "_value")

    def __init__(self, value: str) -> None:
        """Parse `value`, a libpq URL or keyword string; ValueError if libpq can't."""
        try:
            parts = conninfo_to_dict(value)
        except Exception:  # noqa: BLE001  psycopg's message repeats the text, password included
            raise ValueError("is not a libpq connection URL") from None
        if _has_unescaped_password(value):
            raise ValueError(
                "is not a libpq connection URL: write @ and / in a password as %40 and %2F"
            )
        self._value = SecretStr(value)
        self._parts = {
            k: v if k not in _SECRET_KEYWORDS else SecretStr(str(v)) for k, v in parts.items()
        }
        self._renew: Callable[[], Dsn] | None = None
        self._renewed: Dsn | None = None

    def reveal(self) -> str:
        """Return the DSN with its secrets, for the driver."""
        return self._renewed.reveal() if self._renewed else self._value.get_secret_value()

    def connect[T](self, connect: Callable[[str], T]) -> T:
        """Return `connect(dsn)` for the DSN with its secrets.

        If the server rejects the password, fetch the DSN again, once, and keep a changed one.
        """
        current = self.reveal()
        try:
            return connect(current)
        except psycopg.OperationalError as error:
            if self._renew is None or not _is_login_rejected(error):
                raise
            renewed = self._renew()
            if renewed.reveal() == current:
                raise
        self._renewed = renewed
        log.info("The password of %s was rejected: using the new password of its secret.", self)
        return connect(renewed.reveal())

    def set_renewal(self, renew: "Callable[[], Dsn]") -> Self:
        """Set the function that fetches the DSN again, and return self."""
        self._renew = renew
        return self

    def replace(self, **parts: str) -> Self:
        """Return a copy with different values for these libpq keywords."""
        return type(self)(make_conninfo(self.reveal(), **parts))

    def has(self, part: str) -> bool:
        """Return whether a libpq keyword is set, also a secret one."""
        return part in self._parts

    @property
    def parts(self) -> dict[str, object]:
        """The libpq keywords and values, without the secret ones."""
        return {k: v for k, v in self._parts.items() if k not in _SECRET_KEYWORDS}

    @property
    def may_lack_tls(self) -> bool:
        """Whether a password can be sent over a network unencrypted, if the server has no TLS."""
        mode = self._parts.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
        return mode in _OPTIONAL_TLS and self._has_password and any(map(_is_remote, self._hosts))

    @property
    def _has_password(self) -> bool:
        passfile = self._parts.get("passfile") or os.environ.get("PGPASSFILE") or "~/.pgpass"
        is_set = bool(self._parts.get("password") or os.environ.get("PGPASSWORD"))
        # Path.expanduser raises RuntimeError if the user has no home folder.
        return is_set or Path(os.path.expanduser(str(passfile))).is_file()  # noqa: PTH111

    @property
    def _hosts(self) -> list[str]:
        """The hosts that libpq can connect to: the address if there is one, else the name."""
        hosts = str(self._parts.get("host") or os.environ.get("PGHOST") or "").split(",")
        addresses = str(self._parts.get("hostaddr") or os.environ.get("PGHOSTADDR") or "").split(
            ","
        )
        return [address or host for host, address in zip_longest(hosts, addresses, fillvalue="")]

    def __str__(self) -> str:
        parts = self.parts
        user = f"{parts['user']}@" if parts.get("user") else ""
        port = f":{parts['port']}" if parts.get("port") else ""
        return f"{user}{parts.get('host', '')}{port}/{parts.get('dbname', '')}"

    def __repr__(self) -> str:
        return f"Dsn({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dsn) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Dsn can't be pickled: its password would be in plain text.")

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls(str(value)),
            serialization=core_schema.to_string_ser_schema(),
        )


_LOGIN_REJECTIONS = re.compile(
    "authentication failed|no password supplied|role .* (does not exist|is not permitted to log in)"
)
"""Messages of servers about a rejected login, which libpq reports without an SQLSTATE."""


def _is_login_rejected(error: psycopg.OperationalError) -> bool:
    """Return whether a server rejects user or password."""
    if error.sqlstate is not None:
        return error.sqlstate.startswith("28")
    return _LOGIN_REJECTIONS.search(str(error)) is not None


def _has_unescaped_password(value: str) -> bool:
    """Return whether a password in a URL has an unescaped @ or /, which libpq would misread."""
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in {"postgresql", "postgres"}:
        return False
    authority, _, tail = rest.partition("/")
    return authority.count("@") > 1 or "@" in tail.partition("?")[0]


def _is_remote(host: str) -> bool:
    """Return whether a host is reached over a network: neither a socket nor this machine."""
    return not (host == "" or host.startswith(("/", "@")) or is_loopback(host))


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host's name or address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def warn_without_tls(dsn: Dsn, name: str) -> None:
    """Log a warning if a DSN can send its password unencrypted; `name` is its setting or option."""
    if dsn.may_lack_tls:
        log.warning(
            "%s (%s) may send its password without TLS: add sslmode=verify-full to it, "
            "or sslmode=require if the server's certificate can't be verified.",
            name,
            dsn,
        )
