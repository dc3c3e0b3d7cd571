"""Processed data and warehouse can be rebuilt from the ingestion store, with the same result."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checksums import checksums
from installation import Installation, at
from scratch_source import once

from conftest import EmptyWarehouse
from totes.config.dsn import Dsn
from totes.demo.simulator import HOSTILE, Simulator
from totes.embedded.servers import EmbeddedServer, Source, prepare_source, prepare_warehouse
from totes.errors import LakeError, UsageError, WarehouseError
from totes.lake.manifests import find_current_generation
from totes.operations.release import release
from totes.operations.verify import verify
from totes.rates import RateFeed
from totes.stages.load import load
from totes.stages.replay import replay
from totes.stages.runner import StepResult
from totes.stages.transform import write_generation
from totes.star import models
from totes.star.folder import TOTESYS
from totes.star.models import LINEAGE_FILE, Models, load_models
from totes.warehouse.schema import migrate

pytestmark = pytest.mark.few(3)


@pytest.fixture(scope="module")
def shared_installation(
    server: EmbeddedServer,
    template: Source,
    database_names: Iterator[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Installation:
    """An installation with four batches, rejected rows, and releases."""
    source = prepare_source(server.dsn, next(database_names), str(template.owner.parts["dbname"]))
    warehouse = prepare_warehouse(server.dsn, next(database_names))
    folder = tmp_path_factory.mktemp("shared")
    (folder / "rates.csv").write_text("Date,GBP,\n2025-01-02,0.83,\n2021-12-31,0.84028,\n")
    installation = Installation(
        source.owner,
        source.reader,
        warehouse.loader,
        folder,
        rates=RateFeed(bundled_file=folder / "rates.csv"),
    )
    installation.add_orders(15).run()
    installation.change(
        "UPDATE payment SET payment_date = 'soon' WHERE payment_id IN (3, 4);"
        "UPDATE currency SET currency_code = '???' WHERE currency_id = 2;"
        "INSERT INTO design (design_name, file_location, file_name, last_updated)"
        " VALUES ('Gone', '/', 'gone.json', '2025-01-01')"
    )
    installation.run()
    with Simulator(installation.owner, seed=5, mix=HOSTILE) as business:
        for _ in range(40):
            business.step()
    installation.change(
        "UPDATE payment SET payment_date = '2024-02-29' WHERE payment_id = 3;"
        "UPDATE currency SET currency_code = 'USD' WHERE currency_id = 2;"
        "DELETE FROM design WHERE design_name = 'Gone'"
    )
    installation.run()
    release(installation.pipeline.ingestion, [2])
    installation.run()
    assert all(checksums(installation.warehouse).values()), "no table is empty"
    return installation


@pytest.fixture
def four_batches(
    shared_installation: Installation, tmp_path: Path, copied: Callable[[Dsn], Dsn]
) -> Installation:
    """A copy of that installation; its source must not be changed."""
    shutil.copytree(shared_installation.folder, tmp_path, dirs_exist_ok=True)
    return replace(
        shared_installation, folder=tmp_path, warehouse=copied(shared_installation.warehouse)
    )


@pytest.fixture
def one_batch(installation: Installation) -> Installation:
    """An installation with one batch, whose source can be changed."""
    installation.add_orders(5).run()
    return installation


@pytest.fixture
def other_database(warehouse: EmptyWarehouse) -> Dsn:
    """An empty database."""
    return warehouse.dsn


def run_replay(installation: Installation, **options: Any) -> list[tuple[str, int | None]]:
    """Replay, and return stage and batch of each step."""
    return [(step.stage, step.batch) for step in replay(installation.pipeline, **options)]


def steps(stage: str, *batches: int) -> list[tuple[str, int | None]]:
    return [(stage, batch) for batch in batches]


def new_batches(results: list[StepResult]) -> list[tuple[str, int | None]]:
    return [(step.stage, step.batch) for step in results if step.batch is not None]


def generation(installation: Installation) -> int:
    """The current generation of the store, which must be that of the warehouse."""
    current = find_current_generation(installation.pipeline.processed)
    assert installation.query("SELECT DISTINCT generation FROM totes.batches") == [(current,)]
    return current


class Killed(BaseException):
    """Simulates a power failure."""


def kill_replay(
    installation: Installation, fail_point: str, passes: int = 0, **options: Any
) -> None:
    """Kill a replay at a fail point, after it has passed it `passes` times."""
    remaining = [None] * passes

    def act() -> None:
        if not remaining:
            raise Killed
        remaining.pop()

    with at(fail_point, act), pytest.raises(Killed):
        run_replay(installation, **options)


def test_a_replay_rebuilds_the_same_data(four_batches: Installation) -> None:
    before = checksums(four_batches.warehouse)
    objects, _ = four_batches.state()
    assert run_replay(four_batches) == steps("transform", 1, 2, 3, 4) + steps("load", 1, 2, 3, 4)
    assert checksums(four_batches.warehouse) == before
    assert generation(four_batches) == 2
    assert four_batches.state()[0].items() >= objects.items(), "nothing was changed or deleted"
    assert verify(four_batches.pipeline).equal


def test_the_result_of_the_last_verify_survives_a_replay(one_batch: Installation) -> None:
    verify(one_batch.pipeline)
    [before] = one_batch.query("SELECT batch, verified_at, equal FROM totes.verifications")
    run_replay(one_batch)
    assert one_batch.query("SELECT batch, verified_at, equal FROM totes.verifications") == [before]


def test_the_pipeline_continues_in_the_new_generation(one_batch: Installation) -> None:
    run_replay(one_batch)
    one_batch.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")
    assert new_batches(one_batch.run()) == [("ingest", 2), ("transform", 2), ("load", 2)]
    assert generation(one_batch) == 2
    assert verify(one_batch.pipeline).equal


def test_a_replay_can_be_replayed(four_batches: Installation) -> None:
    before = checksums(four_batches.warehouse)
    run_replay(four_batches)
    run_replay(four_batches)
    assert checksums(four_batches.warehouse) == before
    assert generation(four_batches) == 3


def test_a_lost_warehouse_is_rebuilt(four_batches: Installation, other_database: Dsn) -> None:
    run_replay(
        Installation(four_batches.owner, four_batches.source, other_database, four_batches.folder)
    )
    assert checksums(other_database) == checksums(four_batches.warehouse)


def test_a_lost_processed_store_is_rebuilt(four_batches: Installation) -> None:
    before = checksums(four_batches.warehouse)
    run_replay(four_batches)
    four_batches.processed.rename(four_batches.folder / "lost")
    assert new_batches(four_batches.run()) == steps("transform", 1, 2, 3, 4) + steps(
        "load", 1, 2, 3, 4
    )
    assert checksums(four_batches.warehouse) == before
    assert generation(four_batches) == 1


def test_a_batch_ingested_during_a_replay_is_loaded(one_batch: Installation) -> None:
    def other_process() -> None:
        one_batch.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")
        one_batch.run()

    with at("replay.before-pointer", other_process):
        assert run_replay(one_batch) == steps("transform", 1, 2) + steps("load", 1, 2)
    assert verify(one_batch.pipeline).equal


# Up to a batch


@pytest.mark.few(1)
@pytest.mark.parametrize("last", [1, 3])
def test_a_replay_up_to_a_batch_restores_its_state(four_batches: Installation, last: int) -> None:
    end = checksums(four_batches.warehouse)
    moment = four_batches.query(f"SELECT captured_at FROM totes.batches WHERE batch = {last}")[0][0]
    as_of = f"SELECT count(*), sum(units_sold) FROM sales_order_as_of('{moment}')"
    expected = four_batches.query(as_of)
    run_replay(four_batches, last_batch=last)
    assert four_batches.query("SELECT max(batch) FROM totes.batches") == [(last,)]
    assert four_batches.query(
        as_of.replace(f"sales_order_as_of('{moment}')", "current_sales_order")
    ) == (expected)
    remaining = list(range(last + 1, 5))
    assert new_batches(four_batches.run()) == steps("transform", *remaining) + steps(
        "load", *remaining
    )
    assert checksums(four_batches.warehouse) == end
    assert generation(four_batches) == 2


# Into another database


def test_a_replay_into_another_database_does_not_change_the_lake(
    four_batches: Installation, other_database: Dsn
) -> None:
    before = four_batches.state()
    replayed = run_replay(four_batches, into=other_database)
    assert sorted(replayed) == steps("load", 1, 2, 3, 4) + steps("transform", 1, 2, 3, 4)
    assert checksums(other_database) == checksums(four_batches.warehouse)
    assert four_batches.state() == before


def test_a_replay_into_another_database_can_end_at_a_batch(
    four_batches: Installation, other_database: Dsn
) -> None:
    run_replay(four_batches, into=other_database, last_batch=2)
    early = checksums(other_database)
    run_replay(four_batches, last_batch=2)
    assert checksums(four_batches.warehouse) == early
    assert early["totes.batches"][0] == 2


def test_a_database_with_batches_is_rejected_and_not_changed(four_batches: Installation) -> None:
    before = four_batches.state(), checksums(four_batches.warehouse)
    with pytest.raises(WarehouseError, match="already has batches: replay into an empty database"):
        run_replay(four_batches, into=four_batches.warehouse)
    assert (four_batches.state(), checksums(four_batches.warehouse)) == before


def test_a_database_of_a_killed_replay_is_rejected(
    four_batches: Installation, other_database: Dsn
) -> None:
    kill_replay(four_batches, "load.fetched", passes=2, into=other_database)
    with pytest.raises(WarehouseError, match="an interrupted replay wrote them, drop"):
        run_replay(four_batches, into=other_database)


def test_an_empty_database_can_be_migrated_already(
    four_batches: Installation, other_database: Dsn
) -> None:
    migrate(other_database)
    run_replay(four_batches, into=other_database)
    assert checksums(other_database) == checksums(four_batches.warehouse)


def test_a_machine_that_reaches_no_database_can_build_the_data(four_batches: Installation) -> None:
    before = checksums(four_batches.warehouse)
    alone = four_batches.with_settings(source_dsn="", warehouse_dsn="", home="nowhere")
    built = alone.totes("replay", "--build-only")
    assert built.exit_code == 0, built.output
    assert [line.split()[:3] for line in built.stdout.splitlines()] == [
        ["transform", "batch", str(batch)] for batch in (1, 2, 3, 4)
    ]
    assert generation(four_batches) == 1
    assert run_replay(four_batches) == steps("load", 1, 2, 3, 4)
    assert generation(four_batches) == 2
    assert checksums(four_batches.warehouse) == before
    refused = alone.totes("replay", "--build-only", "--into", "postgresql://other")
    assert (refused.exit_code, "not both" in refused.output) == (2, True)


# Interrupted replays


@pytest.mark.few(1)
@pytest.mark.parametrize("passes", [0, 2])
@pytest.mark.parametrize("last_batch", [None, 3])
def test_a_replay_killed_during_transform_is_continued(
    four_batches: Installation, passes: int, last_batch: int | None
) -> None:
    before = checksums(four_batches.warehouse)
    kill_replay(four_batches, "transform.before-manifest", passes=passes)
    assert generation(four_batches) == 1
    assert checksums(four_batches.warehouse) == before, "an unpublished generation is not used"
    assert new_batches(four_batches.run()) == []
    remaining = range(passes + 1, (last_batch or 4) + 1)
    assert run_replay(four_batches, last_batch=last_batch)[: len(remaining)] == steps(
        "transform", *remaining
    )
    four_batches.run()
    assert checksums(four_batches.warehouse) == before
    assert generation(four_batches) == 2


def test_a_replay_killed_before_publishing_only_publishes_later(four_batches: Installation) -> None:
    before = checksums(four_batches.warehouse)
    kill_replay(four_batches, "replay.before-pointer")
    assert generation(four_batches) == 1
    assert run_replay(four_batches) == steps("load", 1, 2, 3, 4)
    assert checksums(four_batches.warehouse) == before
    assert generation(four_batches) == 2


@pytest.mark.few(1)
@pytest.mark.parametrize("last_batch", [None, 2])
def test_a_replay_killed_after_publishing_is_completed_by_the_next_load(
    four_batches: Installation, last_batch: int | None
) -> None:
    before = checksums(four_batches.warehouse)
    kill_replay(four_batches, "replay.published", last_batch=last_batch)
    assert checksums(four_batches.warehouse) == before, "readers see the old data until then"
    assert [
        manifest.batch for manifest in load(four_batches.pipeline.processed, four_batches.warehouse)
    ] == list(range(1, (last_batch or 4) + 1))
    four_batches.run()
    assert checksums(four_batches.warehouse) == before
    assert generation(four_batches) == 2


def test_a_failed_rebuild_does_not_change_the_warehouse(four_batches: Installation) -> None:
    before = checksums(four_batches.warehouse)
    kill_replay(four_batches, "replay.published")
    [damaged] = sorted(
        (four_batches.processed / "generation=2" / "fact_payment").rglob("000000000003-*")
    )
    content = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(content[:-1])
    with pytest.raises(LakeError, match="damaged"):
        four_batches.run()
    assert checksums(four_batches.warehouse) == before
    damaged.write_bytes(content)
    four_batches.run()
    assert checksums(four_batches.warehouse) == before
    assert generation(four_batches) == 2


def test_a_concurrent_load_of_the_old_generation_fails(
    one_batch: Installation,
) -> None:
    def other_process() -> None:
        run_replay(one_batch, last_batch=1)

    one_batch.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")
    with (
        at("load.fetched", once(other_process)),
        pytest.raises(WarehouseError, match="run `totes load` again"),
    ):
        one_batch.run()
    one_batch.run()
    assert generation(one_batch) == 2
    assert verify(one_batch.pipeline).equal


# Unfinished generations


@pytest.fixture
def other_models(tmp_path: Path) -> Models:
    """The models of another version of the program."""
    folder = tmp_path / "models"
    folder.mkdir()
    for path in (Path(models.__file__).parent / "totesys" / "models").iterdir():
        if path.name != LINEAGE_FILE:
            (folder / path.name).write_text(path.read_text() + "\n-- another version\n")
    return load_models(folder, TOTESYS.tables)


def write_unfinished(installation: Installation, models: Models, last_batch: int) -> None:
    pipeline = installation.pipeline
    for _ in write_generation(
        pipeline.ingestion, pipeline.processed, 2, models, last_batch=last_batch
    ):
        pass


def test_an_unfinished_generation_with_other_models_is_not_continued(
    four_batches: Installation, other_models: Models
) -> None:
    write_unfinished(four_batches, other_models, last_batch=2)
    before = four_batches.state()
    with pytest.raises(LakeError, match="delete generation=2/ there") as error:
        run_replay(four_batches)
    assert "other models" in str(error.value)
    assert four_batches.state() == before


def test_a_generation_that_another_replay_continued_is_not_published(
    four_batches: Installation, other_models: Models
) -> None:
    with (
        at(
            "transform.before-manifest",
            once(lambda: write_unfinished(four_batches, other_models, last_batch=4)),
        ),
        pytest.raises(LakeError, match="other models"),
    ):
        run_replay(four_batches)
    assert generation(four_batches) == 1


def test_an_unfinished_generation_beyond_the_requested_batch_is_not_continued(
    four_batches: Installation,
) -> None:
    kill_replay(four_batches, "transform.before-manifest", passes=3)
    with pytest.raises(LakeError, match=r"newest batch 3.*beyond the last batch requested"):
        run_replay(four_batches, last_batch=2)
    assert generation(four_batches) == 1


# Nothing to replay


def test_an_empty_lake_has_nothing_to_replay(installation: Installation) -> None:
    with pytest.raises(UsageError, match="it is empty"):
        run_replay(installation)
    assert not installation.processed.exists()


def test_a_replay_up_to_a_missing_batch_is_rejected(
    four_batches: Installation, other_database: Dsn
) -> None:
    before = four_batches.state()
    for into in (None, other_database):
        with pytest.raises(UsageError, match=r"no batch 5 to replay in .*, the newest is 4"):
            run_replay(four_batches, last_batch=5, into=into)
    assert four_batches.state() == before
