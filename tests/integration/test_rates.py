"""Exchange rates in the pipeline: in batches, beside failures, replays and erasure."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path

import lake_reader
import psycopg
import pytest
from checksums import checksums
from installation import Installation, at
from rates_files import BUNDLE, DAY, Days, csv, expected_rates
from scratch_source import once

from totes.errors import SourceError, WarehouseError
from totes.lake.folder import FolderStore
from totes.lake.manifest import (
    RATES,
    FormerTable,
    Manifest,
    Table,
    manifest_path,
    sha256_hex,
)
from totes.operations.gc import find_orphaned_files
from totes.operations.release import release
from totes.operations.status import read_status
from totes.operations.verify import verify
from totes.rates import (
    BUNDLED,
    DEFINITION,
    FIRST_DAY,
    RateFeed,
)
from totes.source import snapshot
from totes.source.catalogue import CaptureScope
from totes.stages.ingest import AcceptOptions, ingest
from totes.stages.runner import run_once

pytestmark = pytest.mark.few(2)

EURO = (Decimal(1), DEFINITION, False)


@pytest.fixture
def days(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Days:
    """An installation with rates whose source's clock is between 6:00 and 18:00 on `first`."""
    (tmp_path / "bundle.csv").write_bytes(csv(BUNDLE))
    query, first = snapshot._SNAPSHOT_QUERY, date(2022, 12, 1)

    def move(days_ahead: int) -> None:
        clock = f"(date '{first + days_ahead * DAY}' + time '06:00' + (now() - now()::date) / 2)"
        moved = query.replace("clock_timestamp()", f"{clock}::timestamptz")
        monkeypatch.setattr(snapshot, "_SNAPSHOT_QUERY", moved)

    move(0)
    days = Days(
        replace(installation, rates=RateFeed()).add_orders(40), tmp_path / "url.csv", move, first
    )
    days.publish({})
    return days


def test_each_day_makes_one_batch_and_so_do_newly_published_rates(days: Days) -> None:
    assert days.run() == [1]
    pounds = Decimal("0.85498")
    dollars = (Decimal("1.0826"), BUNDLED, True)
    assert days.rates(days.first) == {"EUR": EURO, "GBP": (pounds, BUNDLED, True), "USD": dollars}
    counted = "SELECT count(*), count(DISTINCT rate_id), min(rate_date) FROM current_exchange_rate"
    rows = 3 * ((days.first - FIRST_DAY).days + 1)
    assert days.installation.query(counted) == [(rows, rows, FIRST_DAY)]
    assert days.run() == [], "the rates of the day are in the lake"
    days.move(1)
    assert (days.run(), days.run()) == ([2], [])
    [table] = [table for table in days.batches()[1].tables if table.files]
    assert (table.name, table.rows, table.whole) == (RATES, rows + 3, False)
    days.publish({days.first: {"GBP": "0.9", "USD": "1.5"}})
    assert (days.run(), days.run()) == ([3], [])
    assert days.rates(days.first + DAY) == {
        "EUR": EURO,
        "GBP": (Decimal("0.9"), "file", True),
        "USD": (Decimal("1.5"), "file", True),
    }
    history = days.installation.query(
        "SELECT rate, carried_forward, valid_to IS NULL FROM fact_exchange_rate"
        f" WHERE rate_id = '{days.first} GBP' ORDER BY valid_from"
    )
    assert history == [(pounds, True, False), (Decimal("0.9"), False, True)]
    current, day_count = "SELECT count(*) FROM current_exchange_rate", (days.first - FIRST_DAY).days
    assert days.installation.query(current) == [(3 * (day_count + 2),)]
    assert days.installation.query(
        "SELECT count(*) FROM exchange_rate_to('USD')"
    ) == days.installation.query(current)
    before = days.installation.query(
        "SELECT rate FROM exchange_rate_as_of((SELECT captured_at FROM totes.batches"
        f" WHERE batch = 2)) WHERE rate_id = '{days.first} GBP'"
    )
    assert before == [(pounds,)]
    assert verify(days.installation.pipeline).equal


def test_a_batch_may_have_rates_or_changed_rows_or_both(days: Days) -> None:
    days.run()
    days.move(1)
    days.installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    assert days.run() == [2]
    assert {table.name for table in days.batches()[1].tables if table.files} == {"design", RATES}
    days.installation.change("UPDATE design SET file_name = 'newer' WHERE design_id = 1")
    assert days.run() == [3]
    [table] = [table for table in days.batches()[2].tables if table.files]
    assert table.name == "design"
    assert days.batches()[2].rates == without_files(days.batches()[1])


def without_files(batch: Manifest) -> Table | None:
    return batch.rates and batch.rates.model_copy(update={"files": (), "whole": False})


def test_rates_stay_unchanged_while_they_are_switched_off(
    days: Days,
) -> None:
    days.run()
    off = replace(days, installation=replace(days.installation, rates=None))
    days.move(2)
    assert off.run() == []
    days.installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    assert off.run() == [2]
    assert days.batches()[1].rates == without_files(days.batches()[0])
    assert (off.rates(days.first + DAY), days.run()) == ({}, [3])
    assert days.rates(days.first + DAY).keys() == {"EUR", "GBP", "USD"}
    assert days.batches()[2].former == ()
    shown = read_status(
        days.installation.pipeline.ingestion,
        days.installation.pipeline.processed,
        days.installation.warehouse,
    )
    assert shown.schema_changes == (), "the table of rates is not a source table"


def test_a_lake_and_a_warehouse_without_rates_get_them(days: Days) -> None:
    """As after an upgrade."""
    off = replace(days, installation=replace(days.installation, rates=None))
    off.run()
    days.installation.change_warehouse("DROP TABLE fact_exchange_rate CASCADE")
    with pytest.raises(WarehouseError, match=r"has no table fact_exchange_rate.*migrate`"):
        days.run()
    assert days.installation.totes("warehouse", "migrate").exit_code == 0
    assert days.run() == [2]
    assert days.rates(days.first).keys() == {"EUR", "GBP", "USD"}
    shown = read_status(
        days.installation.pipeline.ingestion,
        days.installation.pipeline.processed,
        days.installation.warehouse,
    )
    assert shown.schema_changes == ()


def test_of_two_concurrent_ingests_one_adds_the_rates(days: Days) -> None:
    def concurrent_run() -> None:
        days.run()

    with at("ingest.before-manifest", once(concurrent_run)):
        assert days.run() == []
    assert [batch.batch for batch in days.batches()] == [1]
    named = {file.path for table in days.batches()[0].tables for file in table.files}
    orphaned_keys = {
        orphan.key for orphan in find_orphaned_files(FolderStore(days.installation.ingestion))
    }
    assert any(key.startswith(f"{RATES}/") for key in orphaned_keys), (
        "the file of the run that lost"
    )
    assert not orphaned_keys & named


def test_rates_do_not_depend_on_the_source_database(days: Days) -> None:
    days.run()
    store = days.installation.pipeline.ingestion
    manifest, path = days.batches()[0], days.installation.ingestion / "batches" / f"{1:012d}.json"
    other = manifest.identity.model_copy(update={"timeline": 7})
    path.unlink()
    path.write_bytes(manifest.model_copy(update={"identity": other}).to_json())
    with pytest.raises(SourceError, match="--accept-new-source"):
        days.run()
    found = ingest(
        days.installation.source,
        store,
        CaptureScope(),
        rates=RateFeed(None, days.url.with_name("bundle.csv")),
        accept=AcceptOptions(new_source=True),
    )
    assert found.batch is not None
    assert found.batch.rates == without_files(manifest)
    assert all(table.whole for table in found.batch.source_tables)
    assert found.batch.former == ()


def test_an_unchanged_source_still_gets_new_rates(days: Days) -> None:
    """No transaction has run, so no table is scanned, but it is another day."""

    def capture() -> Manifest | None:
        rates = RateFeed(None, days.url.with_name("bundle.csv"))
        store = days.installation.pipeline.ingestion
        return ingest(days.installation.source, store, CaptureScope(), rates=rates).batch

    first = capture()
    assert (first is not None, capture()) == (True, None)
    days.move(1)
    second = capture()
    assert second is not None
    assert [table.name for table in second.tables if table.files] == [RATES]


def test_rates_are_unchanged_after_a_batch_of_an_older_program(days: Days) -> None:
    """Which treats their table as a source table that was dropped."""
    days.run()
    before = checksums(days.installation.warehouse)["fact_exchange_rate"]
    [first] = days.batches()
    lost = without_files(first)
    assert lost is not None
    left = FormerTable(table=lost.model_copy(update={"rates": None}), since=2, reason="absent")
    update = {"files": (), "whole": False}
    older = first.model_copy(
        update={
            "batch": 2,
            "previous": sha256_hex(first.to_json()),
            "captured_at": first.captured_at + timedelta(seconds=1),
            "tables": tuple(table.model_copy(update=update) for table in first.source_tables),
            "former": (left,),
        }
    )
    assert days.installation.pipeline.ingestion.create(manifest_path(2), older.to_json())
    days.installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    assert days.run() == [2, 3]
    assert days.batches()[2].former == ()
    assert checksums(days.installation.warehouse)["fact_exchange_rate"] == before


def test_a_source_table_with_the_name_of_the_rates_table_must_be_excluded(days: Days) -> None:
    days.run()
    days.installation.change(f"CREATE TABLE {RATES} (id int PRIMARY KEY)")
    days.installation.change(f"GRANT SELECT ON {RATES} TO totes_ingest")
    for one in (days, replace(days, installation=replace(days.installation, rates=None))):
        with pytest.raises(SourceError, match=f"a table {RATES}, .*TOTES_EXCLUDE_TABLES") as error:
            one.run()
        assert "\n" not in str(error.value)
    days.move(1)
    excluding = replace(days.installation.pipeline, scope=CaptureScope(exclude=(RATES,)))
    bundled = replace(excluding, rates=RateFeed(None, days.url.with_name("bundle.csv")))
    assert [done.batch for done in run_once(bundled)] == [2, 2, 2]


def test_release_erasure_and_replay_keep_the_rates(days: Days) -> None:
    days.run()
    days.installation.change("UPDATE sales_order SET agreed_delivery_date = 'soon'")
    days.run()
    days.publish({days.first: {"GBP": "0.9"}})
    days.move(1)
    days.run()
    release(days.installation.pipeline.ingestion, [2])
    days.run()
    assert days.batches()[3].rates == without_files(days.batches()[2])
    arguments = ["staff", "1", "--columns", "first_name", "--into", str(days.url.parent / "erased")]
    assert days.installation.totes("erase", *arguments).exit_code == 0
    erased = FolderStore(days.url.parent / "erased")
    assert [batch.rates for batch in lake_reader.batches(erased)] == [
        batch.rates for batch in days.batches()
    ]
    assert list(find_orphaned_files(erased)) == []
    before = checksums(days.installation.warehouse)
    assert days.installation.totes("replay").exit_code == 0
    after = checksums(days.installation.warehouse)
    assert after["fact_exchange_rate"] == before["fact_exchange_rate"]
    assert before["fact_exchange_rate"][0] > 3 * (days.first - FIRST_DAY).days


def test_sums_in_one_currency_equal_those_of_decimal_arithmetic(days: Days) -> None:
    """For orders in three currencies, some changed, some deleted, some on days without a rate."""
    days.installation.change(
        "UPDATE sales_order SET created_at = created_at - interval '200 days'"
        " WHERE sales_order_id % 7 = 0;"
        "UPDATE sales_order SET created_at = timestamp '2021-06-01 10:00' WHERE sales_order_id = 3"
    )
    days.run()
    days.installation.change("UPDATE sales_order SET units_sold = units_sold + 1")
    days.installation.change("DELETE FROM sales_order WHERE sales_order_id % 5 = 0")
    days.run()
    rates = expected_rates(BUNDLE, days.first)
    with psycopg.connect(days.installation.owner.reveal()) as source:
        orders = source.execute(
            "SELECT s.created_at::date, currency_code, units_sold * unit_price FROM sales_order s"
            " JOIN currency USING (currency_id)"
        ).fetchall()
    assert {code for _, code, _ in orders} == {"GBP", "USD", "EUR"}
    for reporting in ("GBP", "USD", "EUR"):
        total, left = Decimal(0), 0
        with localcontext(prec=80):
            for day, code, amount in orders:
                own, other = rates.get(f"{day} {code}"), rates.get(f"{day} {reporting}")
                if own is None or other is None:
                    left += 1
                    continue
                factor = Decimal(other.rate) / Decimal(own.rate)
                total += amount * factor.quantize(Decimal("1e-24"), ROUND_HALF_UP)
        assert left > 0
        found = days.installation.query(
            "SELECT sum(s.units_sold * s.unit_price * r.rate), count(*) - count(r.rate)"
            " FROM current_sales_order s JOIN dim_currency c USING (currency_id)"
            f" LEFT JOIN exchange_rate_to('{reporting}') r"
            " ON r.rate_date = s.created_date AND r.currency_code = c.currency_code"
        )
        assert found == [(total, left)]


def test_a_rate_has_its_source_and_whether_it_was_carried_forward(days: Days) -> None:
    days.publish({days.first: {"USD": "1.25"}})
    days.run()

    def to(reporting: str) -> dict[str, tuple[Decimal, str, bool]]:
        found = days.installation.query(
            f"SELECT currency_code, rate, source, carried_forward FROM exchange_rate_to"
            f"('{reporting}') WHERE rate_date = '{days.first}'"
        )
        return {code: tuple(rest) for code, *rest in found}

    pounds = Decimal("0.85498")
    assert to("EUR") == {
        "EUR": EURO,
        "GBP": (round(1 / pounds, 24), BUNDLED, True),
        "USD": (Decimal("0.8"), "file", False),
    }
    assert to("GBP") == {
        "EUR": (pounds, BUNDLED, True),
        "GBP": (Decimal(1), BUNDLED, False),
        "USD": (pounds / Decimal("1.25"), f"file, {BUNDLED}", True),
    }
    assert to("USD")["EUR"] == (Decimal("1.25"), "file", False)
    assert to("XXX") == {}


def test_settings_switch_rates_on_and_name_the_url(installation: Installation) -> None:
    assert (
        installation.add_orders(3).with_settings(rates="on").totes("run", "--once").exit_code == 0
    )
    [(newest,)] = installation.query("SELECT max(rate_date) FROM current_exchange_rate")
    [(today,)] = installation.query(
        "SELECT (data_to AT TIME ZONE 'UTC')::date FROM totes.freshness"
    )
    assert newest == today
    for url in ("ftp://host/x", "hist.zip", "https://", "file://host/x", "s3://bucket"):
        said = installation.with_settings(rates_url=url).totes("status")
        assert said.exit_code == 2
        assert "TOTES_RATES_URL: must be a URL" in said.stderr
