"""The container image: its file tree is complete, and its command runs from there."""

from pathlib import Path

from image_tree import ImageTree
from installation import Installation
from tls_proxy import NAME, TlsProxy


def test_the_image_checks_an_installation(
    image_tree: ImageTree, installation: Installation
) -> None:
    done = image_tree.run("check", env=installation.environment)
    assert done.returncode == 0, done.stderr
    assert "ok      warehouse tables: as declared" in done.stdout


def test_the_image_has_the_root_certificates_of_rds_at_the_path_in_the_secrets(
    image_tree: ImageTree, installation: Installation, tmp_path: Path
) -> None:
    """They reject the certificate of another authority; without them libpq misses the file."""
    with TlsProxy(installation.source, tmp_path) as proxy:
        path = {"sslmode": "verify-full", "sslrootcert": "data/rds-ca.pem"}
        source = proxy.proxied(installation.source, host=NAME, **path)
        variables = {**installation.environment, "TOTES_SOURCE_DSN": source.reveal()}
        done = image_tree.run("check", env=variables)
    assert done.returncode == 1, done.stderr
    assert "can't be reached: certificate verify failed: sslrootcert must" in done.stdout
