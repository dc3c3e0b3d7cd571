"""A store in S3: lost responses, interrupted transfers, and its configuration."""

import random
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from installation import at
from s3_service import SECRET, Fault, S3Service, forget_clients
from store_location import Bucket

from totes.errors import LakeError, ObjectMissing
from totes.lake import open_deletable_store, open_store
from totes.lake.s3 import MAX_ATTEMPTS

pytestmark = pytest.mark.few(6)


@pytest.fixture
def bucket(service: S3Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    service.environment(monkeypatch)
    yield Bucket(service, "/lake/ingestion")
    service.fail(None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.mark.parametrize("times", [1, 1_000_000])
def test_create_succeeds_if_the_response_is_lost(
    bucket: Bucket, service: S3Service, times: int
) -> None:
    store = open_store(bucket.url)
    service.fail(Fault("PUT", times=times))
    assert store.create("batches/1", b"own")
    assert service.faults >= 1
    assert store.get("batches/1") == b"own"


@pytest.mark.parametrize("times", [1, 1_000_000])
def test_create_fails_if_the_response_is_lost_and_another_writer_was_first(
    bucket: Bucket, service: S3Service, times: int
) -> None:
    store = open_store(bucket.url)
    assert store.create("batches/1", b"other")
    service.fail(Fault("PUT", times=times))
    assert not store.create("batches/1", b"own")
    assert service.faults >= 1
    assert store.get("batches/1") == b"other"


def test_a_temporary_error_of_the_service_is_retried(bucket: Bucket, service: S3Service) -> None:
    store = open_store(bucket.url)
    for method in ("PUT", "GET"):
        service.fail(Fault(method, "503 Slow Down", "SlowDown", times=1))
        assert store.create("batches/1", b"own")
        assert store.get("batches/1") == b"own"
        assert store.exists("batches/1")
        assert service.faults == 1


def test_an_interrupted_download_continues_at_the_same_byte(
    bucket: Bucket, service: S3Service, tmp_path: Path
) -> None:
    store, copy = open_store(bucket.url), tmp_path / "copy"
    content = random.Random(1).randbytes(3 << 20)  # noqa: S311
    store.create("table/1", content)
    for use in (lambda: store.get("table/1"), lambda: store.fetch("table/1", copy)):
        service.fail(Fault("GET", times=2, sent_bytes=3 << 19))
        use()
        assert service.faults == 2
    assert store.get("table/1") == copy.read_bytes() == content


@pytest.mark.parametrize("sent_bytes", [0, 5])
def test_a_download_that_is_always_interrupted_fails(
    bucket: Bucket, service: S3Service, sent_bytes: int
) -> None:
    store = open_store(bucket.url)
    store.create("table/1", b"content" * 100)
    service.fail(Fault("GET", sent_bytes=sent_bytes))
    with pytest.raises(LakeError, match=r"^table/1 can't be read from .*can't be reached: check"):
        store.get("table/1")
    assert service.faults == MAX_ATTEMPTS


FOREIGN_KEYS = ["", "a/", "a//b", "/a", ".hidden", "a\nb", "../a", "a/./b"]


def test_foreign_objects_in_the_bucket_are_not_listed(bucket: Bucket) -> None:
    """A folder created in the AWS console is an object whose name ends with a slash."""
    bucket.fill([*FOREIGN_KEYS, "a/1", "b"])
    store = open_deletable_store(bucket.url)
    assert list(store.list("")) == ["a/1", "b"]
    assert list(store.list("a")) == ["a/1"]
    assert {one.key for one in store.list_objects()} == {*FOREIGN_KEYS, "a/1", "b"}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of three parts."""
    path = tmp_path / "large"
    path.write_bytes(b"own" * (12 << 18))
    return path


def test_of_two_concurrent_uploads_exactly_one_succeeds(bucket: Bucket, tmp_path: Path) -> None:
    """Both start before the other has stored anything."""
    both = threading.Barrier(2)

    def put(number: int) -> str:
        path = tmp_path / str(number)
        path.write_bytes(number.to_bytes(4) * (12 << 18))
        try:
            open_store(bucket.url).put("large", path)
        except LakeError as error:
            return str(error)
        return "created"

    with at("s3.before-parts", both.wait), ThreadPoolExecutor(2) as pool:
        results = list(pool.map(put, range(2)))
    [error] = set(results) - {"created"}
    assert results.count("created") == 1
    assert error == f"large in {bucket.url} already exists with a different content."
    winner = tmp_path / str(results.index("created"))
    assert open_store(bucket.url).get("large") == winner.read_bytes()
    assert bucket.unfinished() == []


@pytest.mark.parametrize("existing", [None, b"other", b"same" * (12 << 18)])
def test_an_upload_whose_response_is_lost_succeeds_only_with_the_same_content(
    bucket: Bucket, service: S3Service, large: Path, existing: bytes | None
) -> None:
    store = open_store(bucket.url)

    def lose_response() -> None:
        if existing:
            assert store.create("large", existing)
        service.fail(Fault("POST", times=1))

    with at("s3.before-parts", lose_response):
        if existing is None:
            store.put("large", large)
        else:
            with pytest.raises(LakeError, match=r"large in .* already exists with a different"):
                store.put("large", large)
    assert service.faults == 1
    assert store.get("large") == (existing or large.read_bytes())
    assert bucket.unfinished() == []


def test_a_bucket_with_object_lock_accepts_objects_and_parts(
    bucket: Bucket, service: S3Service, large: Path
) -> None:
    """S3 requires a digest of each there; moto requires only that of objects."""
    bucket.lock()
    store = open_store(bucket.url)
    service.without_digest.clear()
    assert store.create("batches/1", b"content")
    store.put("large", large)
    assert service.without_digest == []
    assert store.get("large") == large.read_bytes()


def test_a_rejected_upload_is_aborted(bucket: Bucket, service: S3Service, large: Path) -> None:
    store = open_store(bucket.url)
    for method, failpoint in (("PUT", "s3.before-parts"), ("POST", "s3.before-parts")):
        fault = Fault(method, "403 Forbidden", "AccessDenied")
        with (
            at(failpoint, lambda fault=fault: service.fail(fault)),
            pytest.raises(
                LakeError,
                match=r"^large can't be written to .*, the credentials do not allow it: grant",
            ),
        ):
            store.put("large", large)
        service.fail(None)
        assert bucket.unfinished() == []
        assert not store.exists("large")
    with pytest.raises(LakeError, match="there is no such bucket"):
        open_store(bucket.url.replace("bucket-", "missing-")).put("large", large)


ERRORS = [
    (Fault("", "403 Forbidden", "AccessDenied"), "the credentials do not allow it: grant"),
    (Fault("", "403 Forbidden", "InvalidAccessKeyId"), "the credentials are not valid: sign in"),
    (Fault("", "400 Bad Request", "ExpiredToken"), "the credentials have expired: sign in"),
    (Fault("", "301 Moved Permanently", "PermanentRedirect"), "another region: set AWS_REGION"),
    (Fault("", "409 Conflict", "ConditionalRequestConflict"), "another process is writing it: run"),
    (Fault("", "404 Not Found", "NoSuchBucket"), "there is no such bucket: create it"),
    (
        Fault("", "403 Forbidden", "RequestTimeTooSkewed"),
        "this machine's clock is wrong: synchronize",
    ),
    (Fault("", "403 Forbidden", "InvalidObjectState"), "the object is archived: restore it"),
    (Fault("", "501 Not Implemented", "NotImplemented"), "conditional writes"),
    (Fault("", "418 I Am A Teapot", "Teapot"), "the service failed: run again"),
]


@pytest.mark.parametrize(("fault", "sentence"), ERRORS)
def test_an_error_of_s3_is_one_sentence_with_advice(
    bucket: Bucket, service: S3Service, fault: Fault, sentence: str
) -> None:
    store = open_store(bucket.url)
    uses: dict[str, Callable[[], object]] = {
        "PUT": lambda: store.create("batches/1", b""),
        "GET": lambda: store.get("batches/1"),
    }
    for method, use in uses.items():
        service.fail(Fault(method, fault.status, fault.code))
        with pytest.raises(LakeError, match=sentence) as caught:
            use()
        message = str(caught.value)
        assert message.startswith("batches/1 can't be ")
        assert bucket.url in message
        assert "\n" not in message
        assert SECRET not in message
        assert not isinstance(caught.value, ObjectMissing)


def test_a_missing_bucket_is_not_an_empty_store(bucket: Bucket, file: Path) -> None:
    store = open_store(bucket.url.replace("bucket-", "missing-"))
    uses: list[Callable[[], object]] = [
        lambda: store.get("a"),
        lambda: store.exists("a"),
        lambda: store.create("a", b""),
        lambda: store.put("a", file),
        lambda: list(store.list("")),
    ]
    for use in uses:
        with pytest.raises(LakeError, match="there is no such bucket"):
            use()


CONFIG = f"""
[profile good]
region = eu-west-2
aws_access_key_id = somebody
aws_secret_access_key = {SECRET}
[profile ended]
sso_session = company
sso_account_id = 123456789012
sso_role_name = analyst
[sso-session company]
sso_start_url = http://127.0.0.1:9/
sso_region = eu-west-2
"""

type Settings = Callable[..., None]


@pytest.fixture
def settings(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """A function that sets AWS variables, and unsets those that are None."""
    assert bucket
    config = tmp_path / "config"
    config.write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def change(**variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name)
            else:
                monkeypatch.setenv(name, value)
        forget_clients()

    return change


NO_CREDENTIALS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_REGION": None, "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-3"),
        ({"AWS_REGION": None}, "us-east-1"),
        ({"AWS_REGION": None, "AWS_PROFILE": "good", **NO_CREDENTIALS}, "eu-west-2"),
    ],
)
def test_credentials_and_region_come_from_the_aws_configuration(
    bucket: Bucket,
    service: S3Service,
    settings: Settings,
    variables: dict[str, str | None],
    region: str,
) -> None:
    settings(**variables)
    assert open_store(bucket.url).create("a", b"")
    assert re.search(rf"Credential=somebody/\d+/{region}/s3/", service.authorizations[-1])


def test_the_s3_endpoint_overrides_the_general_endpoint(
    bucket: Bucket, service: S3Service, settings: Settings
) -> None:
    settings(AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ENDPOINT_URL_S3=service.endpoint)
    assert open_store(bucket.url).create("a", b"")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "the service can't be reached: check the network and, if used, AWS_ENDPOINT_URL",
        ),
        ({"AWS_ENDPOINT_URL": "minio"}, "AWS's settings are not valid: correct AWS_PROFILE"),
        ({"AWS_REGION": "not a region"}, "AWS's settings are not valid: correct AWS_PROFILE"),
        ({"AWS_PROFILE": "missing"}, "AWS's settings are not valid: correct AWS_PROFILE"),
        (NO_CREDENTIALS, "no credentials were found: set AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "no credentials were found: set AWS_ACCESS_KEY_ID"),
        (
            {"AWS_PROFILE": "ended", **NO_CREDENTIALS},
            r"the credentials can't be loaded: sign in again \(`aws sso login`\)",
        ),
    ],
)
def test_a_wrong_aws_configuration_is_one_sentence_with_advice(
    bucket: Bucket, settings: Settings, variables: dict[str, str | None], sentence: str
) -> None:
    settings(**variables)
    with pytest.raises(
        LakeError, match=f"^a can't be read from {bucket.url}, {sentence}"
    ) as caught:
        open_store(bucket.url).get("a")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_https_to_a_plain_http_service_is_reported(
    bucket: Bucket, service: S3Service, settings: Settings
) -> None:
    settings(AWS_ENDPOINT_URL=service.endpoint.replace("http:", "https:"))
    with pytest.raises(LakeError, match=r"no secure connection.*AWS_ENDPOINT_URL.*AWS_CA_BUNDLE"):
        open_store(bucket.url).get("a")


def test_an_invalid_bucket_name_is_reported(bucket: Bucket) -> None:
    assert bucket
    with pytest.raises(LakeError, match="S3 does not allow this name: correct the URL"):
        open_store("s3://no_bucket!/lake").get("a")
