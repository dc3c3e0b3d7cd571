"""Temporary servers beyond those of totes.embedded: of an installed PostgreSQL, and standbys."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from totes.embedded.servers import EmbeddedServer


class SystemServer(EmbeddedServer):
    """A server of the PostgreSQL in the folder `binaries`, which the machine has installed."""

    binaries: Path

    def run(self, program: str, *arguments: str) -> str:
        return super().run(str(self.binaries / program), *arguments)

    def _initialize(self) -> None:
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self.run("initdb", f"--pgdata={self.data}", "--username=postgres", *options)


def older_server(folder: Path, settings: Mapping[str, str]) -> SystemServer:
    """Return a server of the oldest installed PostgreSQL; skip the test if there is none."""
    installed = sorted(Path("/usr/lib/postgresql").glob("1[4-7]/bin/initdb"))
    if not installed:
        pytest.skip("no older PostgreSQL is installed in /usr/lib/postgresql")
    SystemServer.binaries = installed[0].parent
    return SystemServer(folder, settings)


def copy_to_standby(primary: EmbeddedServer, standby: EmbeddedServer) -> None:
    """Fill the folder of a server that has not been started with a copy of `primary`."""
    standby._make_folders()
    primary.run(
        "pg_basebackup",
        f"--dbname={primary.dsn.reveal()}",
        f"--pgdata={standby.data}",
        "--checkpoint=fast",
        "--write-recovery-conf",
    )
