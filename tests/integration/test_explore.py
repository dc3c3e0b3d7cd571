"""The page Explore: views that users build, write in SQL and save."""

import re
from dataclasses import replace
from pathlib import Path

from dashboard_page import labelled, open_page, tables_of, words
from sample_business import MARKDOWN, SCRIPT, SampleBusiness

from totes.dashboard.explore import link, worked
from totes.dashboard.explore.saved import SavedView, SavedViews


def test_a_built_view_shows_its_chart_table_and_sql(business: SampleBusiness) -> None:
    narrowed: dict[str, str | list[str]] = {"period": "all", "in": "EUR", "department": MARKDOWN}
    looked = open_page(
        business.backends,
        "explore",
        **narrowed,
        metric=["revenue", "overdue_receivable"],
        by="month",
        then="country",
    )
    assert not looked.exception
    [found] = tables_of(looked)
    assert list(found.columns) == ["month", "country", "revenue", "overdue_receivable"]
    statement = looked.code[0].value
    assert statement.startswith("WITH part_1 AS (\n    SELECT\n")
    looked = open_page(
        business.backends, "explore", **narrowed, mode="sql", sql=link.encode(statement)
    )
    assert labelled(looked.text_area, "SQL").value == statement
    [same] = tables_of(looked)
    assert same.astype(str).to_dict("list") == found.astype(str).to_dict("list")
    assert re.search(r"Ran in \d+\.\d\d s on batch \d+\.$", words(looked), re.MULTILINE)
    business.installation.change(
        "UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id = 2"
    )
    business.catch_up()
    assert "Run it again for newer data." in words(looked.run())
    labelled(looked.button, "Run").click().run()
    assert "Run it again" not in words(looked)


def test_an_error_of_a_statement_is_shown_as_text(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "explore", mode="sql")
    statement = f"SELECT '{SCRIPT}' FROM no_such_table"
    labelled(looked.text_area, "SQL").input(statement)
    labelled(looked.button, "Run").click().run()
    assert not looked.exception
    assert "Table with name no_such_table does not exist" in looked.code[0].value
    assert "LINE 1" in looked.code[0].value
    assert (
        link.decode("".join(looked.query_params["sql"])) == f"SELECT '{SCRIPT}' FROM no_such_table"
    )


def test_numbers_of_hostile_columns_are_text(business: SampleBusiness) -> None:
    statement = link.encode(f'SELECT 12345 AS "{MARKDOWN}"')
    looked = open_page(business.backends, "explore", mode="sql", sql=statement, chart="number")
    assert not looked.exception
    assert MARKDOWN in [one.value for one in looked.text]
    assert [one.value for one in looked.metric] == ["12,345"]


def test_invalid_parameters_are_ignored_with_a_notice(business: SampleBusiness) -> None:
    looked = open_page(
        business.backends, "explore", metric=["revenue", "x'; DROP"], by="1", chart="?"
    )
    assert not looked.exception
    for name in ("metric", "by", "chart"):
        assert f"Ignored “{name}” in the URL" in words(looked)
    looked = open_page(business.backends, "explore", mode="sql", sql="!")
    assert "Ignored “sql” in the URL: it is damaged" in words(looked)
    assert tables_of(looked)


def test_a_view_is_saved_under_any_name_listed_and_deleted(
    business: SampleBusiness, tmp_path: Path
) -> None:
    views = SavedViews(tmp_path / "views")
    backends = replace(business.backends, saved_views=views)
    looked = open_page(backends, "explore", period="all", metric="units", by="country")
    labelled(looked.text_input, "Name").input(f" {MARKDOWN} ")
    labelled(looked.button, "Save").click().run()
    assert f"Saved as {MARKDOWN}." in words(looked)
    assert views.all() == [
        SavedView(MARKDOWN, {"period": "all", "metric": "units", "by": "country"})
    ]
    labelled(looked.text_input, "Name").input(MARKDOWN)
    labelled(looked.button, "Save").click().run()
    assert "Another view has this name." in words(looked)
    looked = open_page(backends, "explore", mode="saved")
    assert MARKDOWN in [one.value for one in looked.text]
    links = [one.proto for one in looked.get("page_link")]
    [saved] = [one for one in links if one.label == "Open"]
    assert saved.query_string == "period=all&metric=units&by=country"
    assert {one.title for one in worked.questions()} < {one.label for one in links}
    labelled(looked.button, "Delete").click().run()
    assert views.all() == []
    assert "No view is saved." in words(looked)
