"""What the settings of a company change on the pages, and what each role sees."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dashboard_page import SECONDS, labelled, metric, tables_of, words
from limits import RateLimitItemPerMinute
from sample_business import REJECTED, SampleBusiness
from streamlit.testing.v1 import AppTest

from totes.config.sign_in import SignIn
from totes.dashboard import text
from totes.dashboard.explore.saved import SavedView, SavedViews
from totes.dashboard.filters import Choices, Filter
from totes.dashboard.preferences import Preferences, set_preferences
from totes.dashboard.server import sign_in
from totes.dashboard.server.backends import set_backends
from totes.dashboard.server.web_server import APP

pytestmark = pytest.mark.few(5)

VIEWER, OPERATOR = "viewer@totes.example", "operator@totes.example"

SIGN_IN = SignIn("https://totes.example", frozenset([VIEWER]), frozenset([OPERATOR]), {})


def look(
    business: SampleBusiness,
    page: str = "overview",
    *,
    user: dict[str, Any] | None = None,
    embedded: bool = False,
    query: Mapping[str, str] = MappingProxyType({}),
) -> AppTest:
    """Return a page as a user sees it."""
    set_backends(business.backends)
    looked = AppTest.from_file(str(APP), default_timeout=SECONDS)
    for name, value in query.items():
        looked.query_params[name] = value
    looked.user = user or {}
    looked.context = {"is_embedded": embedded}
    looked.run()
    if page != "overview":
        looked.switch_page(f"{page}.py").run()
    assert not looked.exception
    return looked


def signed_in(email: str, *, seconds_ago: float = 0) -> dict[str, Any]:
    """Return the claims of a user who signed in some time ago."""
    return {"is_logged_in": True, "email": email, "iat": int(time.time() - seconds_ago)}


def is_empty(looked: AppTest) -> bool:
    """Return whether a page shows no data at all."""
    return not (looked.metric or tables_of(looked) or looked.get("vega_lite_chart"))


def test_a_viewer_sees_the_business_and_an_operator_the_pipeline_too(
    business: SampleBusiness,
) -> None:
    set_preferences(Preferences(sign_in=SIGN_IN))
    for email, can_operate in ((VIEWER, False), (OPERATOR, True)):
        user = signed_in(email)
        overview = look(business, user=user)
        assert metric(overview, "Revenue").value
        assert email in words(overview)
        links = [getattr(link, "label", "") for link in overview.get("page_link")]
        assert "Sales" in links
        assert ("Pipeline" in links) is can_operate
        pipeline = look(business, "pipeline", user=user)
        assert is_empty(pipeline) is not can_operate
        assert ("Only operators see this page" in words(pipeline)) is not can_operate
        query = {"kind": "sales_order", "key": str(REJECTED)}
        [said] = [
            one.value
            for one in look(business, "history", user=user, query=query).text
            if one.value.startswith("In quarantine: ")
        ]
        assert said.endswith(").") is can_operate  # the rejected value


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({}, "Sign in to see the dashboard."),
        ({"email": OPERATOR}, "Sign in to see the dashboard."),
        ({**signed_in(OPERATOR), "is_logged_in": False}, "Sign in to see the dashboard."),
        (signed_in(OPERATOR, seconds_ago=25 * 3600), "Sign in to see the dashboard."),
        ({**signed_in(OPERATOR), "iat": None}, "Sign in to see the dashboard."),
        (signed_in("[x](http://127.0.0.1)@y.example"), "signed in as [x](http://127.0.0.1)@y.ex"),
        ({**signed_in(OPERATOR), "email_verified": False}, "This address has no access."),
    ],
)
def test_others_see_nothing_but_what_to_do(
    business: SampleBusiness, user: dict[str, Any], message: str
) -> None:
    set_preferences(Preferences(company="*Widgets*", contact="a*b*@x.example", sign_in=SIGN_IN))
    for page in ("overview", "pipeline"):
        looked = look(business, page, user=user)
        assert looked.text[0].value == "*Widgets*"
        assert ("Ask a*b*@x.example" in words(looked)) is (looked.title[0].value == "No access")
        assert message in words(looked)
        assert [button.label for button in looked.button] in (["Sign in"], ["Sign out"])
        assert is_empty(looked)
        assert not looked.sidebar.children


def test_without_sign_in_everyone_is_an_operator(business: SampleBusiness) -> None:
    assert not is_empty(look(business, "pipeline"))
    assert "Sign out" not in [button.label for button in look(business).button]


def test_with_viewers_only_nobody_is_an_operator(business: SampleBusiness) -> None:
    set_preferences(Preferences(viewers_only=True))
    overview = look(business)
    assert metric(overview, "Revenue").value
    assert "Pipeline" not in [getattr(one, "label", "") for one in overview.get("page_link")]
    assert is_empty(look(business, "pipeline"))


def test_a_tab_that_reloads_too_often_waits(
    business: SampleBusiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "RUNS", RateLimitItemPerMinute(2))
    looked = look(business)
    assert not is_empty(looked.run())
    assert is_empty(looked.run())
    assert "Too many requests in a minute" in words(looked)
    assert not is_empty(look(business))


def test_an_embedded_page_has_content_and_no_sidebar(business: SampleBusiness) -> None:
    embedded = look(business, embedded=True, query={"period": "all", "in": "EUR"})
    whole = look(business, query={"period": "all", "in": "EUR"})
    assert metric(embedded, "Revenue").value == metric(whole, "Revenue").value
    assert whole.sidebar.children
    assert not embedded.sidebar.children


def test_the_company_and_its_logo_are_above_the_pages(
    business: SampleBusiness, tmp_path: Path
) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    set_preferences(Preferences(company="Widgets *Ltd*", logo=logo))
    looked = look(business)
    assert looked.sidebar.text[0].value == "Widgets *Ltd*"


def test_moments_are_in_the_time_zone_and_links_stay_in_utc(business: SampleBusiness) -> None:
    zone = ZoneInfo("America/New_York")
    set_preferences(Preferences(time_zone=zone))
    moment = datetime(2022, 7, 1, 3, 30, tzinfo=UTC)
    assert text.moment(moment) == "2022-06-30 23:30:00 EDT"
    assert text.clock(moment, moment) == "23:30 EDT"
    assert text.moment(datetime(2022, 1, 1, tzinfo=UTC)) == "2021-12-31 19:00:00 EST"
    now = datetime.now(UTC).replace(microsecond=0, second=0)
    looked = look(business, query={"as_of": now.isoformat()})
    picker = labelled(looked.get("date_time_input"), "Time machine: as of (America/New_York)")
    assert picker.value == now.astimezone(zone).replace(tzinfo=None)
    assert f"as of {text.moment(now)}" in words(looked)
    history = look(business, "history", query={"kind": "sales_order", "key": str(REJECTED)})
    assert " UTC" not in words(history).replace("Time machine", "")


def test_the_currency_of_the_company_is_the_default(business: SampleBusiness) -> None:
    euros = look(business, query={"period": "all", "in": "EUR"})
    set_preferences(Preferences(currency="EUR"))
    looked = look(business, query={"period": "all"})
    assert metric(looked, "Revenue").value == metric(euros, "Revenue").value
    assert "€" in metric(looked, "Revenue").value
    assert "in" not in looked.query_params
    in_pounds = look(business, query={"period": "all", "in": "GBP"})
    assert "£" in metric(in_pounds, "Revenue").value
    set_preferences(Preferences(currency="XXX"))  # without rates
    assert "£" in metric(look(business, query={"period": "all"}), "Revenue").value


@pytest.mark.parametrize(
    ("month", "today", "this", "last"),
    [
        (4, date(2026, 3, 31), (date(2025, 4, 1), date(2026, 3, 31)), date(2024, 4, 1)),
        (4, date(2026, 4, 1), (date(2026, 4, 1), date(2026, 4, 1)), date(2025, 4, 1)),
        (12, date(2026, 11, 29), (date(2025, 12, 1), date(2026, 11, 29)), date(2024, 12, 1)),
        (1, date(2026, 11, 29), (date(2026, 1, 1), date(2026, 11, 29)), date(2025, 1, 1)),
    ],
)
def test_fiscal_years_begin_in_their_month(
    month: int, today: date, this: tuple[date, date], last: date
) -> None:
    set_preferences(Preferences(fiscal_month=month))
    choices = Choices(today=today, first_day=date(2020, 1, 1))
    found = Filter.of(choices, "this-fiscal-year")
    assert (found.since, found.until) == this
    before = Filter.of(choices, "last-fiscal-year")
    assert (before.since, before.until) == (last, this[0] - timedelta(days=1))
    assert Filter.from_query(before.to_query(), choices) == (before, ())


def test_fiscal_years_are_offered_if_they_are_not_calendar_years(business: SampleBusiness) -> None:
    names = ["This fiscal year", "Last fiscal year"]
    offered = labelled(look(business).selectbox, "Period").options
    assert not set(names) & set(offered)
    linked = look(business, query={"period": "last-fiscal-year"})
    assert labelled(linked.selectbox, "Period").value == "last-fiscal-year"
    set_preferences(Preferences(fiscal_month=4))
    assert set(names) <= set(labelled(look(business).selectbox, "Period").options)


def test_a_viewer_deletes_own_saved_views_and_an_operator_all(
    business: SampleBusiness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_preferences(Preferences(sign_in=SIGN_IN))
    views = SavedViews(tmp_path)
    for name, user in (("first", OPERATOR), ("second", VIEWER)):
        views.save(SavedView(name, {"mode": "sql"}, user))
    backends = replace(business.backends, saved_views=views)
    monkeypatch.setattr(SampleBusiness, "backends", backends)
    for email, count in ((VIEWER, 1), (OPERATOR, 2)):
        looked = look(business, "explore", user=signed_in(email), query={"mode": "saved"})
        assert [one.label for one in looked.button].count("Delete") == count
        assert f"by {OPERATOR}" in words(looked)
