"""What users build on the warehouse neither stops a load nor is lost by one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from installation import Installation
from processed_lake import ALL, ProcessedLake, ask, history, run, sale

from conftest import ClusterFactory, EmptyWarehouse
from totes.config.settings import Dsn
from totes.embedded.servers import prepare_source, prepare_warehouse
from totes.errors import WarehouseError
from totes.operations.verify import verify
from totes.stages.load import load, rebuild
from totes.stages.replay import replay
from totes.warehouse import merge, schema
from totes.warehouse.schema import migrate
from totes.warehouse.statement import statement

SUPPORT = Path(__file__).parents[1] / "support"
REPLICA = "SET ON PARAMETER session_replication_role"


def build_on(warehouse: Dsn) -> None:
    """Let an analyst build everything there is."""
    with psycopg.connect(warehouse.reveal(), autocommit=True) as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        known = "SELECT FROM pg_tablespace WHERE spcname = 'elsewhere'"
        if connection.execute(known).fetchone() is None:
            connection.execute("CREATE TABLESPACE elsewhere LOCATION ''")
            connection.execute("GRANT CREATE ON TABLESPACE elsewhere TO PUBLIC")
        connection.execute((SUPPORT / "analyst.sql").read_bytes())


def built(warehouse: Dsn) -> set[tuple[Any, ...]]:
    return set(ask(warehouse, (SUPPORT / "built_on.sql").read_text()))


def work(warehouse: Dsn) -> None:
    """An analyst fills what was built, by the rows that are there."""
    run(
        warehouse,
        """
        UPDATE dim_staff
        SET nickname = 'nick ' || staff_id, team = 'team ' || staff_id, badge = 900 + staff_id;
        UPDATE fact_sales_order SET note = to_jsonb(sales_order_id), tag = sales_order_id;
        INSERT INTO analysis.targets
        SELECT staff_id, (SELECT min(date_id) FROM dim_date), 7 FROM dim_staff;
        INSERT INTO analysis.remarks
        SELECT sales_record_id, sales_order_id, valid_from, 'good' FROM fact_sales_order;
        INSERT INTO analysis.versions
        SELECT sales_order_id, valid_from, sales_record_id FROM fact_sales_order;
        """,
    )


def work_done(warehouse: Dsn) -> list[list[tuple[Any, ...]]]:
    """What an analyst filled in, and the versions that it is about."""
    return [
        ask(warehouse, query)
        for query in (
            "SELECT staff_id, nickname, full_name, team, badge FROM dim_staff ORDER BY 1",
            (
                "SELECT sales_order_id, valid_from, note, tag FROM fact_sales_order"
                " WHERE note IS NOT NULL ORDER BY 1, 2"
            ),
            "SELECT * FROM analysis.targets ORDER BY 1",
            (
                "SELECT f.sales_order_id, f.valid_from, r.* FROM analysis.remarks r"
                " LEFT JOIN fact_sales_order f USING (sales_record_id) ORDER BY 3"
            ),
            "SELECT * FROM analysis.versions ORDER BY 1, 2",
        )
    ]


@pytest.fixture
def lake(tmp_path: Path) -> ProcessedLake:
    return ProcessedLake(tmp_path)


@pytest.mark.parametrize("bulk_rows", [1, 10_000])
def test_no_load_replay_or_migration_alters_what_was_built(
    installation: Installation,
    warehouse: EmptyWarehouse,
    copied: Callable[[Dsn], Dsn],
    monkeypatch: pytest.MonkeyPatch,
    bulk_rows: int,
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", bulk_rows)
    installation.filled(30)
    build_on(warehouse.admin)
    before = built(warehouse.admin)
    another = copied(warehouse.dsn)
    installation.run()
    assert built(warehouse.admin) == before, "after the first load"
    work(warehouse.admin)
    done = work_done(warehouse.admin)
    installation.change(
        "UPDATE sales_order SET units_sold = 1; UPDATE staff SET last_name = last_name"
    )
    installation.change("DELETE FROM payment WHERE payment_id = 1")
    installation.run()
    assert migrate(installation.warehouse) == []
    assert (built(warehouse.admin), work_done(warehouse.admin)) == (before, done), "incremental"
    list(replay(installation.pipeline))
    assert (built(warehouse.admin), work_done(warehouse.admin)) == (before, done), "replayed"
    assert verify(installation.pipeline).equal
    list(replay(installation.pipeline, into=another))
    assert built(another.replace(user="postgres")) == before, "replayed elsewhere"
    counts = "SELECT (SELECT count(*) FROM fact_sales_order), (SELECT count(*) FROM dim_staff)"
    assert ask(another, counts) == installation.ask(counts)


def test_a_view_that_depends_on_the_primary_key_stops_no_load(
    lake: ProcessedLake, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    run(
        warehouse.dsn,
        "CREATE VIEW v AS SELECT sales_record_id, units_sold FROM fact_sales_order"
        " GROUP BY sales_record_id",
    )
    lake.publish(ALL)
    list(load(lake.store, warehouse.dsn))
    rebuild(lake.store, warehouse.dsn, generation=1)
    assert ask(warehouse.dsn, "SELECT units_sold FROM v") == [(42972,)]


def test_a_plain_warehouse_is_filled_without_keys_and_indexes(
    warehouse: EmptyWarehouse,
) -> None:
    """Else a first load takes much longer."""
    query = statement("definitions", tables=["fact_sales_order"], stars=["dim_date"])
    names = {take_down.split()[-1] for _, take_down, _ in ask(warehouse.dsn, query)}
    indexes = ask(
        warehouse.dsn, "SELECT indexname FROM pg_indexes WHERE tablename = 'fact_sales_order'"
    )
    assert {name for (name,) in indexes} <= names
    assert "fact_sales_order_created_date_fkey" in names


# Where PostgreSQL leaves no way.


@pytest.mark.parametrize(
    ("built_on", "found", "remedy"),
    [
        (
            "ALTER TABLE dim_staff ADD region text NOT NULL",
            "column region of dim_staff is NOT NULL and has no default",
            "ALTER TABLE dim_staff ALTER COLUMN region DROP NOT NULL",
        ),
        (
            "CREATE RULE r AS ON UPDATE TO dim_staff DO ALSO NOTHING",
            "rule r on dim_staff changes what is loaded",
            "DROP RULE r ON dim_staff",
        ),
        (
            "CREATE RULE r AS ON INSERT TO totes.daily_sales DO ALSO NOTHING",
            "rule r on totes.daily_sales changes what is loaded",
            "DROP RULE r ON totes.daily_sales",
        ),
        (
            (
                "CREATE RULE r AS ON INSERT TO fact_payment DO INSTEAD NOTHING;"
                "ALTER TABLE fact_payment ENABLE ALWAYS RULE r"
            ),
            "rule r on fact_payment changes what is loaded",
            "DROP RULE r ON fact_payment",
        ),
        (
            "ALTER TABLE dim_staff ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
            'query would be affected by row-level security policy for table "dim_staff"',
            "NO FORCE ROW LEVEL SECURITY",
        ),
        (
            "ALTER TABLE dim_staff REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR ALL TABLES",
            'cannot update table "dim_staff"',
            "REPLICA IDENTITY",
        ),
        (
            "CREATE PUBLICATION p FOR TABLE fact_payment (payment_id)",
            'cannot update table "fact_payment" (Column list used by the publication',
            "Drop or alter publication p;",
        ),
        (
            (
                "CREATE PUBLICATION harmless FOR TABLE dim_staff;"
                "CREATE PUBLICATION \"P\" FOR TABLE dim_staff WHERE (first_name <> '')"
            ),
            'cannot update table "dim_staff" (Column used in the publication',
            'Drop or alter publication "P";',
        ),
        (
            "CREATE TABLE mine () INHERITS (fact_payment)",
            "mine inherits from fact_payment: its rows count as rows of the star",
            "ALTER TABLE mine NO INHERIT fact_payment",
        ),
    ],
)
def test_what_stops_a_load_is_named_before_it_begins(
    lake: ProcessedLake, warehouse: EmptyWarehouse, built_on: str, found: str, remedy: str
) -> None:
    run(warehouse.admin, built_on)
    lake.publish(ALL)
    for attempt in (
        lambda: list(load(lake.store, warehouse.dsn)),
        lambda: rebuild(lake.store, warehouse.dsn, generation=1),
    ):
        with pytest.raises(WarehouseError) as refused:
            attempt()
        assert found in str(refused.value)
        assert remedy in str(refused.value)
    assert history(warehouse.dsn, "fact_payment") == []


@pytest.mark.parametrize(
    ("grants", "remedy"),
    [
        (f"REVOKE {REPLICA} FROM totes_loader", "GRANT SET ON PARAMETER session_replication_role"),
        ("REVOKE ALL ON analysis.targets FROM totes_loader", "GRANT SELECT ON analysis.targets"),
    ],
)
def test_a_rebuild_is_refused_where_it_could_not_keep_a_foreign_key(
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    grants: str,
    remedy: str,
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    lake.publish(ALL)
    build_on(warehouse.admin)
    run(warehouse.admin, f"{grants}; DROP RULE on_delete ON fact_payment")
    before = built(warehouse.admin)
    try:
        list(load(lake.store, warehouse.dsn))
        work(warehouse.admin)
        done = work_done(warehouse.admin)
        lake.publish({"fact_sales_order": [sale(2), sale(1, units_sold=7)]})
        list(load(lake.store, warehouse.dsn))
        assert built(warehouse.admin) == before, "other loads need neither"
        with pytest.raises(WarehouseError) as refused:
            rebuild(lake.store, warehouse.dsn, generation=1)
        assert "foreign key " in str(refused.value)
        assert remedy in str(refused.value)
        assert work_done(warehouse.admin) == done
    finally:
        run(warehouse.admin, f"GRANT {REPLICA} TO totes_loader")


def test_a_foreign_key_to_a_row_that_a_rebuild_does_not_create_is_named(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    list(load(lake.store, warehouse.dsn))
    run(warehouse.dsn, "INSERT INTO dim_payment_type VALUES (77, 'by hand')")
    run(warehouse.dsn, "CREATE TABLE mine (kind int REFERENCES dim_payment_type)")
    run(warehouse.dsn, "INSERT INTO mine VALUES (77), (NULL), (1)")
    with pytest.raises(WarehouseError, match=r"mine_kind_fkey of mine .* dim_payment_type"):
        rebuild(lake.store, warehouse.dsn, generation=1)
    assert ask(warehouse.dsn, "SELECT count(*) FROM dim_payment_type") == [(2,)]
    run(warehouse.dsn, "DELETE FROM mine WHERE kind = 77")
    rebuild(lake.store, warehouse.dsn, generation=1)
    assert ask(warehouse.dsn, "SELECT count(*) FROM dim_payment_type") == [(1,)]


def test_a_migration_names_what_depends_on_what_it_drops(
    warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(warehouse.dsn, "CREATE VIEW mine AS SELECT * FROM fact_purchase_orders")
    of_file = schema._sql
    known = schema._migrations()
    monkeypatch.setattr(schema, "_migrations", lambda: [*known, "9999_drop.sql"])
    monkeypatch.setattr(
        schema,
        "_sql",
        lambda path: b"DROP VIEW fact_purchase_orders" if "9999" in path else of_file(path),
    )
    with pytest.raises(
        WarehouseError, match=r"9999_drop\.sql.*view mine depends on view fact_purchase_orders"
    ):
        migrate(warehouse.dsn)


# Publications.


def test_every_table_has_a_primary_key(warehouse: EmptyWarehouse) -> None:
    """Else a publication FOR ALL TABLES lets none of its rows be updated or deleted."""
    keyless = (
        "SELECT oid::regclass::text FROM pg_class c WHERE relkind IN ('r', 'p')"
        " AND relnamespace IN ('public'::regnamespace, 'totes'::regnamespace)"
        " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"
    )
    assert ask(warehouse.dsn, keyless) == []


@pytest.mark.parametrize("wal_level", ["replica", "logical"])
def test_a_publication_for_all_tables_stops_nothing(
    cluster: ClusterFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wal_level: str
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    server = cluster(wal_level=wal_level).dsn
    source, warehouse = prepare_source(server), prepare_warehouse(server)
    run(warehouse.superuser, "CREATE PUBLICATION everything FOR ALL TABLES")
    if wal_level == "logical":
        ask(warehouse.superuser, "SELECT pg_create_logical_replication_slot('all', 'pgoutput')")
    installation = Installation(source.owner, source.reader, warehouse.loader, tmp_path).filled(10)
    installation.run()
    installation.change("UPDATE sales_order SET units_sold = 3; DELETE FROM payment")
    installation.run()
    installation.run()
    list(replay(installation.pipeline))
    for _ in range(2):
        assert verify(installation.pipeline).equal
    if wal_level == "logical":
        [(changes,)] = ask(
            warehouse.superuser,
            "SELECT count(*) FROM pg_logical_slot_get_binary_changes('all', NULL, NULL,"
            " 'proto_version', '1', 'publication_names', 'everything')",
        )
        assert changes > 1000, "all of it can be decoded"
