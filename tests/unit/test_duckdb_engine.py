"""DuckDB connections are reused without side effects."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest

from totes import duckdb_engine
from totes.duckdb_engine import _idle_connections, open_engine, scratch_folder

SETTINGS = ("memory_limit", "threads", "preserve_insertion_order", "temp_directory", "TimeZone")


@pytest.fixture(autouse=True)
def _no_idle_connections() -> Iterator[None]:
    _idle_connections.clear()
    yield
    _idle_connections.clear()


def settings(engine: duckdb.DuckDBPyConnection) -> list[object]:
    columns = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
    return list(engine.execute(f"SELECT {columns}").fetchall()[0])


def test_a_reused_database_has_no_objects_or_settings(tmp_path: Path) -> None:
    with open_engine(tmp_path) as engine:
        before = settings(engine)
        engine.execute("CREATE TEMPORARY TABLE t AS SELECT 1 AS a")
        engine.execute("CREATE TEMPORARY VIEW v AS SELECT * FROM t")
        engine.execute("SET memory_limit = '1GB'; SET preserve_insertion_order = true")
        engine.execute("SET TimeZone = 'Asia/Tokyo'")
    assert len(_idle_connections[1]) == 1
    with open_engine(tmp_path) as engine:
        assert not _idle_connections[1], "the connection is reused"
        assert settings(engine) == before
        for name in ("t", "v"):
            with pytest.raises(duckdb.CatalogException):
                engine.execute(f"FROM {name}")


def test_concurrent_engines_are_independent(tmp_path: Path) -> None:
    with open_engine(tmp_path, share=2) as one, open_engine(tmp_path, share=2) as other:
        before = settings(other)
        one.execute("SET memory_limit = '1GB'")
        assert settings(other) == before != settings(one)


def test_a_database_that_spilled_frees_the_disk(tmp_path: Path) -> None:
    with open_engine(tmp_path) as engine:
        engine.execute(
            "CREATE TEMPORARY TABLE large AS SELECT i, md5(i::varchar) FROM range(4000000) AS r (i)"
        )
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    assert not _idle_connections[1]


def test_a_database_is_not_reused_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), open_engine(tmp_path):
        raise KeyError
    assert not _idle_connections[1]


def test_the_scratch_folder_can_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "here"'
    folder.mkdir()
    with open_engine(folder) as engine:
        assert engine.execute("SELECT current_setting('temp_directory')").fetchall() == [
            (str(folder),)
        ]


@pytest.mark.parametrize("moment", ["while it is removed", "after it was removed"])
def test_a_folder_that_another_process_takes_for_dead_is_made_again(
    monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Between its creation and its lock, the folder looks like that of a killed process."""
    make_folder, made = duckdb_engine._make_folder, []

    def make_and_remove(prefix: str) -> tempfile.TemporaryDirectory[str]:
        made.append(make_folder(prefix))
        if len(made) == 1:
            removing.enter_context(duckdb_engine._lock(Path(made[0].name)))
            if moment == "after it was removed":
                shutil.rmtree(made[0].name)
                removing.close()
        return made[-1]

    monkeypatch.setattr(duckdb_engine, "_make_folder", make_and_remove)
    with ExitStack() as removing, scratch_folder("test") as folder:
        assert str(folder) == made[1].name
        duckdb_engine.remove_dead_scratch_folders()
        assert folder.exists()
    assert not any(Path(one.name).exists() for one in made)
