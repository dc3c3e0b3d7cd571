"""The catalogue of the lake: Terraform's plan of it, and its queries with Athena's semantics."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlglot
from athena import Athena, Table, columns_of, is_view, partition_of, view_record
from faults import killed_at
from installation import Installation
from lake_reader import batches, lines
from sqlglot import exp
from terraform_plan import CATALOGUE_VARIABLES, Planned
from totesys_columns import COLUMNS

from totes.lake.folder import FolderStore
from totes.lake.manifest import RATES, ProcessedManifest, data_path, processed_manifest_path
from totes.stages.replay import replay
from totes.star.contract import TIME
from totes.star.folder import TOTESYS

pytestmark = pytest.mark.few(4)

MODULE = Path(__file__).parents[3] / "terraform" / "modules" / "catalogue"
STAR_TABLES = json.loads((MODULE / "star_tables.json").read_text())
SOURCE_TABLES = json.loads((MODULE / "source_tables.json").read_text())
FACTS = [table.name for table in TOTESYS.tables.values() if table.is_fact]
TRINO = {"varchar": "string", "integer": "int", "timestamp(3)": "timestamp"}
MARCH = datetime(2026, 3, 7, 1, 2, tzinfo=UTC)

# --- the tables ----------------------------------------------------------------------------------


def test_the_columns_of_the_ingestion_store_are_those_of_totesys_and_of_the_rates() -> None:
    expected = {table: [c.split()[0] for c in columns] for table, columns in COLUMNS.items()}
    expected[RATES] = [column.name for column in TOTESYS.tables["fact_exchange_rate"].columns]
    assert {table: described["columns"] for table, described in SOURCE_TABLES.items()} == expected


def column_names(table: str) -> list[str]:
    """Return the columns of a star table in the catalogue."""
    return [column["name"] for column in STAR_TABLES[table]["columns"]]


# --- the plan ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Catalogue:
    """The catalogue in Terraform's plan: tables by database, and saved queries by name."""

    ingestion: list[Table]
    processed: list[Table]
    queries: dict[str, Mapping[str, str]]
    workgroup: Mapping[str, Any]

    def over(self, installation: Installation) -> tuple[Athena, Athena]:
        """Return both databases, ingestion and processed."""
        buckets = {"the-ingestion": installation.ingestion, "the-processed": installation.processed}
        return Athena(self.ingestion, buckets), Athena(self.processed, buckets)


@pytest.fixture(scope="session")
def catalogue(planned: Planned) -> Catalogue:
    """The catalogue from Terraform's plan."""

    def values(kind: str) -> list[Mapping[str, Any]]:
        return [one.values for one in planned.catalogue if one.type == kind]

    tables = values("aws_glue_catalog_table")
    stores = ("ingestion", "processed")
    by_store = {s: [t for t in tables if t["database_name"] == f"totes_dev_{s}"] for s in stores}
    [workgroup] = values("aws_athena_workgroup")
    queries = {query["name"]: query for query in values("aws_athena_named_query")}
    return Catalogue(**by_store, queries=queries, workgroup=workgroup)


def test_partition_projection_finds_the_files_of_every_table_and_day(
    catalogue: Catalogue,
) -> None:
    for store, tables in (("ingestion", catalogue.ingestion), ("processed", catalogue.processed)):
        prefix, generation = ("generation=2/", ["2"]) if store == "processed" else ("", [])
        for table in tables:
            if table["name"].endswith("_raw"):
                path = data_path(table["name"].removesuffix("_raw"), MARCH, "x.gz", prefix)
                found = partition_of(table, f"s3://the-{store}/{path}")
                assert found is not None, path
                assert list(found.values()) == [*generation, "2026-03-07"]
    manifests = {
        table["name"]: partition_of(table, f"s3://the-processed/{processed_manifest_path(2, 7)}")
        for table in catalogue.processed
        if not is_view(table)
    }
    assert {name for name, found in manifests.items() if found is not None} == {"batches"}
    assert manifests["batches"] == {"generation": "2"}


def test_every_query_is_athenas_sql_and_reads_views_only(catalogue: Catalogue) -> None:
    """A raw table contains orphaned files."""
    expected = {f"current_{name}" for name in [*COLUMNS, *FACTS]}
    assert catalogue.queries.keys() > expected | {"history_of_one_sales_order"}
    for query in catalogue.queries.values():
        tables = getattr(catalogue, query["database"].removeprefix("totes_dev_"))
        views = {table["name"] for table in tables if is_view(table)}
        parsed = sqlglot.parse_one(query["query"], dialect="athena")
        assert isinstance(parsed, exp.Select)
        assert {table.name for table in parsed.find_all(exp.Table)} <= views


def test_a_query_has_a_cost_limit_and_its_result_is_encrypted(catalogue: Catalogue) -> None:
    [settings] = catalogue.workgroup["configuration"]
    assert settings["enforce_workgroup_configuration"] is True
    assert 0 < settings["bytes_scanned_cutoff_per_query"] <= 10 * 2**30
    [result] = settings["result_configuration"]
    [encryption] = result["encryption_configuration"]
    key = CATALOGUE_VARIABLES["kms_key_arn"]
    assert encryption == {"encryption_option": "SSE_KMS", "kms_key_arn": key}


# --- the queries ---------------------------------------------------------------------------------


@pytest.fixture
def with_orphans(installation: Installation) -> Installation:
    """An installation with orphaned files of a second batch in both stores."""
    installation = installation.add_orders(8).with_rates()
    installation.run()
    installation.change(
        "UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id <= 3;"
        "DELETE FROM payment WHERE payment_id = 2"
    )
    for command, name in (
        ("ingest", "ingest.before-manifest"),
        ("run", "transform.before-manifest"),
    ):
        assert killed_at(installation.pipeline, command, name)
    installation.run()
    installation.change("UPDATE sales_order SET unit_price = 3.5 WHERE sales_order_id = 2")
    installation.run()
    return installation


def test_orphaned_files_are_not_counted_in_total_nor_by_day(
    catalogue: Catalogue, with_orphans: Installation
) -> None:
    ingestion, processed = catalogue.over(with_orphans)
    for athena, named, table in (
        (ingestion, _ingested(with_orphans, "sales_order"), "sales_order"),
        (processed, _processed(with_orphans, 1, "fact_sales_order"), "fact_sales_order"),
    ):
        [(all_rows,)] = athena.query(f"SELECT count(*) FROM {table}_raw")
        [(counted,)] = athena.query(f"SELECT count(*) FROM {table}")
        assert counted == named < all_rows
    query = catalogue.queries["changes_of_one_day_sales_order"]["query"]
    store = FolderStore(with_orphans.ingestion)
    days = {batch.captured_at.date().isoformat() for batch in batches(store)}
    by_day = [row for day in days for row in ingestion.query(query, day)]
    assert len(by_day) == _ingested(with_orphans, "sales_order")
    assert ingestion.query(query, "2026-01-01") == []


def test_the_current_rows_equal_totesys_and_the_warehouse(
    catalogue: Catalogue, with_orphans: Installation
) -> None:
    ingestion, processed = catalogue.over(with_orphans)
    for table, described in SOURCE_TABLES.items():
        found = ingestion.query(catalogue.queries[f"current_{table}"]["query"])
        if table == RATES:
            rates = with_orphans.query("SELECT rate_id, rate FROM current_exchange_rate ORDER BY 1")
            assert [(row[0], Decimal(row[3])) for row in found] == rates
            continue
        texts = ", ".join(f"{column}::text" for column in described["columns"])
        with psycopg.connect(with_orphans.source.reveal()) as connection:
            query = f'SELECT {texts} FROM "{table}" t ORDER BY t.{described["key"]}'
            assert [row[:-2] for row in found] == connection.execute(query).fetchall(), table
    for table in FACTS:
        found = processed.query(catalogue.queries[f"current_{table}"]["query"])
        columns = [
            f"{column.name}::text" if column.type is TIME else column.name
            for column in TOTESYS.tables[table].columns
        ]
        there = with_orphans.query(
            f"SELECT {', '.join(columns)} FROM {table} WHERE valid_to IS NULL ORDER BY 1"
        )
        assert [row[:-1] for row in found] == there, table
        assert found


def test_the_history_of_one_row_has_each_version_and_its_end(
    catalogue: Catalogue, with_orphans: Installation
) -> None:
    ingestion, processed = catalogue.over(with_orphans)
    since = f"{datetime.now(UTC):%Y}-01-01"

    def ask(athena: Athena, name: str, *parameters: str) -> list[tuple[Any, ...]]:
        return athena.query(catalogue.queries[f"history_of_one_{name}"]["query"], *parameters)

    changed = ask(ingestion, "sales_order", "2", since)
    assert [row[0] for row in changed] == [1, 2, 3]
    known = batches(FolderStore(with_orphans.ingestion))
    for (batch, _, end, op, xid, key, *_), then in zip(changed, [*known[1:], None], strict=True):
        [line] = [
            line
            for line in lines(FolderStore(with_orphans.ingestion), known[batch - 1], "sales_order")
            if line["sales_order_id"] == 2
        ]
        assert (op, xid, key) == ("upsert", line["_xid"], "2")
        assert (end and datetime.fromisoformat(end)) == (then and then.captured_at)
    deleted = ask(ingestion, "payment", "2", since)
    assert [(row[0], row[3]) for row in deleted] == [(1, "upsert"), (2, "delete")]
    assert ask(ingestion, "sales_order", "2", "2199-01-01") == []
    history = with_orphans.query(
        "SELECT valid_from, valid_to, units_sold, unit_price FROM fact_sales_order"
        " WHERE sales_order_id = 2 ORDER BY 1"
    )
    columns = column_names("fact_sales_order")
    wanted = [3 + columns.index(name) for name in ("units_sold", "unit_price")]
    found = ask(processed, "fact_sales_order", "2", since)
    assert [
        (
            row[0].replace(tzinfo=UTC),
            row[1] and row[1].replace(tzinfo=UTC),
            *(row[i] for i in wanted),
        )
        for row in found
    ] == history


def test_processed_views_follow_the_current_generation(
    catalogue: Catalogue, installation: Installation
) -> None:
    installation.add_orders(5).run()
    list(replay(installation.pipeline))
    installation.change("UPDATE sales_order SET units_sold = 7 WHERE sales_order_id = 1")
    installation.run()
    _, processed = catalogue.over(installation)
    assert processed.query("SELECT generation FROM current_generation") == [(2,)]
    for table in ("fact_sales_order", "dim_date", "dim_design"):
        [(counted,)] = processed.query(f"SELECT count(*) FROM {table}")
        [(both,)] = processed.query(f"SELECT count(*) FROM {table}_raw")
        assert counted == _processed(installation, 2, table) < both


def test_a_generation_beyond_the_projected_ones_is_an_error(
    catalogue: Catalogue, installation: Installation
) -> None:
    installation.add_orders(1).run()
    store = FolderStore(installation.processed)
    for number in (2, 3, 4):
        store.create(f"generations/{number:06d}.json", json.dumps({"generation": number}).encode())
    _, processed = catalogue.over(installation)
    with pytest.raises(Exception, match="raise the variable generations of the catalogue to 4"):
        processed.query("SELECT count(*) FROM fact_sales_order")


def test_a_view_has_the_columns_of_its_description(
    catalogue: Catalogue, installation: Installation
) -> None:
    """Athena rejects a view as stale if they differ."""
    installation.add_orders(1).run()
    tables = (catalogue.ingestion, catalogue.processed)
    for athena, described in zip(catalogue.over(installation), tables, strict=True):
        for table in filter(is_view, described):
            described_types = {
                column["name"]: column["type"] for column in view_record(table)["columns"]
            }
            assert {name: TRINO.get(kind, kind) for name, kind in described_types.items()} == hive(
                table
            )
            assert dict(athena.columns(table["name"])) == columns_of(table), table["name"]


def hive(table: Table) -> dict[str, str]:
    columns = table["storage_descriptor"][0]["columns"]
    return {column["name"]: column["type"] for column in columns}


def _ingested(installation: Installation, table: str) -> int:
    """Count a table's lines in the files that manifests name."""
    store = FolderStore(installation.ingestion)
    return sum(len(lines(store, batch, table)) for batch in batches(store))


def _processed(installation: Installation, generation: int, table: str) -> int:
    """Count a star table's rows in the files that the manifests of a generation name."""
    store, total, batch = FolderStore(installation.processed), 0, 1
    while store.exists(path := processed_manifest_path(generation, batch)):
        manifest = ProcessedManifest.from_json(store.get(path), path)
        total += sum(file.rows for file in manifest.files if file.table == table)
        batch += 1
    return total
