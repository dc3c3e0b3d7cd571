"""Filters, the URL and drill-down on the dashboard's pages."""

from datetime import date, timedelta

import pytest
from dashboard_page import labelled, metric, open_page, tables_of, words
from sample_business import (
    MARKDOWN,
    SCRIPT,
    SampleBusiness,
)

pytestmark = pytest.mark.few(6)


def test_a_filter_is_put_into_the_url_and_all_links(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "sales", period="all")
    labelled(looked.multiselect, "Currency").set_value(["USD"]).run()
    assert not looked.exception
    assert looked.query_params == {"period": "all", "currency": "USD"}
    labelled(looked.selectbox, "Reporting currency").set_value("EUR").run()
    labelled(looked.selectbox, "Period").set_value("last-12-months").run()
    expected = {"period": "last-12-months", "currency": "USD", "in": "EUR"}
    assert looked.query_params == expected
    for link in looked.get("page_link"):
        assert "currency=USD" in link.proto.query_string
        assert "in=EUR" in link.proto.query_string
    assert "€" in metric(looked, "Revenue").value
    looked.button[-1].run()


def test_a_country_with_two_names_is_one_option(business: SampleBusiness) -> None:
    [(orders,)] = business.installation.query(
        "SELECT count(*) FROM current_sales_order JOIN dim_location AS place"
        " ON place.location_id = agreed_delivery_location_id"
        " WHERE place.country IN ('Turkey', 'Türkiye')"
    )
    looked = open_page(business.backends, "sales", period="all", country="Türkiye")
    countries = labelled(looked.multiselect, "Country")
    assert (countries.value, countries.options.count("Turkey / Türkiye")) == (["Turkey"], 1)
    assert metric(looked, "Sales orders").value == f"{orders:,}"
    assert "Country: Turkey" in words(looked)
    countries.set_value(["Turkey", "Atlantis"]).run()
    assert looked.query_params == {"period": "all", "country": ["Turkey", "Atlantis"]}
    assert "Country: Turkey, Atlantis" in words(looked)
    looked.button(key="remove-filters").click().run()
    assert looked.query_params == {"period": "all"}
    assert "Country: " not in words(looked)
    [(key,)] = business.installation.query("SELECT min(counterparty_id) FROM dim_counterparty")
    looked = open_page(business.backends, "sales", period="all", counterparty=str(key))
    assert f"Counterparty: {SCRIPT}" in [element.value for element in looked.text]


def test_filters_have_an_explanation_and_exclude_the_margin(
    business: SampleBusiness,
) -> None:
    everything = open_page(business.backends, period="all", currency="GBP")
    assert metric(everything, "Margin").value
    assert "No margin: sales and purchases are not comparable" not in words(everything)
    assert "legal address" in labelled(everything.multiselect, "Country").help
    assert "legal address" not in words(everything)
    for name, value, explanation in (
        ("country", "Atlantis", "Country: delivery country of sales;"),
        ("department", MARKDOWN, "Department: department of the member of staff"),
    ):
        looked = open_page(business.backends, period="all", **{name: value})
        assert not looked.exception
        assert "Margin" not in [each.label for each in looked.metric]
        assert not any("margin" in table for table in tables_of(looked))
        assert "No margin: sales and purchases are not comparable" in words(looked)
        assert explanation in words(looked)
        assert metric(looked, "Revenue").value


def test_a_custom_period_never_ends_before_it_begins(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "sales", **{"from": "2026-01-10", "to": "2026-01-20"})
    labelled(looked.date_input, "From").set_value(date(2026, 2, 3)).run()
    assert looked.query_params == {"from": "2026-02-03", "to": "2026-02-03"}
    labelled(looked.date_input, "To").set_value(date(2026, 1, 5)).run()
    assert looked.query_params == {"from": "2026-01-05", "to": "2026-01-05"}


def test_invalid_values_of_a_url_are_ignored_with_a_notice(business: SampleBusiness) -> None:
    hostile = open_page(
        business.backends, "sales", currency=[SCRIPT, "GBP"], period="'; DROP TABLE x", key="-1"
    )
    assert not hostile.exception
    texts = [element.value for element in hostile.text]
    assert any(SCRIPT in line and line.startswith("Ignored") for line in texts)
    assert labelled(hostile.multiselect, "Currency").value == ["GBP"]
    odd = open_page(business.backends, "history", kind="<b>", key="9" * 5000)
    assert not odd.exception
    assert "is not an id such as 1234" in words(odd)
    assert not odd.header


def test_drill_down_from_a_year_to_a_month_a_day_and_its_rows(business: SampleBusiness) -> None:
    [(day,)] = business.installation.query("SELECT max(created_date) FROM current_sales_order")
    year = {"from": f"{day.year}-01-01", "to": f"{day.year}-12-31"}
    looked = open_page(business.backends, "sales", **year)
    months = next(s for s in looked.selectbox if s.label == "Drill into a month")
    assert len(months.options) == 12
    months.set_value(day.replace(day=1).isoformat())
    late = looked._tree.get_widget_states()  # as the badge's refresh sends them
    looked.run()
    assert looked.query_params["from"] == day.replace(day=1).isoformat()
    looked._run(late)  # does not select a day
    days = next(s for s in looked.selectbox if s.label == "Drill into a day")
    assert days.value is None
    assert looked.query_params["to"] != looked.query_params["from"] == f"{day:%Y-%m}-01"
    days.set_value(day.isoformat()).run()
    assert looked.query_params == {"from": day.isoformat(), "to": day.isoformat()}
    [(orders,)] = business.installation.query(
        f"SELECT count(*) FROM current_sales_order WHERE created_date = '{day}'"
    )
    [rows] = [table for table in tables_of(looked) if "sales_order_id" in table]
    assert len(rows) == orders > 0
    up = next(button for button in looked.button if button.label == f"{day:%B %Y}")
    up.click().run()
    assert looked.query_params["from"] == day.replace(day=1).isoformat()


def test_outdated_values_of_the_browser_do_not_change_the_filter(
    business: SampleBusiness,
) -> None:
    looked = open_page(business.backends, "sales")
    since = labelled(looked.date_input, "From").value
    late = looked._tree.get_widget_states()  # as the badge's refresh sends them
    business.move_to_next_day()
    looked.run()
    assert labelled(looked.date_input, "From").value == since + timedelta(days=1)
    looked._run(late)
    assert not looked.exception
    assert looked.query_params == {}
    assert labelled(looked.selectbox, "Period").value == "last-30-days"
    assert labelled(looked.date_input, "From").value == since + timedelta(days=1)


def test_a_period_in_the_future_has_no_trend(business: SampleBusiness) -> None:
    ahead = open_page(business.backends, "overview", **{"from": "2100-01-01", "to": "2100-01-31"})
    assert "No trend: the period is in the future" in words(ahead)
    assert "No trend: the period is in the future" not in words(
        open_page(business.backends, period="all")
    )


@pytest.mark.few(1)
@pytest.mark.parametrize("page", ["overview", "payments"])
def test_drill_down_into_a_day_of_the_overview_and_of_payments(
    business: SampleBusiness, page: str
) -> None:
    looked = open_page(business.backends, page, period="all", currency="GBP")
    days = labelled(looked.selectbox, "Drill into a day")
    [(day,)] = business.installation.query("SELECT max(created_date) FROM current_sales_order")
    days.set_value(day.isoformat()).run()
    assert not looked.exception
    assert looked.query_params == {
        "from": day.isoformat(),
        "to": day.isoformat(),
        "currency": "GBP",
    }
    assert "Drill into a day" not in [choice.label for choice in looked.selectbox]
