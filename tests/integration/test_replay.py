"""From the ingestion store alone everything can be made anew, and comes out the same."""

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
from totes.config.settings import Dsn
from totes.demo.simulator import HOSTILE, Simulator
from totes.embedded.servers import EmbeddedServer, Source, prepare_source, prepare_warehouse
from totes.errors import LakeError, UsageError, WarehouseError
from totes.lake.log import current_generation
from totes.operations.release import release
from totes.operations.verify import verify
from totes.rates import Rates
from totes.stages.load import load
from totes.stages.replay import replay
from totes.stages.runner import Done
from totes.stages.transform import write_generation
from totes.star import models
from totes.star.definition import TOTESYS
from totes.star.models import LINEAGE_FILE, Models, load_models
from totes.warehouse.schema import migrate


@pytest.fixture(scope="module")
def past(
    server: EmbeddedServer,
    template: Source,
    database_names: Iterator[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Installation:
    """A platform with four batches of everything, rows refused and some of them released."""
    source = prepare_source(server.dsn, next(database_names), str(template.owner.parts["dbname"]))
    warehouse = prepare_warehouse(server.dsn, next(database_names))
    folder = tmp_path_factory.mktemp("past")
    (folder / "rates.csv").write_text("Date,GBP,\n2025-01-02,0.83,\n2021-12-31,0.84028,\n")
    installation = Installation(
        source.owner,
        source.reader,
        warehouse.loader,
        folder,
        rates=Rates(bundle=folder / "rates.csv"),
    )
    installation.filled(15).run()
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
def old(past: Installation, tmp_path: Path, copied: Callable[[Dsn], Dsn]) -> Installation:
    """That platform, with lake and warehouse of its own; its totesys stays as it is."""
    shutil.copytree(past.folder, tmp_path, dirs_exist_ok=True)
    return replace(past, folder=tmp_path, warehouse=copied(past.warehouse))


@pytest.fixture
def living(installation: Installation) -> Installation:
    """One whose totesys may change: of one batch."""
    installation.filled(5).run()
    return installation


@pytest.fixture
def another(warehouse: EmptyWarehouse) -> Dsn:
    """An empty database."""
    return warehouse.dsn


def again(installation: Installation, **choices: Any) -> list[tuple[str, int | None]]:
    """Replay; the steps taken."""
    return [(done.stage, done.batch) for done in replay(installation.pipeline, **choices)]


def steps(stage: str, *batches: int) -> list[tuple[str, int | None]]:
    return [(stage, batch) for batch in batches]


def news(done: list[Done]) -> list[tuple[str, int | None]]:
    return [(one.stage, one.batch) for one in done if one.batch is not None]


def generation(installation: Installation) -> int:
    """The one the store is at, which must be the one the warehouse was loaded from."""
    found = current_generation(installation.pipeline.processed)
    assert installation.ask("SELECT DISTINCT generation FROM totes.batches") == [(found,)]
    return found


class Killed(BaseException):
    """As if the power went off."""


def killed(installation: Installation, where: str, passing: int = 0, **choices: Any) -> None:
    """A replay that dies when it comes to `where`, after having passed it so often."""
    left = [None] * passing

    def act() -> None:
        if not left:
            raise Killed
        left.pop()

    with at(where, act), pytest.raises(Killed):
        again(installation, **choices)


def test_processed_data_and_warehouse_come_out_the_same(old: Installation) -> None:
    before = checksums(old.warehouse)
    objects, _ = old.state()
    assert again(old) == steps("transform", 1, 2, 3, 4) + steps("load", 1, 2, 3, 4)
    assert checksums(old.warehouse) == before
    assert generation(old) == 2
    assert old.state()[0].items() >= objects.items(), "nothing was changed or deleted"
    assert verify(old.pipeline).equal


def test_the_pipeline_goes_on_in_the_new_generation(living: Installation) -> None:
    again(living)
    living.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")
    assert news(living.run()) == [("ingest", 2), ("transform", 2), ("load", 2)]
    assert generation(living) == 2
    assert verify(living.pipeline).equal


def test_a_replay_can_be_replayed(old: Installation) -> None:
    before = checksums(old.warehouse)
    again(old)
    again(old)
    assert checksums(old.warehouse) == before
    assert generation(old) == 3


def test_a_lost_warehouse_is_built_again(old: Installation, another: Dsn) -> None:
    again(Installation(old.owner, old.source, another, old.folder))
    assert checksums(another) == checksums(old.warehouse)


def test_a_lost_processed_store_is_built_again(old: Installation) -> None:
    before = checksums(old.warehouse)
    again(old)
    old.processed.rename(old.folder / "lost")
    assert news(old.run()) == steps("transform", 1, 2, 3, 4) + steps("load", 1, 2, 3, 4)
    assert checksums(old.warehouse) == before
    assert generation(old) == 1


def test_what_is_ingested_meanwhile_is_in_the_warehouse_too(living: Installation) -> None:
    def rival() -> None:
        living.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")
        living.run()

    with at("replay.before-pointer", rival):
        assert again(living) == steps("transform", 1, 2) + steps("load", 1, 2)
    assert verify(living.pipeline).equal


# Up to a batch


@pytest.mark.parametrize("last", [1, 3])
def test_a_replay_up_to_a_batch_brings_back_that_day_and_the_next_run_the_rest(
    old: Installation, last: int
) -> None:
    end = checksums(old.warehouse)
    moment = old.ask(f"SELECT captured_at FROM totes.batches WHERE batch = {last}")[0][0]
    as_of = f"SELECT count(*), sum(units_sold) FROM sales_order_as_of('{moment}')"
    expected = old.ask(as_of)
    again(old, upto=last)
    assert old.ask("SELECT max(batch) FROM totes.batches") == [(last,)]
    assert old.ask(as_of.replace(f"sales_order_as_of('{moment}')", "current_sales_order")) == (
        expected
    )
    rest = list(range(last + 1, 5))
    assert news(old.run()) == steps("transform", *rest) + steps("load", *rest)
    assert checksums(old.warehouse) == end
    assert generation(old) == 2


# Into another database


def test_another_database_becomes_the_same_and_the_lake_stays_as_it_is(
    old: Installation, another: Dsn
) -> None:
    before = old.state()
    done = again(old, into=another)
    assert sorted(done) == steps("load", 1, 2, 3, 4) + steps("transform", 1, 2, 3, 4)
    assert checksums(another) == checksums(old.warehouse)
    assert old.state() == before


def test_another_database_can_be_of_an_earlier_day(old: Installation, another: Dsn) -> None:
    again(old, into=another, upto=2)
    early = checksums(another)
    again(old, upto=2)
    assert checksums(old.warehouse) == early
    assert early["totes.batches"][0] == 2


def test_a_database_with_batches_is_refused_and_stays_as_it_was(old: Installation) -> None:
    before = old.state(), checksums(old.warehouse)
    with pytest.raises(WarehouseError, match="has batches already: replay into an empty database"):
        again(old, into=old.warehouse)
    assert (old.state(), checksums(old.warehouse)) == before


def test_a_database_whose_replay_was_killed_is_refused(old: Installation, another: Dsn) -> None:
    killed(old, "load.fetched", passing=2, into=another)
    with pytest.raises(WarehouseError, match="an interrupted replay left, drop it"):
        again(old, into=another)


def test_an_empty_database_may_be_migrated_already(old: Installation, another: Dsn) -> None:
    migrate(another)
    again(old, into=another)
    assert checksums(another) == checksums(old.warehouse)


# Killed on the way


@pytest.mark.parametrize("passing", [0, 2])
@pytest.mark.parametrize("upto", [None, 3])
def test_a_replay_killed_while_it_transforms_goes_on_where_it_was(
    old: Installation, passing: int, upto: int | None
) -> None:
    before = checksums(old.warehouse)
    killed(old, "transform.before-manifest", passing=passing)
    assert generation(old) == 1
    assert checksums(old.warehouse) == before, "nobody sees a generation that is not published"
    assert news(old.run()) == []
    rest = range(passing + 1, (upto or 4) + 1)
    assert again(old, upto=upto)[: len(rest)] == steps("transform", *rest)
    old.run()
    assert checksums(old.warehouse) == before
    assert generation(old) == 2


def test_a_replay_killed_before_it_publishes_has_only_that_left_to_do(old: Installation) -> None:
    before = checksums(old.warehouse)
    killed(old, "replay.before-pointer")
    assert generation(old) == 1
    assert again(old) == steps("load", 1, 2, 3, 4)
    assert checksums(old.warehouse) == before
    assert generation(old) == 2


@pytest.mark.parametrize("upto", [None, 2])
def test_a_replay_killed_after_it_published_is_finished_by_the_next_load(
    old: Installation, upto: int | None
) -> None:
    before = checksums(old.warehouse)
    killed(old, "replay.published", upto=upto)
    assert checksums(old.warehouse) == before, "readers have the old content until then"
    assert [made.batch for made in load(old.pipeline.processed, old.warehouse)] == list(
        range(1, (upto or 4) + 1)
    )
    old.run()
    assert checksums(old.warehouse) == before
    assert generation(old) == 2


def test_a_rebuild_that_fails_half_way_leaves_the_old_content(old: Installation) -> None:
    before = checksums(old.warehouse)
    killed(old, "replay.published")
    [damaged] = sorted((old.processed / "generation=2" / "fact_payment").rglob("000000000003-*"))
    whole = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(whole[:-1])
    with pytest.raises(LakeError, match="damaged"):
        old.run()
    assert checksums(old.warehouse) == before
    damaged.write_bytes(whole)
    old.run()
    assert checksums(old.warehouse) == before
    assert generation(old) == 2


def test_a_loader_of_the_old_generation_does_not_mix_it_into_the_new_one(
    living: Installation,
) -> None:
    def rival() -> None:
        again(living, upto=1)

    living.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")
    with (
        at("load.fetched", once(rival)),
        pytest.raises(WarehouseError, match="run `totes load` again"),
    ):
        living.run()
    living.run()
    assert generation(living) == 2
    assert verify(living.pipeline).equal


# Begun by another version


@pytest.fixture
def other_models(tmp_path: Path) -> Models:
    """Those of another version of the program."""
    folder = tmp_path / "models"
    folder.mkdir()
    for path in (Path(models.__file__).parent / "totesys" / "models").iterdir():
        if path.name != LINEAGE_FILE:
            (folder / path.name).write_text(path.read_text() + "\n-- another version\n")
    return load_models(folder, TOTESYS.tables)


def begin(installation: Installation, models: Models, upto: int) -> None:
    pipeline = installation.pipeline
    for _ in write_generation(pipeline.ingestion, pipeline.processed, 2, models, upto=upto):
        pass


def test_a_generation_begun_with_other_models_is_not_continued(
    old: Installation, other_models: Models
) -> None:
    begin(old, other_models, upto=2)
    before = old.state()
    with pytest.raises(LakeError, match="delete generation=2/ there") as refusal:
        again(old)
    assert "other models" in str(refusal.value)
    assert old.state() == before


def test_a_generation_that_a_rival_continued_with_other_models_is_not_published(
    old: Installation, other_models: Models
) -> None:
    with (
        at("transform.before-manifest", once(lambda: begin(old, other_models, upto=4))),
        pytest.raises(LakeError, match="other models"),
    ):
        again(old)
    assert generation(old) == 1


def test_a_generation_begun_beyond_the_batch_asked_for_is_not_continued(old: Installation) -> None:
    killed(old, "transform.before-manifest", passing=3)
    with pytest.raises(LakeError, match=r"it has batch 3.*beyond the batch asked for"):
        again(old, upto=2)
    assert generation(old) == 1


# Nothing to replay


def test_an_empty_lake_has_nothing_to_replay(installation: Installation) -> None:
    with pytest.raises(UsageError, match="it is empty"):
        again(installation)
    assert not installation.processed.exists()


def test_a_batch_that_does_not_exist_can_not_be_replayed_to(
    old: Installation, another: Dsn
) -> None:
    before = old.state()
    for into in (None, another):
        with pytest.raises(UsageError, match=r"no batch 5 to replay in .*, the newest is 4"):
            again(old, upto=5, into=into)
    assert old.state() == before
