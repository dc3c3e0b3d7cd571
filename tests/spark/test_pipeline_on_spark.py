"""Generations that Spark and DuckDB make in turn are loaded, continued and verified."""

import pytest
from checksums import checksums
from generations import Generation, assert_equal
from installation import Installation
from lake_commands import writers

from totes.lake.folder import FolderStore
from totes.lake.log import find_current_generation
from totes.operations.verify import verify

pytestmark = pytest.mark.usefixtures("spark")

CHANGES = (
    """
    UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id % 2 = 0;
    UPDATE department SET department_name = department_name || ' 👜' WHERE department_id = 1;
    UPDATE payment SET payment_date = 'soon' WHERE payment_id IN (3, 4);
    UPDATE payment SET payment_id = payment_id + 1000 WHERE payment_id = 2;
    DELETE FROM payment WHERE payment_id = 1;
    """,
    """
    UPDATE payment SET payment_date = '2031-02-03' WHERE payment_id = 3;
    ALTER TABLE design ADD COLUMN colour text DEFAULT 'red';
    INSERT INTO design (design_name, file_location, file_name, last_updated)
    VALUES ('New', '/', 'new.json', '2025-01-01');
    """,
    """
    UPDATE sales_order SET design_id = (SELECT max(design_id) FROM design), unit_price = 7.25
    WHERE sales_order_id <= 3;
    DELETE FROM payment WHERE payment_id = 5;
    """,
    "UPDATE payment SET payment_amount = payment_amount + 1, payment_date = '2031-02-03'",
)


def run(installation: Installation, *commands: str) -> None:
    for command in commands:
        result = installation.totes(*command.split())
        assert result.exit_code == 0, result.output


def generation(installation: Installation, number: int) -> Generation:
    return Generation(FolderStore(installation.processed), number)


def test_generations_of_both_engines_are_loaded_continued_and_verified(
    installation: Installation,
) -> None:
    installed = installation.with_orders(12)
    installed.run()
    installed.change(CHANGES[0])
    installed.run()
    before = checksums(installed.warehouse)
    run(installed, "replay --engine spark")
    assert find_current_generation(FolderStore(installed.processed)) == 2
    assert checksums(installed.warehouse) == before
    assert (
        assert_equal(generation(installed, 1), generation(installed, 2))
        > sum(rows for rows, _ in filter(None, before.values())) / 2
    )
    assert "spark" in writers(generation(installed, 2))["fact_payment"]

    installed.change(CHANGES[1])
    installed.run()
    assert verify(installed.pipeline).equal, "DuckDB has continued Spark's generation"

    installed.change(CHANGES[2])
    run(installed, "ingest", "transform --engine spark", "load")
    assert "spark" not in _writers_of_last(installed), "the batch is small"
    installed.change(CHANGES[3])
    run(installed.with_settings(spark_min_size="0MB"), "ingest", "transform --engine spark", "load")
    assert "spark" in _writers_of_last(installed)
    assert verify(installed.pipeline).equal, "both have continued it"

    before = checksums(installed.warehouse)
    run(installed, "replay")
    assert checksums(installed.warehouse) == before
    assert_equal(generation(installed, 2), generation(installed, 3))


def _writers_of_last(installation: Installation) -> set[str]:
    """Return the programs that wrote the files of the newest batch of generation 2."""
    made = generation(installation, 2)
    last = {made.manifests()[-1].batch}
    return set[str]().union(*writers(made, only=last).values())
