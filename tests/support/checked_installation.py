"""An installation with an oracle of the expected rows of its warehouse."""

import json
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from installation import Installation
from warehouse_oracle import Oracle, find_differences, read_source

from totes.lake.manifest import manifest_path
from totes.operations.verify import verify
from totes.stages.runner import Pipeline


@dataclass
class CheckedInstallation:
    """An installation and an oracle that records every batch.

    Totesys changes only between commands. So a batch that a process published before it was killed
    has the rows that the oracle reads afterwards.
    """

    installation: Installation
    pipeline: Pipeline
    oracle: Oracle = field(default_factory=Oracle)
    last_batch: int = 0

    def record_batches(self) -> None:
        """Record the new batches in the oracle."""
        with psycopg.connect(self.installation.owner.reveal(), autocommit=True) as source:
            rows = read_source(source)
        while self.pipeline.ingestion.exists(path := manifest_path(self.last_batch + 1)):
            self.last_batch += 1
            captured_at = json.loads(self.pipeline.ingestion.get(path))["captured_at"]
            self.oracle.record(rows, datetime.fromisoformat(captured_at))

    def assert_correct(self) -> None:
        """Assert that batches are loaded once, and warehouse, source and oracle are equal."""
        dsn = self.installation.warehouse.reveal()
        with psycopg.connect(dsn, options="-c TimeZone=UTC") as connection:
            differences = find_differences(self.oracle, connection)
            batches = connection.execute("SELECT batch FROM totes.batches ORDER BY 1").fetchall()
        assert not differences, differences
        assert batches == [(number,) for number in range(1, self.last_batch + 1)]
        assert verify(self.pipeline).equal

    def change(self) -> None:
        """Change totesys: update a row, change a key, insert a row, update a joined table."""
        self.installation.change(CHANGE)


CHANGE = """
UPDATE sales_order SET units_sold = units_sold % 90000 + 1
WHERE sales_order_id IN (SELECT max(sales_order_id) FROM sales_order);
UPDATE payment SET payment_id = payment_id + 100000
WHERE payment_id = (SELECT min(payment_id) FROM payment);
INSERT INTO design (design_name, file_location, file_name, last_updated)
VALUES ('New', '/', 'new.json', '2025-01-01');
UPDATE department SET department_name = 'D' || length(department_name) + txid_current() % 100
WHERE department_id = 1
"""
