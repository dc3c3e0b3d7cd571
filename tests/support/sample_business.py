"""A business for the dashboard's tests: currencies, rates, hostile names, history, quarantine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from installation import Installation
from psycopg import sql
from replicas import replica_of

from totes.config.dsn import Dsn
from totes.dashboard.server.backends import Backends
from totes.demo.simulator import bulk
from totes.embedded.servers import EmbeddedServer, Source, prepare_source, prepare_warehouse
from totes.lake.folder import FolderStore

SCRIPT = "<script>alert(1)</script>"
MARKDOWN = "**Bold** [link](http://127.0.0.1) $x^2$ :smile: `code`"

TWINS = "Twin & Sons"
"""The name of two counterparties, and of all designs but two."""

CHANGED, DELETED, REJECTED = 7, 8, 9
"""Keys of sales orders that change."""

NEVER_ACCEPTED = 0
"""Key of a sales order whose only version is in quarantine."""

_NAMES = f"""
UPDATE design SET design_name = '{SCRIPT}' WHERE design_id = (SELECT min(design_id) FROM design);
UPDATE design SET design_name = '{MARKDOWN}'
WHERE design_id = (SELECT max(design_id) FROM design);
UPDATE sales_order SET design_id = (SELECT min(design_id) FROM design) WHERE sales_order_id % 3 = 0;
UPDATE sales_order SET design_id = (SELECT max(design_id) FROM design) WHERE sales_order_id % 3 = 1;
UPDATE counterparty SET counterparty_legal_name = '{SCRIPT}'
WHERE counterparty_id = (SELECT min(counterparty_id) FROM counterparty);
UPDATE counterparty SET counterparty_legal_name = '{TWINS}'
WHERE counterparty_id IN (
    SELECT counterparty_id FROM counterparty ORDER BY counterparty_id DESC LIMIT 2
);
UPDATE design SET design_name = '{TWINS}'
WHERE design_id NOT IN (SELECT min(design_id) FROM design UNION SELECT max(design_id) FROM design);
UPDATE department SET department_name = '{MARKDOWN}'
WHERE department_id = (SELECT min(department_id) FROM department);
UPDATE address SET country = 'Turkey' WHERE address_id % 5 = 1;
UPDATE address SET country = 'Türkiye' WHERE address_id % 5 = 2;
UPDATE address SET city = '{SCRIPT}', country = 'Atlantis'
WHERE address_id = (SELECT agreed_delivery_location_id FROM sales_order WHERE sales_order_id = 7);
"""

_HISTORY = f"""
UPDATE sales_order SET units_sold = units_sold + 1, unit_price = 9.75
WHERE sales_order_id = {CHANGED};
UPDATE sales_order SET agreed_delivery_date = '2022/11/10', units_sold = units_sold + 1
WHERE sales_order_id = {REJECTED};
INSERT INTO sales_order
SELECT {NEVER_ACCEPTED}, created_at, last_updated, design_id, staff_id, counterparty_id, units_sold,
    unit_price, currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
FROM sales_order WHERE sales_order_id = {REJECTED};
"""

_DELETION = f"""
DELETE FROM payment WHERE transaction_id IN
    (SELECT transaction_id FROM transaction WHERE sales_order_id = {DELETED});
DELETE FROM transaction WHERE sales_order_id = {DELETED};
DELETE FROM sales_order WHERE sales_order_id = {DELETED};
"""


@dataclass(frozen=True)
class SampleBusiness:
    """An installation, and the dashboard's login to its warehouse."""

    installation: Installation
    reader: Dsn

    @property
    def backends(self) -> Backends:
        return Backends(replica_of(self.reader), FolderStore(self.installation.ingestion))

    def catch_up(self) -> None:
        """Run the pipeline."""
        self.installation.run()

    def move_to_next_day(self) -> None:
        """Move the newest order to the next day, as after midnight, and run the pipeline."""
        self.installation.change(
            "UPDATE sales_order SET created_at = interval '1 day' + greatest("
            " (SELECT max(created_at) FROM sales_order),"
            " (SELECT max(created_at) FROM purchase_order))"
            " WHERE sales_order_id = (SELECT max(sales_order_id) FROM sales_order)"
        )
        self.catch_up()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of `totes dashboard`."""
        return self.installation.environment | {"TOTES_DASHBOARD_DSN": self.reader.reveal()}


@contextmanager
def sample_business(
    server: EmbeddedServer, template: Source, name: str, folder: Path, orders: int = 150
) -> Iterator[SampleBusiness]:
    """Yield a business that ended eight weeks ago; the names of its databases begin with `name`."""
    source = prepare_source(server.dsn, f"{name}_source", str(template.owner.parts["dbname"]))
    warehouse = prepare_warehouse(server.dsn, f"{name}_warehouse")
    installation = Installation(source.owner, source.reader, warehouse.loader, folder).with_rates()
    made = SampleBusiness(installation, warehouse.reader)
    today = datetime.now(UTC).date()
    last_day = today - timedelta(weeks=8, days=today.weekday())
    bulk(installation.owner, orders=orders, last_day=last_day)
    installation.change(_NAMES)
    made.catch_up()
    installation.change_warehouse(f"UPDATE fact_exchange_rate SET source = '{MARKDOWN}'")
    installation.change(_HISTORY)
    made.catch_up()
    installation.change(_DELETION)
    made.catch_up()
    yield made
    with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
        for database in (f"{name}_source", f"{name}_warehouse"):
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database))
            )
