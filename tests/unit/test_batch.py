"""Manifests survive the way through JSON and time; names in the lake are safe and distinct."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from totes.errors import LakeError
from totes.lake.key import checked
from totes.lake.manifest import (
    FORMAT,
    RESERVED,
    Column,
    File,
    Heartbeat,
    Identity,
    KeyFile,
    Manifest,
    ProcessedManifest,
    StarFile,
    Table,
    data_path,
    digest,
    generation_path,
    heartbeat_path,
    heartbeat_prefix,
    manifest_path,
    processed_manifest_path,
    table_folder,
)

AT = datetime(2026, 11, 22, 23, 30, 0, 123456, tzinfo=UTC)
FILE = {"path": "a/b", "rows": 3, "bytes": 70, "sha256": digest(b"")}
MANIFEST = Manifest(
    batch=42,
    previous=digest(b"41"),
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
            repeats=File.model_validate(FILE),
        ),
        Table(
            name="no key", columns=(), key=(), fingerprint="f", whole=True, files=(), rows=0,
            content=digest(b"rows"),
        ),
    ),
    released=(7,),
)  # fmt: skip
PROCESSED = ProcessedManifest(
    batch=42,
    previous=None,
    captured_at=AT,
    generation=2,
    ingested=digest(MANIFEST.to_json()),
    files=(StarFile.model_validate(FILE | {"table": "dim_staff"}),),
    refused=(StarFile.model_validate(FILE | {"table": "fact_payment"}),),
    state={"staff": (File.model_validate(FILE),)},
    models="m",
)
PUBLISHED = pytest.mark.parametrize(
    "manifest", [MANIFEST, PROCESSED], ids=["ingested", "processed"]
)
AnyManifest = Manifest | ProcessedManifest


@PUBLISHED
def test_a_manifest_is_read_back_as_it_was_written(manifest: AnyManifest) -> None:
    assert type(manifest).from_json(manifest.to_json(), "path") == manifest


@PUBLISHED
def test_what_a_later_program_adds_is_ignored(manifest: AnyManifest) -> None:
    def with_more(value: object) -> object:
        match value:
            case dict():
                more = {} if value.keys() <= {"staff"} else {"added_later": [1]}
                return {key: with_more(inner) for key, inner in value.items()} | more
            case list():
                return [with_more(inner) for inner in value]
        return value

    data = json.dumps(with_more(json.loads(manifest.to_json()))).encode()
    assert b"added_later" in data
    assert type(manifest).from_json(data, "path") == manifest


@PUBLISHED
def test_a_newer_format_is_refused_whatever_else_it_says(manifest: AnyManifest) -> None:
    data = json.dumps({"format": FORMAT + 1, "batch": "in a new way"}).encode()
    with pytest.raises(LakeError, match=r"batches/1.json has format 2.*upgrade terrific-totes"):
        type(manifest).from_json(data, "batches/1.json")


@PUBLISHED
def test_a_damaged_manifest_is_named_with_what_is_wrong(manifest: AnyManifest) -> None:
    data = manifest.to_json()
    for damaged in (b"", data[:-20], b"[]", b"\xff", b'{"format": "one"}'):
        with pytest.raises(LakeError, match=r"^batches/1.json is not a manifest: "):
            type(manifest).from_json(damaged, "batches/1.json")
    without = {key: value for key, value in json.loads(data).items() if key != "batch"}
    for wrong in (without, without | {"batch": 0}, without | {"batch": "x"}):
        with pytest.raises(LakeError, match=r"^batches/1.json is damaged: batch: "):
            type(manifest).from_json(json.dumps(wrong).encode(), "batches/1.json")
    with pytest.raises(LakeError, match=r"damaged: captured_at: .*timezone"):
        type(manifest).from_json(data.replace(b"123456Z", b"123456"), "batches/1.json")


def test_a_manifest_answers_for_its_tables_and_rows() -> None:
    orders = MANIFEST.table("sales_order")
    assert orders
    assert orders.column("unit_price").kind == "text"
    assert MANIFEST.table("unknown") is None
    assert (MANIFEST.rows, PROCESSED.rows) == (3, 3)


def test_names_in_the_lake_are_those_of_the_design() -> None:
    assert manifest_path(42) == "batches/000000000042.json"
    assert processed_manifest_path(2, 42) == "generation=2/batches/000000000042.json"
    assert generation_path(2) == "generations/000002.json"
    assert data_path("sales_order", AT, "x.gz") == "sales_order/year=2026/month=11/day=22/x.gz"
    assert data_path("staff", AT, "x", "keys/") == "keys/staff/year=2026/month=11/day=22/x"
    beat = Heartbeat(batch=42, checked_at=AT)
    assert heartbeat_path(beat) == heartbeat_prefix(AT) + "233000123456-000000000042.json"


def test_days_in_the_lake_are_utc_days() -> None:
    evening = AT.astimezone(timezone(timedelta(hours=9)))
    assert evening.day == 23
    assert data_path("t", evening, "x") == "t/year=2026/month=11/day=22/x"
    assert heartbeat_prefix(evening) == "heartbeats/year=2026/month=11/day=22/"


IDENTIFIERS = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=63
) | st.sampled_from([*sorted(RESERVED), ".", "..", "%2E", ".hidden", "a/b", "a\\b", "%62atches"])
"""Whatever PostgreSQL takes as a table's name, and the spiteful ones."""


@given(IDENTIFIERS)
def test_a_tables_folder_is_one_segment_of_a_key_and_none_of_ours(table: str) -> None:
    folder = table_folder(table)
    assert checked(folder, "lake") == folder
    assert "/" not in folder
    assert folder.isascii()
    assert folder not in RESERVED


@given(IDENTIFIERS, IDENTIFIERS)
def test_two_tables_never_share_a_folder(one: str, other: str) -> None:
    assume(one != other)
    assert table_folder(one) != table_folder(other)


def test_ordinary_tables_keep_their_name() -> None:
    assert table_folder("sales_order") == "sales_order"
    assert [table_folder(name) for name in ("keys", "%6Beys", ".")] == ["%6Beys", "%256Beys", "%2E"]
