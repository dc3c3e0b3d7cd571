"""Fixtures: moto's server for the tests of a module, and this process as its operator.

tests/conftest.py loads this module in every run, so the fixtures import what takes long.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from moto_server import Moto


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Moto"]:
    """An AWS account without AWS."""
    from moto_server import Moto  # noqa: PLC0415

    with Moto(tmp_path_factory.mktemp("moto")) as moto:
        yield moto


@pytest.fixture
def as_operator(moto: "Moto", monkeypatch: pytest.MonkeyPatch) -> None:
    """This process uses that account, with all permissions."""
    from s3_service import forget_clients  # noqa: PLC0415

    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    forget_clients()
