"""Steps of the load stage that several tests take."""

from processed_lake import (
    ProcessedLake,
)

from conftest import EmptyWarehouse
from totes.stages.load import load


def load_all(lake: ProcessedLake, to: EmptyWarehouse) -> list[int]:
    return [manifest.batch for manifest in load(lake.store, to.dsn)]
