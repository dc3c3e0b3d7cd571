"""What is refused waits where people see it, and takes its place in history once it is mended."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from random import Random

import psycopg
import pytest
from depth import drawn
from installation import Installation
from lake_writer import ROWS, LakeWriter, row
from processed_lake import contents
from rollup_check import assert_totals_equal_the_facts
from scratch_source import seeded

from conftest import EmptyWarehouse
from totes.config.settings import Dsn
from totes.lake.folder import FolderStore
from totes.stages.load import load
from totes.stages.transform import write_generation
from totes.star.definition import TOTESYS
from totes.star.models import Models, load_models
from totes.warehouse import dependents

BAD_DATE, BAD_CODE = "2022/11/10", "gbp"
"""What the models of today can't read, and the mended ones can."""


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Models that read dates with slashes and currency codes of small letters."""
    with as_file(files("totes.star") / "totesys" / "models") as shipped:
        folder = shutil.copytree(shipped, tmp_path_factory.mktemp("mended") / "models")
    for star, old, new in (
        (
            "fact_sales_order",
            "    agreed_delivery_date,",
            "    replace(agreed_delivery_date, '/', '-') as agreed_delivery_date,",
        ),
        ("dim_currency", "on currency.currency_code", "on upper(currency.currency_code)"),
    ):
        model = folder / f"{star}.sql"
        assert old in model.read_text()
        model.write_text(model.read_text().replace(old, new))
    return load_models(folder, TOTESYS.tables)


@pytest.fixture
def mend(mended: Models, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Puts the mended models in place of the shipped ones."""

    def put() -> None:
        monkeypatch.setitem(vars(TOTESYS), "models", mended)

    return put


# As people meet it


def test_refused_rows_are_counted_logged_told_and_named(
    installation: Installation, tmp_path: Path
) -> None:
    mailbox = tmp_path / "mailbox"
    script = tmp_path / "post.py"
    script.write_text(f"import sys; open({str(mailbox)!r}, 'a').write(sys.stdin.read() + '\\n')")
    installation.filled(10)
    installation.change(
        f"UPDATE sales_order SET agreed_delivery_date = '{BAD_DATE}'"
        " WHERE sales_order_id IN (3, 4);"
        f"UPDATE currency SET currency_code = '{BAD_CODE}' WHERE currency_id = 1"
    )
    run = installation.having(alert_command=shlex.join([sys.executable, str(script)])).totes(
        "run", "--once"
    )
    assert run.exit_code == 0
    assert (
        "WARNING Batch 1: rows set aside, 1 of dim_currency, 2 of fact_sales_order." in run.stderr
    )
    messages = [json.loads(line) for line in mailbox.read_text().splitlines()]
    assert [(m["stage"], m["batch"]) for m in messages] == [("transform", 1), ("load", 1)]
    assert messages[0]["refused"] == {"dim_currency": 1, "fact_sales_order": 2}
    [(waiting,)] = installation.ask(
        "SELECT count(*) FROM totes.quarantine"
        " WHERE star_table = 'fact_sales_order' AND waits_for = 'dim_currency'"
    )
    assert messages[1]["refused"]["fact_sales_order"] == waiting > 0
    status = json.loads(installation.totes("status", "--json").stdout)
    counted = {(one["table"], one["column"]): one["rows"] for one in status["quarantine"]}
    assert counted["fact_sales_order", "agreed_delivery_date"] == 2
    assert counted["fact_sales_order", "currency_id"] == waiting
    assert counted["dim_currency", "currency_name"] == 1
    assert "2  fact_sales_order: is not a date" in installation.totes("status").stdout
    verdict = installation.totes("verify")
    assert verdict.exit_code == 0
    assert "dim_currency: 1 in quarantine, not compared: 1\n" in verdict.stdout
    said = {
        one["name"]: one
        for one in json.loads(installation.totes("verify", "--json").stdout)["tables"]
    }
    assert {"3", "4"} <= set(said["fact_sales_order"]["quarantined"])


def test_the_stages_one_by_one_tell_as_much(installation: Installation) -> None:
    installation.filled(10)
    installation.change(f"UPDATE currency SET currency_code = '{BAD_CODE}' WHERE currency_id = 1")
    for arguments in (["warehouse", "migrate"], ["ingest"]):
        assert installation.totes(*arguments).exit_code == 0
    assert "rows set aside, 1 of dim_currency." in installation.totes("transform").stderr
    assert re.search(
        r"rows set aside, .*\d of fact_sales_order\.", installation.totes("load").stderr
    )


def test_what_waits_for_a_refused_dimension_row_comes_with_it(
    installation: Installation, mend: Callable[[], None]
) -> None:
    installation.filled(10)
    installation.change(f"UPDATE currency SET currency_code = '{BAD_CODE}' WHERE currency_id = 1")
    installation.run()
    assert installation.ask("SELECT count(*) FROM fact_sales_order WHERE currency_id = 1") == [(0,)]
    mend()
    released = installation.totes("quarantine", "release")
    assert "all were accepted" in released.stdout
    assert installation.ask(
        "SELECT DISTINCT valid_from = (SELECT captured_at FROM totes.batches WHERE batch = 1)"
        " FROM fact_sales_order"
    ) == [(True,)]
    assert "Quarantine is empty" in installation.totes("quarantine", "list").stdout
    assert "Quarantine is empty" in installation.totes("status").stdout


def test_a_released_row_takes_its_place_between_its_neighbours(
    installation: Installation, mend: Callable[[], None]
) -> None:
    installation.filled(5).run()
    for units, day in ((11, BAD_DATE), (12, "2022-11-12"), (13, BAD_DATE)):
        installation.change(
            f"UPDATE sales_order SET units_sold = {units}, agreed_delivery_date = '{day}'"
            " WHERE sales_order_id = 3"
        )
        installation.run()
    history = (
        "SELECT units_sold, f.batch, t.batch FROM fact_sales_order"
        " JOIN totes.batches f ON f.captured_at = valid_from"
        " LEFT JOIN totes.batches t ON t.captured_at = valid_to"
        " WHERE sales_order_id = 3 ORDER BY valid_from"
    )
    assert [row[1:] for row in installation.ask(history)] == [(1, 3), (3, None)]
    mend()
    assert "all were accepted" in installation.totes("quarantine", "release").stdout
    assert installation.ask(history)[1:] == [(11, 2, 3), (12, 3, 4), (13, 4, None)]


# A property: whatever is good, bad, mended and released in whatever order


ORDERS = (1, 2, 3)
SHAKY = 2
"""The currency whose code may be bad."""


@dataclass(frozen=True)
class Version:
    """What a batch said of an order or, without units, of the shaky currency."""

    readable: bool
    units: int = 0
    currency: int = 1


@dataclass
class Business:
    """Random versions of a few orders and of one currency, good ones and bad ones."""

    chance: Random
    writer: LakeWriter
    orders: dict[int, dict[int, Version | None]] = field(
        default_factory=lambda: {order: {} for order in ORDERS}
    )
    codes: dict[int, Version] = field(default_factory=dict)
    mended: set[int] = field(default_factory=set)
    """Batches that the mended models made, or tried again."""

    pending: set[int] = field(default_factory=set)
    """Batches to be made or tried again by the next transform."""

    def begin(self) -> None:
        others = [table for table in ROWS if table != "sales_order"]
        self.writer.add({table: [row(table)] for table in others})

    def step(self) -> None:
        """A batch of what happened meanwhile."""
        number = len(self.writer.batches) + 1
        sales, gone, currencies = [], [], []
        for order in ORDERS:
            event = self.chance.random()
            if event < 0.15 and any(self.orders[order].values()):
                self.orders[order][number] = None
                gone.append(order)
            elif event < 0.7:
                version = Version(
                    self.chance.random() < 0.5,
                    self.chance.randint(1, 2),
                    self.chance.choice((1, SHAKY)),
                )
                self.orders[order][number] = version
                day = "2022-11-10" if version.readable else BAD_DATE
                sales.append(
                    row(
                        "sales_order",
                        sales_order_id=order,
                        units_sold=version.units,
                        currency_id=version.currency,
                        agreed_delivery_date=day,
                    )
                )
        if self.chance.random() < 0.3:
            self.codes[number] = Version(self.chance.random() < 0.4)
            code = "GBP" if self.codes[number].readable else BAD_CODE
            currencies.append(row("currency", currency_id=SHAKY, currency_code=code))
        self.pending.add(number)
        self.writer.add(
            {"sales_order": sales, "currency": currencies}, deletes={"sales_order": gone}
        )

    def release(self, batches: set[int]) -> None:
        self.pending |= batches
        self.writer.add(released=tuple(sorted(batches)))

    def transformed(self, *, mended: bool) -> None:
        if mended:
            self.mended |= self.pending
        self.pending.clear()

    def accepted(self, batch: int, version: Version | None) -> bool:
        """Whether a version is in the star by now; a deletion always is."""
        if version is None:
            return True
        known = version.currency != SHAKY or self.code is not None
        return known and (version.readable or batch in self.mended)

    @property
    def code(self) -> str | None:
        """The shaky currency's code in the star."""
        found = [v for batch, v in self.codes.items() if v.readable or batch in self.mended]
        return None if not found else "GBP" if found[-1].readable else BAD_CODE

    def at(self, order: int, batch: int) -> int | None:
        """An order's units as the star has them for the moment of a batch."""
        known = [
            version
            for when, version in self.orders[order].items()
            if when <= batch and self.accepted(when, version)
        ]
        return known[-1].units if known and known[-1] else None

    def waiting(self) -> set[int]:
        """Orders of which a version was refused and nothing accepted since."""
        found = set()
        for order, versions in self.orders.items():
            fates = [self.accepted(*version) for version in versions.items()]
            if fates and not fates[-1]:
                found.add(order)
        return found


def check(business: Business, warehouse: Dsn) -> None:
    """The star is what the naive oracle says, at the moment of every batch."""
    waiting = (
        "SELECT DISTINCT key::int FROM totes.quarantine WHERE released_at IS NULL"
        " AND superseded_at IS NULL AND star_table = 'fact_sales_order'"
    )
    with psycopg.connect(warehouse.reveal()) as connection:
        versions = connection.execute(
            "SELECT sales_order_id, units_sold, valid_from, valid_to FROM fact_sales_order"
        ).fetchall()
        known = "SELECT currency_code FROM dim_currency WHERE currency_id = 2"
        codes = [code for (code,) in connection.execute(known)]
        keys = {key for (key,) in connection.execute(waiting)}
    for number, batch in enumerate(business.writer.batches, start=1):
        for order in ORDERS:
            then = [
                units
                for key, units, since, until in versions
                if key == order
                and since <= batch.captured_at
                and (until is None or batch.captured_at < until)
            ]
            expected = business.at(order, number)
            assert then == ([] if expected is None else [expected]), (order, number)
    assert codes == ([business.code] if business.code else [])
    assert keys == business.waiting()
    assert_totals_equal_the_facts(warehouse)


ROUNDS, STEPS = drawn(2, 10), 9


@pytest.fixture
def two_warehouses(warehouse: EmptyWarehouse, copied: Callable[[Dsn], Dsn]) -> tuple[Dsn, Dsn]:
    return warehouse.dsn, copied(warehouse.dsn)


def test_any_order_of_refusals_and_releases_ends_as_a_rebuild_does(
    two_warehouses: tuple[Dsn, Dsn], mended: Models, tmp_path: Path
) -> None:
    """At each step the star is what was accepted; at the end, what mended models always saw."""
    chance = seeded()
    for number in range(ROUNDS):
        for warehouse in two_warehouses:
            with psycopg.connect(warehouse.reveal()) as connection:
                dependents.empty(connection, TOTESYS)
        live_through(chance, tmp_path / f"{number}", *two_warehouses, mended)


def live_through(chance: Random, folder: Path, live: Dsn, rebuilt: Dsn, mended: Models) -> None:
    business = Business(chance, LakeWriter(folder / "ingestion"))

    def bring(models: Models, generation: str, warehouse: Dsn) -> None:
        processed = FolderStore(folder / generation)
        list(write_generation(business.writer.store, processed, 1, models))
        list(load(processed, warehouse))

    def go_on(models: Models) -> None:
        bring(models, "processed", live)
        business.transformed(mended=models is mended)
        check(business, live)

    business.begin()
    models, mended_at = TOTESYS.models, chance.randint(2, 6)
    for step in range(STEPS):
        if step == mended_at:
            models = mended
        known = range(1, len(business.writer.batches) + 1)
        if chance.random() < 0.25:
            business.release(set(chance.choices(known, k=2)))
        else:
            business.step()
        if chance.random() < 0.7:
            go_on(models)
    business.release(set(range(1, len(business.writer.batches) + 1)))
    go_on(mended)
    bring(mended, "anew", rebuilt)
    assert contents(live) == contents(rebuilt)
