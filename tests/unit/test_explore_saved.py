"""Saved views of Explore, links to them, and the statements that the builder composes."""

import zlib
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totes.dashboard.explore import builder, link
from totes.dashboard.explore.sandbox import MAX_STATEMENT_LENGTH
from totes.dashboard.explore.saved import MAX_NAME_LENGTH, SavedView, SavedViews, SaveError
from totes.dashboard.metrics.definitions import METRICS

HOSTILE = (
    *("../../etc/passwd", "/", "a/b", ".", "<script>alert(1)</script>", "[x](http://127.0.0.1)"),
    *("=HYPERLINK(1)", "'; DROP TABLE x; --", "İ", "ß", "日本", "x" * MAX_NAME_LENGTH),
)


def test_views_of_any_name_are_saved_listed_and_deleted(tmp_path: Path) -> None:
    views, other = SavedViews(tmp_path / "views"), SavedViews(tmp_path / "views")
    assert views.all() == []
    saved = [SavedView(name, {"mode": "sql", "country": ["a", name]}, "user") for name in HOSTILE]
    for view in saved:
        views.save(view)
        with pytest.raises(SaveError, match="Another view has this name"):
            other.save(view)
    assert sorted(other.all(), key=lambda view: view.name) == sorted(saved, key=lambda v: v.name)
    assert {path.parent for path in tmp_path.rglob("*.json")} == {tmp_path / "views"}
    for view in saved:
        other.delete(view.name)
        other.delete(view.name)
    assert views.all() == []


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME_LENGTH + 1), "a\nb", "a\u202eb", "\0"])
def test_other_names_are_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(SaveError, match="Enter a name"):
        SavedViews(tmp_path).save(SavedView(name, {}))


def test_of_two_views_with_one_name_one_is_saved(tmp_path: Path) -> None:
    def save(number: int) -> int:
        try:
            SavedViews(tmp_path).save(SavedView("one", {"number": str(number)}))
        except SaveError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(save, range(8))) == 1
    assert len(SavedViews(tmp_path).all()) == len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", "[" * 10_000, '{"name": "x"}', "x" * 100_000),
        *('{"name": 1, "query": {}, "user": ""}', '{"name": "x", "query": [], "user": ""}'),
        *('{"name": "x", "query": {"a": {}}, "user": ""}',),
    ],
)
def test_a_damaged_file_is_left_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    (tmp_path / "y.json").write_bytes(b"\xff")
    (tmp_path / "z.json").mkdir()
    views = SavedViews(tmp_path)
    views.save(SavedView("one", {}))
    assert [view.name for view in views.all()] == ["one"]


def test_a_folder_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "views").write_text("a file")
    with pytest.raises(SaveError, match="can't be saved"):
        SavedViews(tmp_path / "views").save(SavedView("one", {}))
    assert SavedViews(tmp_path / "views").all() == []


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=2000))
def test_a_link_has_its_statement(statement: str) -> None:
    assert link.decode(link.encode(statement)) == statement


@given(st.text() | st.binary().map(lambda one: urlsafe_b64encode(one).decode()))
def test_any_other_link_is_rejected_or_valid(value: str) -> None:
    try:
        link.decode(value)
    except ValueError:
        return


def test_a_link_with_a_very_long_statement_is_rejected() -> None:
    packed = zlib.compress(b"x" * 50_000_000, 1)
    with pytest.raises(ValueError, match="longer than"):
        link.decode(urlsafe_b64encode(packed).decode())
    assert link.decode(link.encode("é" * MAX_STATEMENT_LENGTH))


def test_a_statement_of_one_metric_is_short() -> None:
    assert builder.statement(["revenue"], ["country", "month"]) == (
        "SELECT\n"
        "    country,\n"
        "    date_trunc('month', day)::date AS month,\n"
        "    money_sum(true, high, low) AS revenue\n"
        "FROM sales_line\n"
        "WHERE selected AND is_in_period(day)\n"
        "GROUP BY ALL\n"
        "ORDER BY month, revenue DESC NULLS LAST, country\n"
        "LIMIT 10000"
    )
    assert builder.statement(["sales_orders"], []) == METRICS["sales_orders"].sql.replace(
        "SELECT ", "SELECT\n    "
    )


def test_dimensions_are_those_of_all_metrics() -> None:
    assert "design" in builder.common_dimensions([METRICS["revenue"]])
    assert "design" not in builder.common_dimensions([METRICS["revenue"], METRICS["cash_in"]])
    assert "payment_type" in builder.common_dimensions([METRICS["cash_in"]])
