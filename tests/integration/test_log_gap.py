"""A batch before which versions are missing says so: in warehouse, status and dashboard."""

import json
from datetime import timedelta

import pytest
from dashboard_page import open_page, tables_of, words
from installation import Installation
from replicas import replica_of
from streamlit.testing.v1 import AppTest

from conftest import EmptyWarehouse
from totes.dashboard.server.backends import Backends
from totes.lake.folder import FolderStore
from totes.lake.manifest import LogState, manifest_path
from totes.lake.manifests import read_manifest
from totes.operations.status import read_status
from totes.stages.replay import replay

REASON = "the slot totes is lost"


def _open_pipeline(installation: Installation, warehouse: EmptyWarehouse) -> AppTest:
    replica = replica_of(warehouse.reader)
    return open_page(Backends(replica, FolderStore(installation.ingestion)), "pipeline")


@pytest.fixture
def with_gap(installation: Installation) -> Installation:
    """A warehouse with two batches, of which the second has a gap, and a third without one."""
    installation.add_orders().run()
    store = FolderStore(installation.ingestion)
    for batch, gap in ((2, REASON), (3, None)):
        last, digest = read_manifest(store, batch - 1)
        following = last.model_copy(
            update={
                "batch": batch,
                "previous": digest,
                "captured_at": last.captured_at + timedelta(microseconds=1),
                "tables": tuple(
                    table.model_copy(update={"files": (), "whole": False}) for table in last.tables
                ),
                "log": LogState(slot="totes", position="0/1", gap=gap),
            }
        )
        assert store.create(manifest_path(batch), following.to_json())
    installation.run()
    return installation


def test_the_warehouse_records_the_gap_also_when_it_is_rebuilt(with_gap: Installation) -> None:
    recorded = "SELECT batch, gap FROM totes.batches ORDER BY batch"
    assert with_gap.query(recorded) == [(1, None), (2, REASON), (3, None)]
    for _ in replay(with_gap.pipeline):
        pass
    assert with_gap.query(recorded) == [(1, None), (2, REASON), (3, None)]


def test_status_shows_the_newest_gap(with_gap: Installation) -> None:
    pipeline = with_gap.pipeline
    status = read_status(pipeline.ingestion, pipeline.processed, pipeline.warehouse)
    assert status.gap is not None
    assert (status.gap.batch, status.gap.reason) == (2, REASON)
    shown = with_gap.totes("status").stdout
    assert "Versions between the previous batch and batch 2 of" in shown
    assert f"may be missing: {REASON}" in shown
    answer = json.loads(with_gap.totes("status", "--json").stdout)
    assert answer["gap"]["reason"] == REASON
    assert answer["capture"]["mode"] == "scan"
    assert "captured    by scanning the tables" in shown


def test_without_a_gap_nothing_is_shown(
    installation: Installation, warehouse: EmptyWarehouse
) -> None:
    installation.add_orders().run()
    assert "missing" not in installation.totes("status").stdout
    assert json.loads(installation.totes("status", "--json").stdout)["gap"] is None
    page = _open_pipeline(installation, warehouse)
    assert "Gaps in the history" not in words(page)


def test_the_pipeline_page_shows_the_gap(with_gap: Installation, warehouse: EmptyWarehouse) -> None:
    page = _open_pipeline(with_gap, warehouse)
    assert "Gaps in the history" in words(page)
    [gaps] = [table for table in tables_of(page) if "gap" in table]
    assert list(gaps["gap"]) == [REASON]
