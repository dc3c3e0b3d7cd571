"""Content of the lake is not trusted: an invalid object is rejected by name.

Someone who can write to the lake can damage it, but can't read files outside it, fill memory or
disk, or add rows to the warehouse that no manifest lists.
"""

import ast
import gzip
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
from example_manifests import MANIFEST, PROCESSED
from hypothesis import given
from hypothesis import strategies as st
from installation import Installation
from lake_writer import LakeWriter, row
from processed_lake import ProcessedLake

import totes
from totes.errors import LakeError
from totes.lake.folder import FolderStore
from totes.lake.manifest import (
    LOG_FORMAT,
    File,
    Manifest,
    ProcessedManifest,
    heartbeat_prefix,
    manifest_path,
    sha256_hex,
)
from totes.lake.manifests import find_last_heartbeat
from totes.stages.ingest import ingest
from totes.stages.load import load
from totes.stages.transform import transform
from totes.star import relation

PACKAGE = Path(totes.__file__).parent
Json = Any


# Manifests


def paths(value: Json, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every nested value."""
    yield at
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in items:
        yield from paths(part, (*at, key))


def replaced(value: Json, at: tuple[Any, ...], new: Json) -> Json:
    if not at:
        return new
    key, *rest = at
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = replaced(value[key], tuple(rest), new)
    return copy


INVALID_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 1 << 31, 1 << 63, 10**400, 1e308, "", "0", "../../x", "/etc/passwd"]),
    st.sampled_from(["a\\b", "a\0b", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59"]),
    st.text(max_size=9),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


@pytest.mark.parametrize("manifest", [MANIFEST, PROCESSED], ids=["ingested", "processed"])
@given(data=st.data())
def test_a_mutated_manifest_is_rejected_or_valid(
    manifest: Manifest | ProcessedManifest, data: st.DataObject
) -> None:
    """It never raises an error other than a LakeError of one line."""
    content = json.loads(manifest.to_json())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(list(paths(content))))
        content = replaced(content, at, data.draw(INVALID_VALUES))
    text = json.dumps(content).encode()
    cut = data.draw(st.none() | st.integers(0, len(text)))
    message = "batches/1.json is valid"
    try:
        read = type(manifest).from_json(text[:cut], "batches/1.json")
    except LakeError as error:
        message = str(error)
    else:
        assert type(manifest).from_json(read.to_json(), "again") == read
    assert message.startswith("batches/1.json ")
    assert "\n" not in message


INCONSISTENCIES: Mapping[str, tuple[tuple[Any, ...], Json, str]] = {
    "more deletes than rows": (("tables", 0, "files", 0, "deletes"), 4, "more deletes than rows"),
    "fewer than no rows": (("tables", 0, "rows"), -1, "rows"),
    "a digest that is a path": (
        ("tables", 0, "files", 0, "sha256"),
        "../" * 20 + "etc/passwd",
        "sha256",
    ),
    "a key without column": (("tables", 0, "key"), ["nothing"], "a key column that is missing"),
    "a column twice": (("tables", 0, "columns", 1, "name"), "sales_order_id", "a column twice"),
    "a table twice": (("tables", 1, "name"), "sales_order", "a table occurs twice"),
    "no snapshot": (("snapshot",), "now", "snapshot"),
    "the last year": (("captured_at",), "9999-12-31T23:59:59.999999Z", "captured_at"),
    "a batch before the first": (("released",), [0], "released"),
    "no identity": (("identity",), None, "identity"),
}


@pytest.mark.parametrize("name", INCONSISTENCIES)
def test_an_inconsistent_manifest_is_rejected(name: str) -> None:
    at, value, message = INCONSISTENCIES[name]
    content = replaced(json.loads(MANIFEST.to_json()), at, value)
    with pytest.raises(LakeError, match=rf"^batches/1.json is damaged: .*{message}"):
        Manifest.from_json(json.dumps(content).encode(), "batches/1.json")


def test_deeply_nested_json_is_rejected() -> None:
    deep = b'{"format": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for data in (deep, b"[" * 1_000_000, deep.replace(b"[", b'{"a":').replace(b"]", b"}")):
        with pytest.raises(LakeError, match=r"^batches/1.json is not a manifest"):
            Manifest.from_json(data, "batches/1.json")


def test_a_damaged_heartbeat_is_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    path = heartbeat_prefix(MANIFEST.captured_at) + "0.json"
    store.create(path, b"{}")
    with pytest.raises(LakeError, match=rf"^{path} is damaged: batch"):
        find_last_heartbeat(store, MANIFEST.captured_at)


# Files of rows


class Tampered:
    """A lake whose last batch was rewritten, including its manifest."""

    def __init__(self, folder: Path) -> None:
        self.writer = LakeWriter(folder / "ingestion")
        self.processed = FolderStore(folder / "processed")
        self.writer.add({"design": [row("design"), row("design", design_id=2)]})
        self.path = Path(self.writer.store.url) / manifest_path(1)

    def rewrite(self, at: tuple[Any, ...], new: Json) -> None:
        content = replaced(json.loads(self.path.read_bytes()), at, new)
        self.path.unlink()
        self.path.write_text(json.dumps(content))

    def put(self, data: bytes, **fields: Json) -> None:
        """Replace the file of table design by another one, also in the manifest."""
        assert self.writer.store.create("design/evil.jsonl.gz", data)
        file = File(
            path="design/evil.jsonl.gz", rows=1, bytes=len(data), sha256=sha256_hex(data)
        ).model_copy(update=fields)
        self.rewrite(self.file, json.loads(file.model_dump_json()))

    @property
    def file(self) -> tuple[Any, ...]:
        tables = json.loads(self.path.read_bytes())["tables"]
        return ("tables", [table["name"] for table in tables].index("design"), "files", 0)

    def assert_rejected(self, message: str) -> None:
        before = list(self.processed.list(""))
        with pytest.raises(LakeError, match=message) as error:
            list(transform(self.writer.store, self.processed))
        assert "\n" not in str(error.value)
        assert list(self.processed.list("")) == before, "nothing is published"


@pytest.fixture
def tampered(tmp_path: Path) -> Tampered:
    return Tampered(tmp_path)


LINE = json.dumps({"_op": "upsert", "_xid": "7", **row("design")}, separators=(",", ":")) + "\n"


@pytest.mark.parametrize(
    "path",
    ["../beside", "/etc/passwd", "a/../../beside", "a\\..\\b", "", "a//b", "a\0b", ".incoming/x"],
)
def test_a_path_outside_the_lake_is_rejected(tampered: Tampered, path: str) -> None:
    (Path(tampered.writer.store.url).parent / "beside").write_text("secret")
    tampered.rewrite((*tampered.file, "path"), path)
    tampered.assert_rejected(re.escape(repr(path)) + ".* can't be a key in ")


def test_a_symbolic_link_in_the_lake_is_rejected(tampered: Tampered, tmp_path: Path) -> None:
    (tmp_path / "beside").write_bytes(gzip.compress(LINE.encode()))
    (Path(tampered.writer.store.url) / "link").symlink_to(tmp_path)
    tampered.rewrite((*tampered.file, "path"), "link/beside")
    tampered.assert_rejected("link/beside .*symbolic link")


@pytest.mark.parametrize("unpacked", [1_000_000, None], ids=["with size", "without size"])
def test_unpacking_stops_at_the_size_in_the_manifest(
    tampered: Tampered, monkeypatch: pytest.MonkeyPatch, unpacked: int | None
) -> None:
    """The file unpacks to a thousand times its size; no more is written than announced."""
    written: list[Path] = []
    check = relation._unpack_file

    def unpack(file: File, packed: Path, read: Collection[str] | None) -> Any:
        written.append(packed)
        try:
            return check(file, packed, read)
        finally:
            parts = packed.parent.glob(f"{packed.name}.*")
            size_bytes = sum(part.stat().st_size for part in parts)
            assert 0 < size_bytes <= (unpacked or 100 * file.bytes) + (1 << 19)

    monkeypatch.setattr(relation, "_unpack_file", unpack)
    tampered.put(gzip.compress(LINE.encode() * 500_000), unpacked_bytes=unpacked, rows=500_000)
    tampered.assert_rejected("evil.jsonl.gz .* unpacks to more than")
    assert written


def test_a_file_larger_than_the_free_disk_space_is_not_unpacked(
    tampered: Tampered,
) -> None:
    tampered.put(gzip.compress(LINE.encode()), unpacked_bytes=1 << 52)
    tampered.assert_rejected(
        "evil.jsonl.gz .* needs 4503599627370496 bytes of the temporary folder"
    )


def test_a_too_long_line_is_rejected(tampered: Tampered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relation, "MAX_LINE_BYTES", 1 << 20)
    line = LINE.replace("Wooden", "W" * (3 << 20)).encode()
    tampered.put(gzip.compress(line), unpacked_bytes=len(line))
    tampered.assert_rejected("evil.jsonl.gz .* line of more than 1048576 bytes")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (LINE * 2, "2 lines, 2 upserts and 0 deletes instead of 1, 1 and 0"),
        ("", "last line has no line feed|0 lines"),
        (LINE.rstrip(), "last line has no line feed"),
        (LINE.replace("upsert", "delete"), "1 deletes"),
        (LINE.replace("upsert", "forget"), "0 upserts"),
        (LINE.replace('"file_name"', '"other"'), "rows have no file_name"),
        (LINE[:-3] + "\n", "first line is not JSON"),
        ('{"_op":"upsert","x":' + "[" * 100_000 + "]" * 100_000 + "}\n", "not JSON|have no"),
        ("[" + LINE.strip() + "]\n", "0 upserts"),
    ],
)
def test_lines_that_differ_from_the_manifest_are_rejected(
    tampered: Tampered, lines: str, message: str
) -> None:
    tampered.put(gzip.compress(lines.encode()), unpacked_bytes=len(lines))
    tampered.assert_rejected(f"evil.jsonl.gz in .*({message})")


def test_a_line_that_is_not_json_is_reported_with_its_file(tampered: Tampered) -> None:
    lines = LINE + '{"_op":"upsert",\n'
    tampered.put(gzip.compress(lines.encode()), unpacked_bytes=len(lines), rows=2)
    tampered.assert_rejected("evil.jsonl.gz in .* is damaged: .*unexpected")


@pytest.mark.parametrize(
    "data",
    [b"plain", gzip.compress(LINE.encode())[:-9], gzip.compress(LINE.encode())[:-8] + bytes(8)],
    ids=["plain", "cut", "checksum"],
)
def test_a_damaged_gzip_file_is_rejected(tampered: Tampered, data: bytes) -> None:
    tampered.put(data, unpacked_bytes=len(LINE))
    tampered.assert_rejected("evil.jsonl.gz in .* is damaged")


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("batch",), 2, "is the manifest of number 2, not 1"),
        (("format",), LOG_FORMAT + 1, "upgrade terrific-totes"),
    ],
)
def test_a_manifest_with_a_wrong_number_or_format_is_rejected(
    tampered: Tampered, at: tuple[str], value: int, message: str
) -> None:
    tampered.rewrite(at, value)
    tampered.assert_rejected(message)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("previous",), "0" * 64, "Batch 2 .*does not follow the batch 1"),
        (("captured_at",), "2020-01-01T00:00:00Z", "Batch 2 .*captured before batch 1"),
    ],
)
def test_a_manifest_that_does_not_follow_the_previous_one_is_rejected(
    tampered: Tampered, at: tuple[str], value: str, message: str
) -> None:
    list(transform(tampered.writer.store, tampered.processed))
    tampered.writer.add({"design": [row("design")]})
    tampered.path = tampered.path.parent / Path(manifest_path(2)).name
    tampered.rewrite(at, value)
    tampered.assert_rejected(message)


# Parquet


def parquet(installation: Installation, query: str) -> bytes:
    path = installation.folder / "evil.parquet"
    with duckdb.connect() as engine:
        engine.execute(f"copy ({query}) to '{path}' (format parquet)")
    return path.read_bytes()


PAYMENT_TYPES = "select {} as payment_type_id, 'X' as payment_type_name, {}, 'upsert' as _op"
NOW = "timestamptz '2000-01-01 00:00:00+00' as valid_from"
INVALID_FILES: Mapping[str, tuple[str, dict[str, Json], str]] = {
    "another type": (PAYMENT_TYPES.format("'1'", NOW), {}, "columns are not those of"),
    "a missing column": (f"select 1 as payment_type_id, {NOW}, 'upsert' as _op", {}, "columns"),
    "an additional column": (PAYMENT_TYPES.format("1", NOW) + ", 1 as more", {}, "columns"),
    "more rows": (PAYMENT_TYPES.format("unnest([1, 2])", NOW), {}, "its rows are not 1"),
    "deletes": (PAYMENT_TYPES.format("1", NOW), {"deletes": 1}, "1 deletes"),
    "the future": (PAYMENT_TYPES.format("1", NOW.replace("20", "21", 1)), {}, "its rows are not 1"),
    "another operation": (
        PAYMENT_TYPES.format("1", NOW).replace("upsert", "truncate"),
        {},
        "its rows are not 1",
    ),
    "no operation": (
        PAYMENT_TYPES.format("1", NOW).replace("'upsert'", "null::varchar"),
        {},
        "its rows are not 1",
    ),
    "no time": (
        PAYMENT_TYPES.format("1", "null::timestamptz as valid_from"),
        {},
        "its rows are not 1",
    ),
    "an unknown table": (PAYMENT_TYPES.format("1", NOW), {"table": "pg_class"}, "no star table"),
}


def test_parquet_that_differs_from_the_contract_is_rejected(installation: Installation) -> None:
    assert installation.totes("warehouse", "migrate").exit_code == 0
    lake = ProcessedLake(installation.folder)
    manifest = lake.publish(
        {"dim_payment_type": [{"payment_type_id": 1, "payment_type_name": "X"}]}
    )
    path = Path(lake.store.url) / f"generation=1/{manifest_path(1)}"
    original = path.read_bytes()
    for name, (query, fields, message) in INVALID_FILES.items():
        data = parquet(installation, query)
        lake.store.create(f"evil/{sha256_hex(data)}", data)
        file = manifest.files[0].model_copy(
            update={
                "path": f"evil/{sha256_hex(data)}",
                "bytes": len(data),
                "sha256": sha256_hex(data),
                **fields,
            }
        )
        path.unlink()
        path.write_bytes(manifest.model_copy(update={"files": (file,)}).to_json())
        with pytest.raises(LakeError, match=rf"evil/\w+ in .*{message}") as error:
            list(load(lake.store, installation.warehouse))
        assert "\n" not in str(error.value), name
        assert installation.query("SELECT count(*) FROM totes.batches") == [(0,)]
    path.unlink()
    path.write_bytes(original)
    assert len(list(load(lake.store, installation.warehouse))) == 1


def test_a_key_file_with_wrong_columns_is_rejected(installation: Installation) -> None:
    installation.add_orders(5)
    pipeline = installation.pipeline
    ingest(installation.source, pipeline.ingestion, pipeline.scope)
    data = parquet(installation, "select 'x' as elsewhere")
    pipeline.ingestion.create("keys/evil", data)
    path = installation.ingestion / manifest_path(1)
    content = json.loads(path.read_bytes())
    [design] = [n for n, table in enumerate(content["tables"]) if table["name"] == "design"]
    [keys] = content["tables"][design]["keys"]
    changed = keys | {"path": "keys/evil", "bytes": len(data), "sha256": sha256_hex(data)}
    path.unlink()
    path.write_text(json.dumps(replaced(content, ("tables", design, "keys", 0), changed)))
    installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    with pytest.raises(LakeError, match=r"keys of table design .*keys/evil"):
        ingest(installation.source, pipeline.ingestion, pipeline.scope)
    assert not pipeline.ingestion.exists(manifest_path(2))


# The program's source

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "xml", "ftplib"}


def dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{dotted(value)}.{name}"
        case _:
            return ""


def find_forbidden(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=func) if dotted(func) in FORBIDDEN_CALLS:
                yield dotted(func)
            case ast.Call(keywords=given) if any(word.arg == "shell" for word in given):
                yield "shell"
            case ast.Import(names=names):
                yield from (n.name for n in names if n.name.split(".")[0] in FORBIDDEN_MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in FORBIDDEN_MODULES:
                yield module
            case ast.Call(func=ast.Attribute(attr="SQL" | "execute"), args=[first, *_]) if (
                _is_postgres(node) and not isinstance(first, ast.Constant) and _is_text(first)
            ):
                yield f"SQL from strings in line {node.lineno}"


def _is_text(node: ast.expr) -> bool:
    """Whether an expression builds a string; psycopg's composed SQL is no string."""
    match node:
        case ast.BinOp(left=left, right=right):
            return _is_text(left) or _is_text(right)
        case ast.Constant(value=value):
            return isinstance(value, str)
        case _:
            return isinstance(node, ast.JoinedStr)


def _is_postgres(call: ast.Call) -> bool:
    """DuckDB's statements, which name only local files, must be built from strings."""
    name = dotted(call.func)
    return not re.search(r"engine\.execute$", name)


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_evaluates_text_or_builds_sql_from_strings(path: Path) -> None:
    assert list(find_forbidden(path.read_text())) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from marshal import loads",
        "eval('1')",
        "subprocess.run('ls', shell=True)",
        "yaml.load(x)",
        "connection.execute(f'SELECT {x}')",
        "cursor.execute('SELECT ' + x)",
        "sql.SQL('SELECT %s' % x)",
    ],
)
def test_the_rule_detects_forbidden_code(text: str) -> None:
    assert list(find_forbidden(text))
