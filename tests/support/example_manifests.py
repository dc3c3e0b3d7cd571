"""An example of each kind of manifest, with every field."""

from datetime import UTC, datetime

from totes.lake.manifest import (
    Column,
    File,
    Identity,
    KeyFile,
    Manifest,
    ProcessedManifest,
    StarFile,
    Table,
    sha256_hex,
)

AT = datetime(2026, 11, 22, 23, 30, 0, 123456, tzinfo=UTC)
FILE = {"path": "a/b", "rows": 3, "bytes": 70, "sha256": sha256_hex(b"")}
MANIFEST = Manifest(
    batch=42,
    previous=sha256_hex(b"41"),
    captured_at=AT,
    snapshot="4294967300:4294967310:4294967300,4294967305",
    identity=Identity(system_identifier="7", database_oid=5, timeline=1, database="totesys"),
    tables=(
        Table(
            name="sales_order",
            columns=(
                Column(name="sales_order_id", type="integer", kind="integer", nullable=False),
                Column(name="unit_price", type="numeric(10,2)", kind="text", nullable=False),
            ),
            key=("sales_order_id",),
            fingerprint="f",
            whole=False,
            files=(File.model_validate(FILE | {"deletes": 1}),),
            rows=11_187,
            keys=(KeyFile.model_validate(FILE | {"kind": "base"}),),
            overlap=File.model_validate(FILE),
        ),
        Table(
            name="no key", columns=(), key=(), fingerprint="f", whole=True, files=(), rows=0,
            content_digest=sha256_hex(b"rows"),
        ),
    ),
    released=(7,),
)  # fmt: skip
PROCESSED = ProcessedManifest(
    batch=42,
    previous=None,
    captured_at=AT,
    generation=2,
    ingested=sha256_hex(MANIFEST.to_json()),
    files=(StarFile.model_validate(FILE | {"table": "dim_staff"}),),
    rejected=(StarFile.model_validate(FILE | {"table": "fact_payment"}),),
    state={"staff": (File.model_validate(FILE),)},
    models="m",
    gap="the slot is gone",
)
