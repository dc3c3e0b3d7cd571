"""TLS connections to both databases: `verify-full` rejects any other server."""

import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from certificates import NOW
from cryptography import x509
from cryptography.x509.oid import NameOID
from installation import Installation
from tls_proxy import NAME, TlsProxy

RDS_ROOTS = Path(__file__).parents[2] / "data" / "rds-ca.pem"


@pytest.fixture
def tls_installation(
    installation: Installation, tmp_path: Path
) -> Iterator[Callable[..., Installation]]:
    """A function that returns an installation with TLS connections and these DSN parts.

    The root certificate is root.pem in `tmp_path`.
    """
    with TlsProxy(installation.source, tmp_path) as proxy:

        def with_tls(**parts: str) -> Installation:
            return replace(
                installation,
                source=proxy.proxied(installation.source, **parts),
                warehouse=proxy.proxied(installation.warehouse, **parts),
            )

        yield with_tls


def test_the_pipeline_runs_with_verified_tls(
    tls_installation: Callable[..., Installation], tmp_path: Path
) -> None:
    root = str(tmp_path / "root.pem")
    installation = tls_installation(host=NAME, sslmode="verify-full", sslrootcert=root).add_orders(
        3
    )
    result = installation.totes("run", "--once")
    assert result.exit_code == 0, result.output
    assert installation.totes("verify").exit_code == 0


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"host": "another.example"}, 'does not match host name "another.example": connect to a'),
        ({"sslrootcert": str(RDS_ROOTS)}, "certificate verify failed: sslrootcert must have the"),
        ({"sslrootcert": "no.pem"}, 'file "no.pem" does not exist: correct sslrootcert, a path'),
    ],
    ids=["name", "root", "file"],
)
def test_a_server_with_a_wrong_certificate_gets_no_password(
    tls_installation: Callable[..., Installation],
    tmp_path: Path,
    wrong: dict[str, str],
    reason: str,
) -> None:
    parts = {"host": NAME, "sslmode": "verify-full", "sslrootcert": str(tmp_path / "root.pem")}
    impostor = tls_installation(**{**parts, **wrong})
    for command, code in (("ingest", 3), ("load", 5)):
        result = impostor.totes(command)
        assert (result.exit_code, reason in result.output) == (code, True), result.output
    name = wrong.get("host", NAME)
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
