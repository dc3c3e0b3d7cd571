"""Both databases by TLS: with `verify-full`, nobody else can answer in their place."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from installation import Installation

from totes.config.settings import Dsn

NAME = "databases.example"
"""Of the server, in its certificate; its address is this machine's."""

RDS_ROOTS = Path(__file__).parents[2] / "data" / "rds-ca.pem"

NOW = datetime.now(UTC)


def certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey
) -> bytes:
    """For `name`, valid for an hour; a root's own where `issuer` is the same."""

    def called(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    return (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(minutes=1))
        .not_valid_after(NOW + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(signer, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


@pytest.fixture(scope="module")
def root(scratch: Path) -> ec.EllipticCurvePrivateKey:
    """The key of the authority whose certificate is root.pem in `scratch`."""
    key = ec.generate_private_key(ec.SECP256R1())
    (scratch / "root.pem").write_bytes(certificate("Authority", key, "Authority", key))
    return key


class TlsDoor:
    """A TCP port before a server's socket that lets in who speaks TLS; use it with `with`.

    The embedded PostgreSQL knows no TLS. It is the platform's end that is tried here.
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

    def through(self, dsn: Dsn, **how: str) -> Dsn:
        """The same database, reached through here."""
        port = str(self._listener.getsockname()[1])
        return dsn.replace(hostaddr="127.0.0.1", port=port, gssencmode="disable", **how)

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._let_in, sock=self._listener):
            await self._closing.wait()

    async def _let_in(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if await client.readexactly(len(SSL_REQUEST)) == SSL_REQUEST:
                back.write(b"S")
                await back.start_tls(self._context)
                server, on = await asyncio.open_unix_connection(self._socket)
                await asyncio.gather(_pass_on(client, on), _pass_on(server, back))
        back.close()


async def _pass_on(from_one: asyncio.StreamReader, to_another: asyncio.StreamWriter) -> None:
    with suppress(OSError), closing(to_another):
        while data := await from_one.read(1 << 16):
            to_another.write(data)
            await to_another.drain()


SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""What libpq says first where it wants TLS."""


@pytest.fixture
def afar(
    installation: Installation, scratch: Path, root: ec.EllipticCurvePrivateKey
) -> Iterator[Callable[..., Installation]]:
    """The same platform, whose databases are asked by TLS, as it is given."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    proof = scratch / "server.pem"
    proof.write_bytes(certificate(NAME, key, "Authority", root) + pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(proof)
    with TlsDoor(installation.source, context) as door:

        def made(**how: str) -> Installation:
            return replace(
                installation,
                source=door.through(installation.source, **how),
                warehouse=door.through(installation.warehouse, **how),
            )

        yield made


def test_the_whole_pipeline_runs_where_the_server_proves_who_it_is(
    afar: Callable[..., Installation], scratch: Path
) -> None:
    root = str(scratch / "root.pem")
    installation = afar(host=NAME, sslmode="verify-full", sslrootcert=root).filled(3)
    done = installation.totes("run", "--once")
    assert done.exit_code == 0, done.output
    assert installation.totes("verify").exit_code == 0


@pytest.mark.parametrize("lie", ["name", "root"])
def test_who_cannot_prove_it_gets_no_password(
    afar: Callable[..., Installation], scratch: Path, lie: str
) -> None:
    name = "another.example" if lie == "name" else NAME
    root = str(RDS_ROOTS if lie == "root" else scratch / "root.pem")
    impostor = afar(host=name, sslmode="verify-full", sslrootcert=root)
    for command, code in (("ingest", 3), ("load", 5)):
        refused = impostor.totes(command)
        assert (refused.exit_code, "certificate" in refused.output) == (code, True), refused.output
    assert afar(host=name, sslmode="require").totes("ingest").exit_code == 0, "asks for no proof"


def test_the_roots_of_rds_are_roots_of_rds_and_good_for_years() -> None:
    roots = x509.load_pem_x509_certificates(RDS_ROOTS.read_bytes())
    assert len(roots) > 80
    for root in roots:
        [name] = root.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert str(name.value).startswith("Amazon RDS "), name
        assert root.not_valid_after_utc > NOW + timedelta(days=2 * 365), name
        root.verify_directly_issued_by(root)
    trusted = ssl.create_default_context(cafile=str(RDS_ROOTS)).get_ca_certs()
    assert len(trusted) == len(roots)
