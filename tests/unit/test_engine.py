"""DuckDB's instances are used again, and nobody notices."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from totes.engine import _idle, open_engine

SETTINGS = ("memory_limit", "threads", "preserve_insertion_order", "temp_directory", "TimeZone")


@pytest.fixture(autouse=True)
def _no_idle_ones() -> Iterator[None]:
    _idle.clear()
    yield
    _idle.clear()


def settings(engine: duckdb.DuckDBPyConnection) -> list[object]:
    asked = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
    return list(engine.execute(f"SELECT {asked}").fetchall()[0])


def test_nothing_of_one_use_is_left_for_the_next(tmp_path: Path) -> None:
    with open_engine(tmp_path) as engine:
        before = settings(engine)
        engine.execute("CREATE TEMPORARY TABLE made AS SELECT 1 AS a")
        engine.execute("CREATE TEMPORARY VIEW seen AS SELECT * FROM made")
        engine.execute("SET memory_limit = '1GB'; SET preserve_insertion_order = true")
        engine.execute("SET TimeZone = 'Asia/Tokyo'")
    assert len(_idle[1]) == 1
    with open_engine(tmp_path) as engine:
        assert not _idle[1], "it is the same one"
        assert settings(engine) == before
        for name in ("made", "seen"):
            with pytest.raises(duckdb.CatalogException):
                engine.execute(f"FROM {name}")


def test_two_at_a_time_are_two(tmp_path: Path) -> None:
    with open_engine(tmp_path, share=2) as one, open_engine(tmp_path, share=2) as other:
        before = settings(other)
        one.execute("SET memory_limit = '1GB'")
        assert settings(other) == before != settings(one)


def test_one_that_spilled_gives_the_disk_back(tmp_path: Path) -> None:
    with open_engine(tmp_path) as engine:
        engine.execute(
            "CREATE TEMPORARY TABLE large AS SELECT i, md5(i::varchar) FROM range(4000000) AS r (i)"
        )
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    assert not _idle[1]


def test_one_that_failed_is_not_used_again(tmp_path: Path) -> None:
    with pytest.raises(KeyError), open_engine(tmp_path):
        raise KeyError
    assert not _idle[1]


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "here"'
    folder.mkdir()
    with open_engine(folder) as engine:
        assert engine.execute("SELECT current_setting('temp_directory')").fetchall() == [
            (str(folder),)
        ]
