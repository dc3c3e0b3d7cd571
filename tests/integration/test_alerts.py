"""Alert rules: their values, and one message when a rule begins to hold and one when it ends."""

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from dashboard_page import open_page, tables_of, words
from installation import Installation
from sample_business import SCRIPT, SampleBusiness

from totes.alert import AlertTargets
from totes.config.settings import load_settings
from totes.notifications import background
from totes.notifications.alert_rules import try_lock
from totes.notifications.background import Checker
from totes.notifications.sending import Notifications
from totes.warehouse.connection import connect

pytestmark = pytest.mark.few(5)

RECORDER = "import sys; open({path!r}, 'a').write(sys.stdin.read() + '\\n')"


class Office:
    """An installation with a configuration file, and the alerts that it has sent."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self._sent, self._file = folder / "sent", folder / "dashboard.toml"
        self.command = shlex.join([sys.executable, "-c", RECORDER.format(path=str(self._sent))])
        self.installation = installation.with_settings(
            dashboard_config=str(self._file),
            alert_command=self.command,
            dashboard_url="https://totes.example",
        )

    def configure(self, text: str) -> None:
        self._file.write_text(text)

    def rule(self, limit: str, metric: str = "overdue_receivable", **keys: str) -> None:
        lines = [f"{key} = {value!r}" for key, value in {"metric": metric, **keys}.items()]
        self.configure("\n".join(['[[alert]]\nname = "Watched"', *lines, limit]))

    def listed(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        result = self.installation.totes("alerts", "--json", *arguments)
        return result.exit_code, json.loads(result.stdout)

    def check(self) -> dict[str, Any]:
        """Check and send; return the only rule's result."""
        [found] = self.listed("--send")[1]
        return found

    @property
    def sent(self) -> list[dict[str, Any]]:
        lines = self._sent.read_text().splitlines() if self._sent.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture
def office(business: SampleBusiness, tmp_path: Path) -> Iterator[Office]:
    yield Office(business.installation, tmp_path)
    business.installation.change_warehouse("DELETE FROM totes.alerts")


def test_a_rule_sends_one_message_when_it_begins_and_one_when_it_ends(office: Office) -> None:
    office.rule("above = 0.01")
    first = office.check()
    again = office.check()
    [begins] = office.sent
    assert begins["state"] == "begins"
    assert begins["rule"] == "Watched"
    assert begins["message"] == f"Watched: Overdue receivables above £0.01: {first['value']}"
    assert begins["url"].startswith("https://totes.example/payments?period=")
    assert first["state"] == again["state"] == "alert"
    assert first["since"] == again["since"]
    office.rule("above = 1000000000000")
    assert office.check()["state"] == "ok"
    office.check()
    [_, ends] = office.sent
    assert ends["state"] == "ends"
    assert ends["message"].startswith("Watched: no longer Overdue receivables above £1,000,000,0")
    assert ends["since"] == first["since"].replace("T", " ")
    [(state, since)] = office.installation.query("SELECT state, since FROM totes.alerts")
    assert state == "ok"
    assert since.isoformat() > first["since"]


def test_alerts_exits_with_1_only_if_a_rule_holds(office: Office) -> None:
    office.rule("above = 1000000000000")
    assert office.listed()[0] == 0
    office.rule("below = 1000000000000")
    assert office.listed()[0] == 1
    shown = office.installation.totes("alerts")
    assert "Overdue receivables below £1,000,000,000,000.00" in shown.stdout
    assert office.sent == []  # without --send
    office.configure("")
    assert office.installation.totes("alerts").stdout == "There are no alert rules.\n"


def test_a_value_is_that_of_the_period_filter_and_currency(office: Office) -> None:
    office.rule("above = 0", metric="units", period="all", currency="USD")
    [(units,)] = office.installation.query(
        "SELECT sum(units_sold) FROM current_sales_order JOIN dim_currency USING (currency_id)"
        " WHERE currency_code = 'USD'"
    )
    assert office.listed()[1][0]["value"] == f"{units:,}"
    assert office.listed()[1][0]["condition"] == "Units, all (USD) above 0"


def test_a_limit_is_exceeded_only_beyond_it(office: Office) -> None:
    office.rule("above = 0", metric="units", period="all")
    units = office.listed()[1][0]["value"].replace(",", "")
    for limit, holds in ((f"above = {units}", 0), (f"above = {units}.0", 0), ("below = 0", 0)):
        office.rule(limit, metric="units", period="all")
        assert office.listed()[0] == holds
    office.rule(f"below = {int(units) + 1}", metric="units", period="all")
    assert office.listed()[0] == 1


def test_a_comparison_is_of_whole_days(installation: Installation, tmp_path: Path) -> None:
    installation.add_orders_of_twenty_days().run()
    [(units, before)] = installation.query(
        "SELECT"
        " sum(units_sold) FILTER (WHERE created_date BETWEEN '2022-11-01' AND '2022-11-07'),"
        " sum(units_sold) FILTER (WHERE created_date BETWEEN '2022-10-25' AND '2022-10-31')"
        " FROM current_sales_order"
    )
    office, share = Office(installation, tmp_path), Decimal(units) * 100 / before
    for limit, holds in ((share + 1, 1), (share - 1, 0)):
        office.rule(
            f"below_percent_of_previous = {limit:.6f}", metric="units", period="last-7-days"
        )
        code, [found] = office.listed()
        assert code == holds
        assert found["value"] == f"{units:,}, previously {before:,}"
    assert found["condition"].startswith("Units, last 7 days below ")
    assert found["condition"].endswith(" % of the previous 7 days")
    assert found["path"].startswith("sales?from=2022-11-01&to=2022-11-07")
    office.rule("below_percent_of_previous = 100", metric="units", period="last-week")
    assert office.listed()[1][0]["value"].startswith(f"{_units(office, '2022-10-31')}, previously")


def _units(office: Office, monday: str) -> str:
    [(units,)] = office.installation.query(
        "SELECT sum(units_sold) FROM current_sales_order"
        f" WHERE created_date BETWEEN '{monday}' AND date '{monday}' + 6"
    )
    return f"{units:,}"


def test_a_comparison_needs_data_of_the_whole_previous_period(office: Office) -> None:
    office.rule("below_percent_of_previous = 100", metric="revenue", period="all")
    found = office.check()
    assert found["state"] == "unknown"
    assert found["value"] == "There is no data of the whole previous period."
    assert office.sent == []


def test_a_rule_whose_value_becomes_unknown_still_holds(office: Office) -> None:
    office.rule("above = 0", metric="revenue", period="all")
    office.check()
    office.rule("above = 0", metric="revenue", period="all", country="Lemuria")
    assert office.check()["value"] == "Ignored “country”: “Lemuria” does not exist."
    assert [one["state"] for one in office.sent] == ["begins"]
    office.rule("above = 0", metric="revenue", period="all")
    assert office.check()["state"] == "alert"
    assert [one["state"] for one in office.sent] == ["begins"]


def test_rules_on_the_pipeline(office: Office) -> None:
    change = office.installation.change_warehouse
    change("DELETE FROM totes.verifications")
    rules = {"data_age_minutes": "above = 60", "quarantined_rows": "above = 0"}
    rules["failed_verifications"] = "above = 0"
    office.configure(
        "\n".join(f"[[alert]]\nname = '{m}'\nmetric = '{m}'\n{limit}" for m, limit in rules.items())
    )
    assert [one["state"] for one in office.listed()[1]] == ["ok", "alert", "ok"]
    change("UPDATE totes.batches SET captured_at = captured_at + interval '2 hours'")
    try:
        assert office.listed()[1][0]["value"] == "unknown", "the clock of totesys is ahead"
    finally:
        change("UPDATE totes.batches SET captured_at = captured_at - interval '2 hours'")
    change("INSERT INTO totes.verifications (batch, verified_at, equal) VALUES (1, now(), false)")
    change("CREATE TABLE totes.aside AS SELECT * FROM totes.checks")
    change("UPDATE totes.batches SET captured_at = captured_at - interval '2 hours'")
    change("DELETE FROM totes.checks")
    try:
        age, rejected, failed = office.listed()[1]
    finally:
        change("DELETE FROM totes.verifications")
        change("UPDATE totes.batches SET captured_at = captured_at + interval '2 hours'")
        change("INSERT INTO totes.checks SELECT * FROM totes.aside")
        change("DROP TABLE totes.aside")
    assert [age["state"], rejected["state"], failed["state"]] == ["alert"] * 3
    assert age["condition"] == "Age of the data above 60 minutes"
    assert (failed["condition"], failed["value"]) == ("Failed verifications above 0", "1 failure")


def test_a_rule_on_silent_changes_is_about_the_days_of_captures(office: Office) -> None:
    [(silent,)] = office.installation.query(
        "SELECT count(*) FROM fact_sales_order AS old JOIN fact_sales_order AS new"
        " ON (new.sales_order_id, new.valid_from) = (old.sales_order_id, old.valid_to)"
        " AND new.last_updated_date = old.last_updated_date"
        " AND new.last_updated_time = old.last_updated_time"
    )
    assert silent > 0
    office.rule("above = 0", metric="silent_changes", period="last-7-days")
    [found] = office.listed()[1]
    assert (found["state"], found["value"]) == ("alert", str(silent))
    assert found["path"] == "changes?period=last-7-days"
    office.rule("above = 0", metric="silent_changes", period="last-month")
    assert office.listed()[1][0]["state"] == "ok"


def test_a_message_that_can_not_be_sent_is_sent_by_the_next_check(office: Office) -> None:
    office.rule("above = 0", metric="revenue", period="all")
    broken = office.installation.with_settings(alert_command="false")
    assert broken.totes("alerts", "--send").exit_code == 1
    assert office.sent == []
    office.check()
    assert [one["state"] for one in office.sent] == ["begins"]


def test_only_one_process_checks_at_a_time(office: Office) -> None:
    office.rule("above = 0", metric="revenue", period="all")
    with connect(office.installation.warehouse) as other, other.transaction():
        assert try_lock(other)
        office.check()
        assert office.sent == []
    office.check()
    assert len(office.sent) == 1


def test_run_checks_the_rules_and_goes_on_without_them(office: Office) -> None:
    office.rule("above = 0", metric="revenue", period="all")
    installation = office.installation
    assert installation.totes("run", "--once").exit_code == 0
    assert [one["stage"] for one in office.sent] == ["alert"]
    office.configure("[[alert]]")
    assert installation.totes("run", "--once").exit_code == 0
    [_, failure] = office.sent
    assert failure["stage"] == "alerts"
    assert "dashboard.toml: alert 1, name: Field required." in failure["message"]
    checked = installation.totes("check")
    assert checked.exit_code == 1
    assert "failed  dashboard configuration: " in checked.stdout


def test_a_running_pipeline_checks_after_each_batch(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.add_orders(40).run()
    office = Office(installation, tmp_path)
    office.rule("above = 0", metric="units", period="all")
    units = int(office.listed()[1][0]["value"].replace(",", ""))
    office.rule(f"above = {units}", metric="units", period="all")
    monkeypatch.setattr(background, "EVERY_SECONDS", 3600)
    check, checked, never = Notifications.check, Event(), Event()

    def recorded(self: Notifications) -> None:
        check(self)
        checked.set()

    def change_then_stop() -> None:
        checked.wait(60)
        office.installation.change(
            "UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id = 20"
        )
        for _ in range(600):
            if office.sent or never.wait(0.1):
                break
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Notifications, "check", recorded)
    with ThreadPoolExecutor(1) as threads:
        stopped = threads.submit(change_then_stop)
        result = office.installation.totes("run", "--every", "500ms")
        stopped.result()
    assert result.exit_code == 0
    assert [one["state"] for one in office.sent] == ["begins"]


@pytest.mark.bare
def test_nothing_is_checked_before_the_first_batch(
    installation: Installation, tmp_path: Path
) -> None:
    office = Office(installation, tmp_path)
    office.rule("below = 1", metric="revenue")
    Checker(
        load_settings().model_copy(update={"dashboard_config": tmp_path / "dashboard.toml"}),
        installation.warehouse,
        AlertTargets(office.command),
    ).check()
    assert office.sent == []


def test_the_page_shows_the_rules_that_alert_first(
    office: Office, business: SampleBusiness
) -> None:
    assert "No alert rules." in words(open_page(business.backends, "alerts"))
    office.configure(
        f'[[alert]]\nname = "A"\nmetric = "units"\nbelow = 0\n[[alert]]\nname = "{SCRIPT}"\n'
        'metric = "units"\nabove = 0\nperiod = "all"'
    )
    office.listed("--send")
    looked = open_page(business.backends, "alerts")
    assert not looked.exception
    assert "1 rule alerts. Last check: " in words(looked)
    [shown] = tables_of(looked)
    assert [*shown["state"]] == ["Alert", "OK"]
    assert [*shown["rule"]] == [SCRIPT, "A"]
    assert [*shown["condition"]] == ["Units, all above 0", "Units, last 30 days below 0"]
