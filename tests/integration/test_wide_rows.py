"""Wide rows are loaded in steps that fit into memory, or quarantined with the reason."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from importlib.resources import as_file, files
from pathlib import Path

import duckdb
import pytest
from database import fetch_rows
from hypothesis import given
from hypothesis import strategies as st
from installation import Installation
from lake_writer import ROWS, LakeWriter, row

from conftest import EmptyWarehouse
from totes.config.settings import DEFAULT_MEMORY_MB
from totes.duckdb_engine import convert_memory_errors, open_engine, scratch_folder, set_memory_limit
from totes.errors import LakeError, ModelError, OutOfMemory
from totes.lake.folder import FolderStore
from totes.stages.load import load
from totes.stages.transform import transform, write_generation
from totes.star.contract import MAX_TEXT_BYTES
from totes.star.folder import TOTESYS
from totes.star.long_lines import NotAnObject, reduce_line
from totes.star.models import load_models
from totes.star.relation import (
    CHUNK_BYTES,
    LONG_LINE_BYTES,
    PART_BYTES,
    SHORT_LINE_BYTES,
    has_only_short_lines,
    unpack,
)

pytestmark = pytest.mark.few(3)

ALL = {table: [row(table)] for table in ROWS}


@pytest.fixture
def memory() -> Iterator[None]:
    """Restores the memory limit after a test that sets it."""
    yield
    set_memory_limit(DEFAULT_MEMORY_MB)


def text(size_bytes: int) -> str:
    """Return text that can't be compressed."""
    return "".join(sha256(f"{n}".encode()).hexdigest() for n in range(size_bytes // 64))


def test_wide_columns_that_no_model_reads_are_captured_and_removed_in_transform(
    installation: Installation,
) -> None:
    """Ten values of 3 MB, one of 1.5 MB in the next batch, then NULL."""
    installation.add_orders()
    installation.run()
    installation.change("ALTER TABLE staff ADD photo bytea")
    photo = "decode(repeat(md5(staff_id::text), {}), 'hex')"
    installation.change(
        f"UPDATE staff SET photo = {photo.format(3_000_000 // 16)} WHERE staff_id <= 10"
    )
    installation.run()
    smaller = photo.format(1_500_000 // 16)
    installation.change(f"UPDATE staff SET photo = {smaller}, first_name = 'X' WHERE staff_id = 1")
    installation.run()
    installation.change("UPDATE staff SET photo = NULL")
    installation.run()
    kept = list((installation.processed / "generation=1" / "state").rglob("*.parquet"))
    assert kept
    assert sum(path.stat().st_size for path in kept) < 100_000
    assert installation.totes("replay").exit_code == 0
    assert installation.totes("verify").exit_code == 0


def test_a_too_long_text_is_quarantined_shown_released_and_replaced(
    installation: Installation,
) -> None:
    installation.add_orders()
    installation.run()
    long = f"repeat('tote ', {MAX_TEXT_BYTES // 5 + 1})"
    installation.change(f"UPDATE design SET design_name = {long} WHERE design_id = 1")
    installation.change(f"UPDATE department SET department_name = {long} WHERE department_id = 1")
    installation.run()
    query = "SELECT star_table, key, column_name, reason, length(value), length(row::text)"
    rows = installation.query(
        f"{query} FROM totes.quarantine WHERE superseded_at IS NULL ORDER BY 1, 2"
    )
    staff = installation.query(
        "SELECT count(*) FROM dim_staff WHERE department_name LIKE 'tote tote%'"
    )
    assert staff == [(0,)]
    assert rows[0][:4] == ("dim_design", "1", "design_name", "is longer than 1048576 bytes")
    assert {found[2] for found in rows[1:]} == {"department_name"}
    assert all(value < 600 and line < 2000 for *_, value, line in rows)
    assert "is longer than 1048576 bytes" in installation.totes("quarantine", "show").output
    assert installation.totes("verify").exit_code == 0
    assert installation.totes("quarantine", "release").exit_code == 0, "they are rejected again"
    for table in ("design", "department"):
        installation.change(f"UPDATE {table} SET {table}_name = 'short' WHERE {table}_id = 1")
    installation.run()
    assert installation.query("SELECT design_name FROM dim_design WHERE design_id = 1") == [
        ("short",)
    ]
    assert installation.totes("verify").exit_code == 0


@pytest.mark.few(1)
@pytest.mark.parametrize(("count", "size_bytes"), [(2100, 20_000), (40, 1_000_000)])
def test_many_rows_with_wide_values_are_loaded(
    tmp_path: Path, warehouse: EmptyWarehouse, count: int, size_bytes: int
) -> None:
    """In a table that is not joined, and in a joined table, whose current rows are kept."""
    writer, processed = LakeWriter(tmp_path / "ingestion"), FolderStore(tmp_path / "processed")
    name = text(size_bytes)
    names = [f"{number} {name}"[:size_bytes] for number in range(count)]
    writer.add(ALL)
    designs = [row("design", design_id=n, design_name=value) for n, value in enumerate(names)]
    writer.add({"design": designs})
    parties = [
        row("counterparty", counterparty_id=n, counterparty_legal_name=value)
        for n, value in enumerate(names)
    ]
    writer.add({"counterparty": parties})
    writer.add({"counterparty": parties[: count // 10]}, deletes={"counterparty": [count - 1]})
    writer.add({"address": [row("address", city="Elsewhere")]})
    assert len(list(transform(writer.store, processed))) == len(writer.batches)
    list(load(processed, warehouse.dsn))
    size = "count(*), sum(length({0})), count(DISTINCT {0})"
    total = (count, sum(map(len, names)), count)
    query = f"SELECT {size.format('design_name')} FROM dim_design"
    assert fetch_rows(warehouse.dsn, query) == [total]
    query = f"SELECT {size.format('counterparty_legal_name')}, min(counterparty_legal_city)"
    assert fetch_rows(warehouse.dsn, f"{query} FROM dim_counterparty") == [(*total, "Elsewhere")]


def test_lines_are_unpacked_into_small_parts(tmp_path: Path) -> None:
    """DuckDB reads up to 2048 lines of a part into memory."""
    writer = LakeWriter(tmp_path / "ingestion")
    names = ["x" * 20_000] * 1000 + ["y" * 5_000_000]
    designs = [row("design", design_id=n, design_name=name) for n, name in enumerate(names)]
    table = writer.add({"design": designs}).table("design")
    assert table is not None
    writer.store.fetch(table.files[0].path, tmp_path / "packed")
    lines = unpack(table, [tmp_path / "packed"], "", read={"_op", "design_id"})
    sizes = [path.stat().st_size for path in lines.paths]
    assert max(sizes) <= PART_BYTES + CHUNK_BYTES + LONG_LINE_BYTES
    assert lines.longest_bytes < LONG_LINE_BYTES
    assert sum(path.read_bytes().count(b"\n") for path in lines.paths) == len(names)


def test_short_lines_are_recognized(tmp_path: Path) -> None:
    """Their rows are written in any order, which would take much memory for longer ones."""
    writer = LakeWriter(tmp_path / "ingestion")
    for number, (name, only_short) in enumerate({"x": True, "x" * 20_000: False}.items()):
        designs = [row("design", design_id=n, design_name=name) for n in range(3000)]
        table = writer.add({**ALL, "design": designs}).table("design")
        assert table is not None
        packed = tmp_path / str(number)
        writer.store.fetch(table.files[0].path, packed)
        assert unpack(table, [packed], "", read={"_op", "design_name"}).only_short == only_short


def test_a_model_that_reads_a_removed_column_needs_a_replay(
    tmp_path: Path, models_folder: Path
) -> None:
    """Current rows are kept only with the columns that models read."""
    writer, processed = LakeWriter(tmp_path / "ingestion"), FolderStore(tmp_path / "processed")
    writer.add(ALL)
    list(transform(writer.store, processed))
    writer.add({"staff": [row("staff")]})
    path = models_folder / "dim_staff.sql"
    path.write_text(path.read_text().replace("department.location", "department.manager"))
    path.write_text(path.read_text().replace("    location,", "    manager as location,"))
    changed = load_models(models_folder, TOTESYS.tables)
    with pytest.raises(ModelError, match=r"column of table department .* totes replay"):
        list(write_generation(writer.store, processed, 1, changed))
    assert len(list(write_generation(writer.store, processed, 2, changed))) == len(writer.batches)


@pytest.mark.usefixtures("memory")
def test_an_out_of_memory_error_names_the_setting_that_helps(
    tmp_path: Path, warehouse: EmptyWarehouse
) -> None:
    """It does not name a file of the lake as damaged."""
    writer, processed = LakeWriter(tmp_path / "ingestion"), FolderStore(tmp_path / "processed")
    writer.add(ALL)
    stages: list[tuple[Callable[[], Iterator[object]], str]] = [
        (lambda: transform(writer.store, processed), "rows of table|Model"),
        (lambda: load(processed, warehouse.dsn), "Loading|Reading"),
    ]
    for stage, subject in stages:
        set_memory_limit(97)
        with pytest.raises(
            OutOfMemory, match=rf"({subject}) .*batch 1.* set TOTES_MEMORY to a larger"
        ):
            list(stage())
        set_memory_limit(DEFAULT_MEMORY_MB)
        assert len(list(stage())) == 1


def test_an_error_raised_from_an_out_of_memory_error_becomes_out_of_memory(tmp_path: Path) -> None:
    def run_out_of_memory() -> None:
        with open_engine(tmp_path) as engine:
            try:
                engine.execute("SET memory_limit = '1MB'; SELECT list(i) FROM range(9999999) r(i)")
            except duckdb.Error as error:
                raise LakeError("A file is damaged.") from error

    with pytest.raises(OutOfMemory, match=r"^A batch .* TOTES_MEMORY"), scratch_folder("transform"):
        run_out_of_memory()
    with pytest.raises(OutOfMemory, match=r"^It .* TOTES_MEMORY"), convert_memory_errors("It"):
        raise MemoryError


def test_the_setting_reaches_the_engines(installation: Installation) -> None:
    assert installation.with_settings(memory="2gb").totes("settings").output.count("2000MB") == 1
    for invalid in ("255MB", "1TB", "much", "-1GB"):
        result = installation.with_settings(memory=invalid).totes("settings")
        assert result.exit_code == 2
        assert "TOTES_MEMORY: must be a size of at least 256MB" in result.output


TEXTS = st.text() | st.text('\\"/\n\x00é👜')


@given(
    line=st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans() | st.none(), min_size=1),
    size=st.integers(1, 9),
    ascii_only=st.booleans(),
)
def test_a_line_is_reduced_to_its_read_columns_however_it_is_split_into_chunks(
    line: dict[str, object], size: int, *, ascii_only: bool
) -> None:
    data = json.dumps(line, ensure_ascii=ascii_only, separators=(",", ":")).encode() + b"\nnext"
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    read = set(list(line)[::2])
    reduced, rest = reduce_line(b"", chunks, read)
    expected = {name: value if name in read else None for name, value in line.items()}
    assert json.loads(reduced) == expected
    assert b"next".startswith(rest)


@pytest.mark.parametrize(
    "line", [b'{"a":', b'{"a":"b', b'{"a":"b\n"}', b'{"a":[1]}\n', b"{}\n", b"1\n"]
)
def test_a_long_line_that_is_not_a_row_is_rejected(line: bytes) -> None:
    with pytest.raises(NotAnObject):
        reduce_line(line, iter(()), {"a"})


def test_different_long_texts_stay_different_when_truncated() -> None:
    """They may be keys. An escape is the character that it stands for."""
    reduced = {
        reduce_line(b'{"a":"%b"}\n' % (b"x" * MAX_TEXT_BYTES + end), iter(()), {"a"})[0]
        for end in (b"1", b"2", b"2", b"\\u0032")
    }
    assert len(reduced) == 2


@pytest.fixture
def models_folder(tmp_path: Path) -> Path:
    with as_file(files("totes.star") / "totesys" / "models") as shipped:
        return shutil.copytree(shipped, tmp_path / "models")


@given(
    lengths=st.lists(st.integers(0, 3 * SHORT_LINE_BYTES), max_size=12),
    long=st.integers(SHORT_LINE_BYTES, 3 * SHORT_LINE_BYTES),
    place=st.integers(0, 12),
)
def test_a_long_line_between_any_others_is_noticed(
    lengths: list[int], long: int, place: int
) -> None:
    def lines(of: Iterable[int]) -> bytes:
        return b"".join(b"x" * length + b"\n" for length in of)

    assert not has_only_short_lines(lines([*lengths[:place], long, *lengths[place:]]))
    assert has_only_short_lines(lines(length % 4000 for length in lengths))
