"""Objects that users create in the warehouse neither block a load nor are lost by it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from database import execute, fetch_rows
from installation import Installation
from processed_lake import ALL, ProcessedLake, read_versions, sale

from conftest import ClusterFactory, EmptyWarehouse
from totes.config.dsn import Dsn
from totes.embedded.servers import prepare_source, prepare_warehouse
from totes.errors import WarehouseError
from totes.operations.verify import verify
from totes.sql_text import read_sql
from totes.stages.load import load, rebuild
from totes.stages.replay import replay
from totes.warehouse import merge, schema
from totes.warehouse.schema import migrate
from totes.warehouse.statement import statement

pytestmark = pytest.mark.few(3)

SUPPORT = Path(__file__).parents[1] / "support"
REPLICA = "SET ON PARAMETER session_replication_role"


def create_user_objects(warehouse: Dsn) -> None:
    """Create one object of every kind on the star, as an analyst does."""
    with psycopg.connect(warehouse.reveal(), autocommit=True) as connection:
        connection.execute("SET allow_in_place_tablespaces = on")
        query = "SELECT FROM pg_tablespace WHERE spcname = 'elsewhere'"
        if connection.execute(query).fetchone() is None:
            connection.execute("CREATE TABLESPACE elsewhere LOCATION ''")
            connection.execute("GRANT CREATE ON TABLESPACE elsewhere TO PUBLIC")
        connection.execute((SUPPORT / "analyst.sql").read_bytes())


def read_user_objects(warehouse: Dsn) -> set[tuple[Any, ...]]:
    return set(fetch_rows(warehouse, (SUPPORT / "user_objects.sql").read_text()))


def fill_user_objects(warehouse: Dsn) -> None:
    """Fill the users' tables and columns from the rows of the star."""
    execute(
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


def read_user_data(warehouse: Dsn) -> list[list[tuple[Any, ...]]]:
    """Return the data in users' tables and columns, with the versions that it refers to."""
    return [
        fetch_rows(warehouse, query)
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


@pytest.mark.few(1)
@pytest.mark.parametrize("bulk_rows", [1, 10_000])
def test_no_load_replay_or_migration_alters_users_objects(
    installation: Installation,
    warehouse: EmptyWarehouse,
    copied: Callable[[Dsn], Dsn],
    monkeypatch: pytest.MonkeyPatch,
    bulk_rows: int,
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", bulk_rows)
    installation.add_orders(30)
    create_user_objects(warehouse.admin)
    before = read_user_objects(warehouse.admin)
    another = copied(warehouse.dsn)
    installation.run()
    assert read_user_objects(warehouse.admin) == before, "after the first load"
    fill_user_objects(warehouse.admin)
    data = read_user_data(warehouse.admin)
    installation.change(
        "UPDATE sales_order SET units_sold = 1; UPDATE staff SET last_name = last_name"
    )
    installation.change("DELETE FROM payment WHERE payment_id = 1")
    installation.run()
    assert migrate(installation.warehouse) == []
    assert (read_user_objects(warehouse.admin), read_user_data(warehouse.admin)) == (
        before,
        data,
    ), "incremental"
    list(replay(installation.pipeline))
    assert (read_user_objects(warehouse.admin), read_user_data(warehouse.admin)) == (
        before,
        data,
    ), "replayed"
    assert verify(installation.pipeline).equal
    list(replay(installation.pipeline, into=another))
    assert read_user_objects(another.replace(user="postgres")) == before, "replayed elsewhere"
    counts = "SELECT (SELECT count(*) FROM fact_sales_order), (SELECT count(*) FROM dim_staff)"
    assert fetch_rows(another, counts) == installation.query(counts)


def test_a_view_that_depends_on_the_primary_key_does_not_block_loads(
    lake: ProcessedLake, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    execute(
        warehouse.dsn,
        "CREATE VIEW v AS SELECT sales_record_id, units_sold FROM fact_sales_order"
        " GROUP BY sales_record_id",
    )
    lake.publish(ALL)
    list(load(lake.store, warehouse.dsn))
    rebuild(lake.store, warehouse.dsn, generation=1)
    assert fetch_rows(warehouse.dsn, "SELECT units_sold FROM v") == [(42972,)]


def test_a_plain_warehouse_is_filled_without_keys_and_indexes(
    warehouse: EmptyWarehouse,
) -> None:
    """Otherwise a first load takes much longer."""
    query = statement("keys_and_indexes", tables=["fact_sales_order"], stars=["dim_date"], valid=[])
    names = {drop_sql.split()[-1] for _, drop_sql, _ in fetch_rows(warehouse.dsn, query)}
    indexes = fetch_rows(
        warehouse.dsn, "SELECT indexname FROM pg_indexes WHERE tablename = 'fact_sales_order'"
    )
    assert {name for (name,) in indexes} <= names
    assert "fact_sales_order_created_date_fkey" in names


# Where PostgreSQL leaves no way.


@pytest.mark.few(5)
@pytest.mark.parametrize(
    ("create_sql", "message", "remedy"),
    [
        (
            "ALTER TABLE dim_staff ADD region text NOT NULL",
            "column region of dim_staff is NOT NULL and has no default",
            "ALTER TABLE dim_staff ALTER COLUMN region DROP NOT NULL",
        ),
        (
            "CREATE RULE r AS ON UPDATE TO dim_staff DO ALSO NOTHING",
            "rule r on dim_staff changes the loaded rows",
            "DROP RULE r ON dim_staff",
        ),
        (
            "CREATE RULE r AS ON INSERT TO totes.batches DO ALSO NOTHING",
            "rule r on totes.batches changes the loaded rows",
            "DROP RULE r ON totes.batches",
        ),
        (
            (
                "CREATE RULE r AS ON INSERT TO fact_payment DO INSTEAD NOTHING;"
                "ALTER TABLE fact_payment ENABLE ALWAYS RULE r"
            ),
            "rule r on fact_payment changes the loaded rows",
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
            "mine inherits from fact_payment: its rows are rows of the star table, too",
            "ALTER TABLE mine NO INHERIT fact_payment",
        ),
    ],
)
def test_objects_that_block_a_load_are_named_before_it_begins(
    lake: ProcessedLake, warehouse: EmptyWarehouse, create_sql: str, message: str, remedy: str
) -> None:
    execute(warehouse.admin, create_sql)
    lake.publish(ALL)
    for attempt in (
        lambda: list(load(lake.store, warehouse.dsn)),
        lambda: rebuild(lake.store, warehouse.dsn, generation=1),
    ):
        with pytest.raises(WarehouseError) as error:
            attempt()
        assert message in str(error.value)
        assert remedy in str(error.value)
    assert read_versions(warehouse.dsn, "fact_payment") == []


@pytest.mark.parametrize(
    ("grants", "remedy"),
    [
        (f"REVOKE {REPLICA} FROM totes_loader", "GRANT SET ON PARAMETER session_replication_role"),
        ("REVOKE ALL ON analysis.targets FROM totes_loader", "GRANT SELECT ON analysis.targets"),
    ],
)
def test_a_rebuild_fails_if_it_could_not_keep_a_foreign_key(
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    grants: str,
    remedy: str,
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    lake.publish(ALL)
    create_user_objects(warehouse.admin)
    execute(warehouse.admin, f"{grants}; DROP RULE on_delete ON fact_payment")
    before = read_user_objects(warehouse.admin)
    try:
        list(load(lake.store, warehouse.dsn))
        fill_user_objects(warehouse.admin)
        data = read_user_data(warehouse.admin)
        lake.publish({"fact_sales_order": [sale(2), sale(1, units_sold=7)]})
        list(load(lake.store, warehouse.dsn))
        assert read_user_objects(warehouse.admin) == before, "other loads don't need the privilege"
        with pytest.raises(WarehouseError) as error:
            rebuild(lake.store, warehouse.dsn, generation=1)
        assert "foreign key " in str(error.value)
        assert remedy in str(error.value)
        assert read_user_data(warehouse.admin) == data
    finally:
        execute(warehouse.admin, f"GRANT {REPLICA} TO totes_loader")


def test_an_error_names_a_foreign_key_to_a_row_that_a_rebuild_does_not_create(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    list(load(lake.store, warehouse.dsn))
    execute(warehouse.dsn, "INSERT INTO dim_payment_type VALUES (77, 'by hand')")
    execute(warehouse.dsn, "CREATE TABLE mine (kind int REFERENCES dim_payment_type)")
    execute(warehouse.dsn, "INSERT INTO mine VALUES (77), (NULL), (1)")
    with pytest.raises(WarehouseError, match=r"mine_kind_fkey of mine .* dim_payment_type"):
        rebuild(lake.store, warehouse.dsn, generation=1)
    assert fetch_rows(warehouse.dsn, "SELECT count(*) FROM dim_payment_type") == [(2,)]
    execute(warehouse.dsn, "DELETE FROM mine WHERE kind = 77")
    rebuild(lake.store, warehouse.dsn, generation=1)
    assert fetch_rows(warehouse.dsn, "SELECT count(*) FROM dim_payment_type") == [(1,)]


def test_a_migration_names_objects_that_depend_on_dropped_ones(
    warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(warehouse.dsn, "CREATE VIEW mine AS SELECT * FROM fact_purchase_orders")
    migrations = schema._list_migrations()
    monkeypatch.setattr(schema, "_list_migrations", lambda: [*migrations, "9999_drop.sql"])
    monkeypatch.setattr(
        "totes.warehouse.schema.read_sql",
        lambda package, path: (
            "DROP VIEW fact_purchase_orders" if "9999" in path else read_sql(package, path)
        ),
    )
    with pytest.raises(
        WarehouseError, match=r"9999_drop\.sql.*view mine depends on view fact_purchase_orders"
    ):
        migrate(warehouse.dsn)


# Publications.


def test_every_table_has_a_primary_key(warehouse: EmptyWarehouse) -> None:
    """Otherwise a publication FOR ALL TABLES prevents updates and deletes of its rows."""
    keyless = (
        "SELECT oid::regclass::text FROM pg_class c WHERE relkind IN ('r', 'p')"
        " AND relnamespace IN ('public'::regnamespace, 'totes'::regnamespace)"
        " AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"
    )
    assert fetch_rows(warehouse.dsn, keyless) == []


@pytest.mark.few(1)
@pytest.mark.parametrize("wal_level", ["replica", "logical"])
def test_a_publication_for_all_tables_blocks_nothing(
    cluster: ClusterFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wal_level: str
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", 1)
    server = cluster(wal_level=wal_level).dsn
    source, warehouse = prepare_source(server), prepare_warehouse(server)
    execute(warehouse.superuser, "CREATE PUBLICATION everything FOR ALL TABLES")
    if wal_level == "logical":
        fetch_rows(
            warehouse.superuser, "SELECT pg_create_logical_replication_slot('all', 'pgoutput')"
        )
    installation = Installation(source.owner, source.reader, warehouse.loader, tmp_path).add_orders(
        10
    )
    installation.run()
    installation.change("UPDATE sales_order SET units_sold = 3; DELETE FROM payment")
    installation.run()
    installation.run()
    list(replay(installation.pipeline))
    for _ in range(2):
        assert verify(installation.pipeline).equal
    if wal_level == "logical":
        [(changes,)] = fetch_rows(
            warehouse.superuser,
            "SELECT count(*) FROM pg_logical_slot_get_binary_changes('all', NULL, NULL,"
            " 'proto_version', '1', 'publication_names', 'everything')",
        )
        assert changes > 1000, "all changes can be decoded"
