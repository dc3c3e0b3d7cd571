"""TLS connections to both databases: `verify-full` rejects any other server."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Self

import pytest
from certificates import NOW, certificate, private_key
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from installation import Installation

from totes.config.settings import Dsn

NAME = "databases.example"
"""The host name in the server's certificate."""

RDS_ROOTS = Path(__file__).parents[2] / "data" / "rds-ca.pem"


@pytest.fixture(scope="module")
def root(scratch: Path) -> ec.EllipticCurvePrivateKey:
    """The key of the root certificate, which is root.pem in `scratch`."""
    key = ec.generate_private_key(ec.SECP256R1())
    (scratch / "root.pem").write_bytes(certificate("Authority", key, "Authority", key))
    return key


class TlsProxy:
    """A TLS proxy on a TCP port for a server's Unix socket; a context manager.

    The embedded PostgreSQL is built without TLS. These tests check the client side.
    """

    def __init__(self, server: Dsn, context: ssl.SSLContext) -> None:
        parts = server.parts
        self._socket = f"{parts['host']}/.s.PGSQL.{parts['port']}"
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = Thread(target=self._loop.run_until_complete, args=[self._serve()])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        self._loop.close()

    def proxied(self, dsn: Dsn, **parts: str) -> Dsn:
        """Return the DSN of the same database through this proxy."""
        port = str(self._listener.getsockname()[1])
        return dsn.replace(hostaddr="127.0.0.1", port=port, gssencmode="disable", **parts)

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._forward, sock=self._listener):
            await self._closing.wait()

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if await client.readexactly(len(SSL_REQUEST)) == SSL_REQUEST:
                to_client.write(b"S")
                await to_client.start_tls(self._context)
                server, to_server = await asyncio.open_unix_connection(self._socket)
                await asyncio.gather(_copy(client, to_server), _copy(server, to_client))
        to_client.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError), closing(writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""The first message of libpq on a connection with TLS."""


@pytest.fixture
def tls_installation(
    installation: Installation, scratch: Path, root: ec.EllipticCurvePrivateKey
) -> Iterator[Callable[..., Installation]]:
    """A function that returns an installation with TLS connections and these DSN parts."""
    key = ec.generate_private_key(ec.SECP256R1())
    chain = scratch / "server.pem"
    chain.write_bytes(certificate(NAME, key, "Authority", root) + private_key(key))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    with TlsProxy(installation.source, context) as proxy:

        def with_tls(**parts: str) -> Installation:
            return replace(
                installation,
                source=proxy.proxied(installation.source, **parts),
                warehouse=proxy.proxied(installation.warehouse, **parts),
            )

        yield with_tls


def test_the_pipeline_runs_with_verified_tls(
    tls_installation: Callable[..., Installation], scratch: Path
) -> None:
    root = str(scratch / "root.pem")
    installation = tls_installation(host=NAME, sslmode="verify-full", sslrootcert=root).with_orders(
        3
    )
    result = installation.totes("run", "--once")
    assert result.exit_code == 0, result.output
    assert installation.totes("verify").exit_code == 0


@pytest.mark.parametrize("wrong_part", ["name", "root"])
def test_a_server_with_a_wrong_certificate_gets_no_password(
    tls_installation: Callable[..., Installation], scratch: Path, wrong_part: str
) -> None:
    name = "another.example" if wrong_part == "name" else NAME
    root = str(RDS_ROOTS if wrong_part == "root" else scratch / "root.pem")
    impostor = tls_installation(host=name, sslmode="verify-full", sslrootcert=root)
    for command, code in (("ingest", 3), ("load", 5)):
        result = impostor.totes(command)
        assert (result.exit_code, "certificate" in result.output) == (code, True), result.output
    assert tls_installation(host=name, sslmode="require").totes("ingest").exit_code == 0, (
        "does not verify the certificate"
    )


def test_the_rds_root_certificates_are_valid_for_years() -> None:
    roots = x509.load_pem_x509_certificates(RDS_ROOTS.read_bytes())
    assert len(roots) > 80
    for root in roots:
        [name] = root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert str(name.value).startswith("Amazon RDS "), name
        assert root.not_valid_after_utc > NOW + timedelta(days=2 * 365), name
        root.verify_directly_issued_by(root)
    trusted = ssl.create_default_context(cafile=str(RDS_ROOTS)).get_ca_certs()
    assert len(trusted) == len(roots)
