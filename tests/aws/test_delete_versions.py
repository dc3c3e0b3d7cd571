"""The tool that deletes objects of the lake for ever, after an erasure."""

from typing import Any

import delete_versions as tool
import pytest
from s3_service import S3Service

from totes.aws_client import aws_client

MD5_OF_NOTHING = "1B2M2Y8AsgTpgAmY7PhCfg=="


@pytest.fixture
def bucket(service: S3Service, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with versions, a delete marker and a new store below erased/."""
    service.environment(monkeypatch)
    bucket = service.new_bucket()
    s3 = aws_client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    service.fill(bucket, ["batches/1.json", "batches/1.json", "tables/a b.jsonl", "erased/1.json"])
    s3.delete_object(Bucket=bucket, Key="tables/a b.jsonl")
    return bucket


def versions(bucket: str) -> list[str]:
    found: dict[str, Any] = aws_client("s3").list_object_versions(Bucket=bucket)
    return [one["Key"] for one in found.get("Versions", []) + found.get("DeleteMarkers", [])]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str | None:
    monkeypatch.setattr("sys.argv", ["delete_versions.py", *arguments])
    return tool.main()


def test_all_versions_are_deleted_but_those_to_keep(
    bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "MAX_KEYS", 3)  # several requests
    assert run(monkeypatch, bucket, "--keep", "erased/") is None
    assert versions(bucket) == ["erased/1.json"]
    assert capsys.readouterr().out == f"4 versions of objects in {bucket} were deleted.\n"


def test_only_versions_below_a_prefix_are_deleted(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, bucket, "--below", "erased/") is None
    assert sorted(versions(bucket)) == ["batches/1.json"] * 2 + ["tables/a b.jsonl"] * 2


def test_a_version_that_s3_keeps_is_an_error(
    service: S3Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.environment(monkeypatch)
    bucket = service.new_bucket()
    service.lock(bucket)
    aws_client("s3").put_object(Bucket=bucket, Key="batches/2.json", ContentMD5=MD5_OF_NOTHING)
    with pytest.raises(SystemExit, match=r"batches/2\.json can't be deleted: "):
        run(monkeypatch, bucket)
    assert versions(bucket) == ["batches/2.json"]
    assert run(monkeypatch, bucket, "--bypass-governance-retention") is None
    assert not versions(bucket)


def test_a_missing_bucket_is_an_error(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = run(monkeypatch, f"{bucket}-missing")
    assert error is not None
    assert "does not exist" in error
