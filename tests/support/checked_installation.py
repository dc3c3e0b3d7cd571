"""A platform on its way, beside an oracle that sees what it must hold."""

import json
from dataclasses import dataclass, field
from datetime import datetime

import psycopg
from installation import Installation
from warehouse_oracle import Oracle, judge, look

from totes.lake.manifest import manifest_path
from totes.operations.verify import verify
from totes.stages.runner import Pipeline


@dataclass
class CheckedInstallation:
    """A platform through several rounds of changes, beside an oracle that looks at each.

    Totesys changes between commands only, so whatever a process published before it died saw what
    the oracle sees after it.
    """

    installation: Installation
    pipeline: Pipeline
    oracle: Oracle = field(default_factory=Oracle)
    known: int = 0

    def note(self) -> None:
        """Tell the oracle of the batches that are new."""
        with psycopg.connect(self.installation.owner.reveal(), autocommit=True) as source:
            sight = look(source)
        while self.pipeline.ingestion.exists(path := manifest_path(self.known + 1)):
            self.known += 1
            captured_at = json.loads(self.pipeline.ingestion.get(path))["captured_at"]
            self.oracle.record(sight, datetime.fromisoformat(captured_at))

    def assert_whole(self) -> None:
        """Every batch once, every version as it was, and the warehouse equal to the source."""
        dsn = self.installation.warehouse.reveal()
        with psycopg.connect(dsn, options="-c TimeZone=UTC") as connection:
            verdict = judge(self.oracle, connection)
            batches = connection.execute("SELECT batch FROM totes.batches ORDER BY 1").fetchall()
        assert verdict.clean, verdict
        assert batches == [(number,) for number in range(1, self.known + 1)]
        assert verify(self.pipeline).equal

    def change(self) -> None:
        """Something of each kind happens in totesys, whatever it holds."""
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
