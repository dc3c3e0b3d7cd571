"""A manifest is read as it was written, also by later versions; keys in the lake are distinct."""

import json
from datetime import timedelta, timezone

import pytest
from example_manifests import AT, MANIFEST, PROCESSED
from hypothesis import assume, given
from hypothesis import strategies as st

from totes.errors import LakeError
from totes.lake.key import validate_key
from totes.lake.manifest import (
    LOG_FORMAT,
    RESERVED_PREFIXES,
    Heartbeat,
    Manifest,
    ProcessedManifest,
    data_path,
    generation_path,
    heartbeat_path,
    heartbeat_prefix,
    manifest_path,
    processed_manifest_path,
    table_folder,
)

PUBLISHED = pytest.mark.parametrize(
    "manifest", [MANIFEST, PROCESSED], ids=["ingested", "processed"]
)
AnyManifest = Manifest | ProcessedManifest


@PUBLISHED
def test_a_manifest_is_equal_after_conversion_to_json_and_back(manifest: AnyManifest) -> None:
    assert type(manifest).from_json(manifest.to_json(), "path") == manifest


@PUBLISHED
def test_unknown_fields_are_ignored(manifest: AnyManifest) -> None:
    def with_new_fields(value: object) -> object:
        match value:
            case dict():
                new = {} if value.keys() <= {"staff"} else {"added_later": [1]}
                return {key: with_new_fields(inner) for key, inner in value.items()} | new
            case list():
                return [with_new_fields(inner) for inner in value]
        return value

    data = json.dumps(with_new_fields(json.loads(manifest.to_json()))).encode()
    assert b"added_later" in data
    assert type(manifest).from_json(data, "path") == manifest


@PUBLISHED
def test_a_newer_format_is_rejected(manifest: AnyManifest) -> None:
    data = json.dumps({"format": LOG_FORMAT + 1, "batch": "in a new way"}).encode()
    with pytest.raises(LakeError, match=r"batches/1.json has format 3.*upgrade terrific-totes"):
        type(manifest).from_json(data, "batches/1.json")


@PUBLISHED
def test_the_error_about_a_damaged_manifest_names_file_and_field(manifest: AnyManifest) -> None:
    data = manifest.to_json()
    for damaged in (b"", data[:-20], b"[]", b"\xff", b'{"format": "one"}'):
        with pytest.raises(LakeError, match=r"^batches/1.json is not a manifest: "):
            type(manifest).from_json(damaged, "batches/1.json")
    without = {key: value for key, value in json.loads(data).items() if key != "batch"}
    for invalid in (without, without | {"batch": 0}, without | {"batch": "x"}):
        with pytest.raises(LakeError, match=r"^batches/1.json is damaged: batch: "):
            type(manifest).from_json(json.dumps(invalid).encode(), "batches/1.json")
    with pytest.raises(LakeError, match=r"damaged: captured_at: .*timezone"):
        type(manifest).from_json(data.replace(b"123456Z", b"123456"), "batches/1.json")


def test_a_manifest_finds_tables_and_counts_rows() -> None:
    orders = MANIFEST.table("sales_order")
    assert orders
    assert orders.column("unit_price").kind == "text"
    assert MANIFEST.table("unknown") is None
    assert (MANIFEST.rows, PROCESSED.rows) == (3, 3)


def test_every_kind_of_object_has_its_key() -> None:
    assert manifest_path(42) == "batches/000000000042.json"
    assert processed_manifest_path(2, 42) == "generation=2/batches/000000000042.json"
    assert generation_path(2) == "generations/000002.json"
    assert data_path("sales_order", AT, "x.gz") == "sales_order/totes_date=2026-11-22/x.gz"
    assert data_path("staff", AT, "x", "keys/") == "keys/staff/totes_date=2026-11-22/x"
    heartbeat = Heartbeat(batch=42, checked_at=AT)
    assert heartbeat_path(heartbeat) == heartbeat_prefix(AT) + "233000123456-000000000042.json"


def test_keys_contain_the_utc_day() -> None:
    evening = AT.astimezone(timezone(timedelta(hours=9)))
    assert evening.day == 23
    assert data_path("t", evening, "x") == "t/totes_date=2026-11-22/x"
    assert heartbeat_prefix(evening) == "heartbeats/year=2026/month=11/day=22/"


IDENTIFIERS = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=63
) | st.sampled_from(
    [*sorted(RESERVED_PREFIXES), ".", "..", "%2E", ".hidden", "a/b", "a\\b", "%62atches"]
)
"""Names that PostgreSQL accepts for a table, including unusual ones."""


@given(IDENTIFIERS)
def test_a_table_folder_is_one_safe_key_segment(table: str) -> None:
    folder = table_folder(table)
    assert validate_key(folder, "lake") == folder
    assert "/" not in folder
    assert folder.isascii()
    assert folder not in RESERVED_PREFIXES


@given(IDENTIFIERS, IDENTIFIERS)
def test_two_tables_have_different_folders(one: str, other: str) -> None:
    assume(one != other)
    assert table_folder(one) != table_folder(other)


def test_a_usual_table_name_is_not_changed() -> None:
    assert table_folder("sales_order") == "sales_order"
    assert [table_folder(name) for name in ("keys", "%6Beys", ".")] == ["%6Beys", "%256Beys", "%2E"]
