"""Batches are published as Iceberg tables exactly once, whatever interrupts it."""

import ast
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from depth import sample
from faults import killed_at
from iceberg_tables import (
    load_table,
    new_lakehouse,
    publish,
    publish_pending,
    published_batch,
    publishing_pipeline,
    read_tables,
)
from processed_lake import (
    ALL,
    ProcessedLake,
    Row,
    design,
    moment,
    purchase,
    rejected_row,
    sale,
)
from small_star import FACT, SMALL

import totes.lakehouse
from totes import failpoint
from totes.errors import IcebergBusy, IcebergError
from totes.lakehouse import publish as publish_module
from totes.lakehouse.catalogue import Lakehouse
from totes.lakehouse.publish import find_published
from totes.star.contract import BIGINT, VARCHAR, Column
from totes.star.folder import TOTESYS, Star


@pytest.fixture
def lakehouse(tmp_path: Path) -> Lakehouse:
    return new_lakehouse(tmp_path)


def publish_all_kinds(lake: ProcessedLake) -> None:
    """Publish batches with changes, deletions, rejected, waiting and released versions."""
    lake.publish(ALL)
    lake.publish(
        {FACT: [sale(units_sold=2), sale(2, design_id=9)]},
        rejected=[rejected_row(FACT, 3), rejected_row("dim_design", 8)],
    )
    lake.publish({"dim_design": [design(9)]}, {FACT: [1]})
    lake.publish({FACT: [{**sale(3), "valid_from": moment(2)}], "dim_design": [design(2)]})


def expected(lake: ProcessedLake, folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return what an uninterrupted publication of all batches gives."""
    whole = new_lakehouse(folder, "expected")
    publish(whole, lake)
    return read_tables(whole, SMALL)


def test_a_second_run_adds_nothing(lake: ProcessedLake, lakehouse: Lakehouse) -> None:
    publish_all_kinds(lake)
    assert publish(lakehouse, lake) == [4]
    before = [load_table(lakehouse, name).metadata for name in SMALL.tables]
    assert publish(lakehouse, lake) == []
    assert [load_table(lakehouse, name).metadata for name in SMALL.tables] == before


def test_each_batch_has_a_snapshot_by_which_users_find_it(
    lake: ProcessedLake, lakehouse: Lakehouse
) -> None:
    lake.publish(ALL)
    publish(lakehouse, lake)
    states = {1: read_tables(lakehouse, SMALL)[FACT]}
    lake.publish({FACT: [sale(units_sold=2)]})
    lake.publish({"dim_design": [design(2)]})
    lake.publish({FACT: [sale(2)]})
    assert publish(lakehouse, lake) == [2, 3, 4]
    states[4] = read_tables(lakehouse, SMALL)[FACT]
    snapshots = load_table(lakehouse).snapshots()
    found = {published_batch(one): one.snapshot_id for one in snapshots}
    assert list(found) == [1, 2, 4], "batch 3 did not change the table"
    for batch, rows in states.items():
        assert read_tables(lakehouse, SMALL, {FACT: found[batch]})[FACT] == rows


def test_many_pending_batches_are_published_together(
    lake: ProcessedLake, lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(publish_module, "SINGLE_BATCHES", 2)
    lake.publish(ALL)
    publish(lakehouse, lake)
    publish_all_kinds(lake)
    assert publish(lakehouse, lake) == [5]
    assert len(load_table(lakehouse).snapshots()) == 2
    assert read_tables(lakehouse, SMALL) == expected(lake, tmp_path)


def test_a_batch_that_concerns_no_table_is_recorded(
    lake: ProcessedLake, lakehouse: Lakehouse
) -> None:
    lake.publish(ALL)
    lake.publish({"dim_staff": []})
    assert publish(lakehouse, lake) == [2]
    lake.publish({})
    assert publish(lakehouse, lake) == [3]
    position = find_published(lakehouse, SMALL)
    assert position
    assert position.batch == 3


def test_only_files_with_changed_keys_are_replaced(
    lake: ProcessedLake, lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("totes.lakehouse.files.MAX_FILE_ROWS", 1)
    monkeypatch.setattr("totes.lakehouse.tables.PARTITION_WIDTH", 10)
    lake.publish({**ALL, FACT: [sale(key) for key in range(1, 100)]})
    publish(lakehouse, lake)
    before = {task.file.file_path for task in load_table(lakehouse).scan().plan_files()}
    assert len(before) == 10
    lake.publish({FACT: [sale(42, units_sold=1), sale(77), sale(100)]})
    publish(lakehouse, lake)
    after = {task.file.file_path for task in load_table(lakehouse).scan().plan_files()}
    assert len(before - after) == 1, "the file with the keys 40 to 49"
    assert len(after - before) == 2


def test_keys_may_be_of_several_columns_and_have_any_text(
    lake: ProcessedLake, lakehouse: Lakehouse
) -> None:
    """Here a rejected version lies between two equal ones, and is released later."""
    declared = TOTESYS.tables["fact_purchase_order"]
    columns = tuple(replace(column, references=None) for column in declared.columns)
    fact = replace(declared, columns=columns, key_names=("item_code", "purchase_order_id"))
    star = replace(TOTESYS, tables={fact.name: fact})
    code = 'it\'s a \\ "ü"\n{key} $1 %s'

    def publish_versions(*versions: Row, rejected: Iterable[Row] = ()) -> list[tuple[object, ...]]:
        """Publish a batch with versions of one row and one other row; return those of the first."""
        upserts = [purchase(item_code="A"), purchase(2, item_code=code), *versions]
        lake.publish({fact.name: upserts}, rejected=rejected, star=star)
        assert publish(lakehouse, lake, star) == [lake.batches]
        names = [column.name for column in columns]
        content = read_tables(lakehouse, star)[fact.name]
        rows = [dict(zip([*names, "from", "to"], row, strict=True)) for row in content]
        return sorted(
            (row["item_quantity"], row["from"], row["to"])
            for row in rows
            if (row["item_code"], row["purchase_order_id"]) == (code, 1)
        )

    first = purchase(item_code=code, item_quantity=1)
    key = json.dumps([code, "1"], ensure_ascii=False, separators=(",", ":"))
    publish_versions(first)
    publish_versions(rejected=[rejected_row(fact.name, key)])
    assert publish_versions(first) == [(1, moment(1), moment(3)), (1, moment(3), None)]
    released = purchase(item_code=code, item_quantity=2, valid_from=moment(2))
    assert publish_versions(released) == [
        (1, moment(1), moment(2)),
        (1, moment(3), None),
        (2, moment(2), moment(3)),
    ]


# Interruptions and other processes


PACKAGE = Path(totes.lakehouse.__file__).parent
FAILPOINTS = sorted(
    {
        str(node.args[0].value)
        for name in ("publish", "tables")
        for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "reach"
        and isinstance(node.args[0], ast.Constant)
    }
    - {"iceberg.before-columns", "iceberg.columns-added"}  # see the test of new columns
    - {"iceberg.before-compaction", "iceberg.compacted"}  # and test_iceberg_maintenance.py
)


def killed(lakehouse: Lakehouse, lake: ProcessedLake, name: str) -> bool:
    """Publish in a process that is killed at a failpoint; return whether it reached it."""
    return killed_at(publishing_pipeline(lakehouse, lake), publish_pending, name)


@pytest.mark.parametrize("name", sample(1, FAILPOINTS, "iceberg"))
def test_a_publication_killed_at_any_failpoint_is_continued(
    lake: ProcessedLake, lakehouse: Lakehouse, tmp_path: Path, name: str
) -> None:
    publish_all_kinds(lake)
    kills = int(killed(lakehouse, lake, name))
    lake.publish({FACT: [sale(4), sale(3, units_sold=8)]})
    kills += killed(lakehouse, lake, name)
    assert kills, "no publication reaches the failpoint"
    publish(lakehouse, lake)
    assert read_tables(lakehouse, SMALL) == expected(lake, tmp_path)
    for table in SMALL.tables:
        batches = [published_batch(one) for one in load_table(lakehouse, table).snapshots()]
        assert len(batches) == len(set(batches)), "a batch was published twice"


class Stopped(BaseException):
    """Ends a publication like a crash."""


def stop() -> None:
    raise Stopped


@contextmanager
def reaching(
    monkeypatch: pytest.MonkeyPatch, name: str, nth: int, action: Callable[[], object]
) -> Iterator[None]:
    """Run an action, in the block, when failpoint `name` is reached the n-th time."""
    count = 0

    def act() -> None:
        nonlocal count
        count += 1
        if count == nth:
            action()

    with monkeypatch.context() as patch:
        patch.setitem(failpoint.actions, name, act)
        yield


def publish_backlog(
    lake: ProcessedLake, lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publish batch 1 in existing tables; the batches 2 to 5 are one pending step."""
    monkeypatch.setattr(publish_module, "SINGLE_BATCHES", 2)
    lake.publish(ALL)
    publish(lakehouse, lake)
    publish_all_kinds(lake)


@pytest.mark.parametrize("nth", sample(1, [1, 2], "nth step"))
@pytest.mark.parametrize("name", sorted({"iceberg.committed", *sample(1, FAILPOINTS, "step")}))
def test_a_step_of_several_batches_that_stops_at_any_failpoint_is_completed(  # noqa: PLR0913, PLR0917  fixtures
    lake: ProcessedLake,
    lakehouse: Lakehouse,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    nth: int,
) -> None:
    """In any table, again, and with more batches in the meantime."""
    publish_backlog(lake, lakehouse, monkeypatch)
    for _ in range(2):
        with suppress(Stopped), reaching(monkeypatch, name, nth, stop):
            publish(lakehouse, lake)
        lake.publish({FACT: [sale(4, units_sold=lake.batches)]})
    publish(lakehouse, lake)
    assert read_tables(lakehouse, SMALL) == expected(lake, tmp_path)
    assert publish(lakehouse, lake) == []


@pytest.mark.few(1)
@pytest.mark.parametrize("later", [0, 1, 4], ids="{} more batches".format)
def test_of_two_publications_of_several_batches_none_leaves_out_any(
    lake: ProcessedLake,
    lakehouse: Lakehouse,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    later: int,
) -> None:
    """The second begins when the first has published one table, perhaps up to a later batch."""
    publish_backlog(lake, lakehouse, monkeypatch)

    def publish_too() -> None:
        for _ in range(later):
            lake.publish({FACT: [sale(4, units_sold=lake.batches)]})
        publish(lakehouse, lake)

    with reaching(monkeypatch, "iceberg.committed", 1, publish_too):
        publish(lakehouse, lake)
    publish(lakehouse, lake)
    assert read_tables(lakehouse, SMALL) == expected(lake, tmp_path)


@pytest.mark.few(1)
@pytest.mark.parametrize("nth", [1, 2])
def test_of_two_publications_at_once_one_begins_again(
    lake: ProcessedLake, lakehouse: Lakehouse, tmp_path: Path, nth: int
) -> None:
    """The other publishes the same batches before the first or the second commit."""
    publish_all_kinds(lake)
    commits = 0

    def publish_too() -> None:
        nonlocal commits
        commits += 1
        if commits == nth:
            publish(lakehouse, lake)

    failpoint.actions["iceberg.before-commit"] = publish_too
    try:
        with pytest.raises(IcebergBusy):
            publish(lakehouse, lake)
    finally:
        del failpoint.actions["iceberg.before-commit"]
    assert publish(lakehouse, lake) == []
    assert read_tables(lakehouse, SMALL) == expected(lake, tmp_path)
    assert len(load_table(lakehouse).snapshots()) == 1


def test_a_publication_whose_position_is_behind_commits_nothing(
    lake: ProcessedLake, lakehouse: Lakehouse
) -> None:
    """Also if its batch changes no file, so that no snapshot could conflict."""
    lake.publish(ALL)
    publish(lakehouse, lake)
    lake.publish({FACT: [sale()]})

    def overtake() -> None:
        failpoint.actions.clear()
        publish(lakehouse, lake)
        lake.publish({FACT: [sale(2)]})
        publish(lakehouse, lake)

    failpoint.actions["iceberg.before-commit"] = overtake
    with pytest.raises(IcebergBusy):
        publish(lakehouse, lake)
    position = find_published(lakehouse, SMALL)
    assert position
    assert position.batch == 3


# Generations, declarations, other lakes


def test_a_new_generation_replaces_the_content_in_one_commit(
    lake: ProcessedLake, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    publish_all_kinds(lake)
    publish(lakehouse, lake)
    replayed = replace(lake, generation=2, batches=0)
    replayed.publish({**ALL, FACT: [sale(7)]})
    replayed.publish({FACT: [sale(8)]})
    lake.store.create("generations/000002.json", b"{}")
    count = len(load_table(lakehouse).snapshots())
    assert publish(lakehouse, replayed) == [2]
    assert read_tables(lakehouse, SMALL) == expected(replayed, tmp_path)
    snapshots = load_table(lakehouse).snapshots()
    assert len(snapshots) == count + 1
    assert published_batch(snapshots[-1]) == 2


def changed_star(
    columns: tuple[Column, ...] = SMALL.tables["dim_design"].columns,
    key_names: tuple[str, ...] = ("design_id",),
) -> Star:
    dimension = replace(SMALL.tables["dim_design"], columns=columns, key_names=key_names)
    return replace(SMALL, tables={**SMALL.tables, "dim_design": dimension})


def test_new_columns_and_tables_are_added(
    lake: ProcessedLake, lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_design = replace(SMALL, tables={"dim_design": SMALL.tables["dim_design"]})
    lake.publish(ALL)
    publish(lakehouse, lake, only_design)
    columns = SMALL.tables["dim_design"].columns
    colour = Column("colour", VARCHAR, nullable=True, comment="Its colour.")
    star = changed_star(columns=(*columns[:2], colour, *columns[2:]))
    lake.publish({"dim_design": [design(2, colour="red")]}, star=star)
    for name in ("iceberg.before-columns", "iceberg.columns-added"):
        with pytest.raises(Stopped), reaching(monkeypatch, name, 1, stop):
            publish(lakehouse, lake, star)
    publish(lakehouse, lake, star)
    found = read_tables(lakehouse, star)
    assert [(row[0], row[2]) for row in found["dim_design"]] == [(1, None), (2, "red")]
    assert len(found[FACT]) == 1
    schema = load_table(lakehouse, "dim_design").schema()
    assert [field.name for field in schema.fields][-1] == "colour"
    assert not any(field.required for field in schema.fields)
    assert [field.field_id for field in schema.fields] == [1, 2, 3, 4, 5]


def test_other_changes_of_the_declaration_are_refused(
    lake: ProcessedLake, lakehouse: Lakehouse
) -> None:
    lake.publish(ALL)
    publish(lakehouse, lake)
    lake.publish({FACT: [sale(2)]})
    columns = SMALL.tables["dim_design"].columns
    for star, reason in (
        (changed_star(columns=columns[:-1]), "file_name is not declared any more"),
        (
            changed_star(columns=(*columns[:-1], replace(columns[-1], type=BIGINT))),
            "column file_name has the type string instead of long",
        ),
        (changed_star(key_names=("design_name",)), "key is design_id instead of design_name"),
        (replace(SMALL, tables={FACT: SMALL.tables[FACT]}), "dim_design is not declared any more"),
    ):
        with pytest.raises(IcebergError, match=reason):
            publish(lakehouse, lake, star)
    assert publish(lakehouse, lake) == [2]


def test_tables_of_another_lake_are_not_touched(
    lake: ProcessedLake, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    lake.publish(ALL)
    publish(lakehouse, lake)
    (tmp_path / "other").mkdir()
    other = ProcessedLake(tmp_path / "other")
    other.publish({}, ingested="another batch")
    other.publish({FACT: [sale(2)]})
    with pytest.raises(IcebergError, match="is not batch 1 in"):
        publish(lakehouse, other)


def test_a_dropped_table_is_published_again(lake: ProcessedLake, lakehouse: Lakehouse) -> None:
    publish_all_kinds(lake)
    publish(lakehouse, lake)
    before = read_tables(lakehouse, SMALL)
    with lakehouse.open() as catalogue:
        catalogue.drop_table((lakehouse.namespace, "dim_design"))
    publish(lakehouse, lake)
    assert read_tables(lakehouse, SMALL) == before
