"""Every client of AWS has the standard credentials, and the region of an ARN or of the settings."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import boto3
import pytest
import smoke
from s3_service import S3Service, forget_clients

from totes.alert import publish
from totes.aws_client import aws_client
from totes.config.secrets import read_secret_fields
from totes.errors import UsageError

SOON = datetime.now(UTC) + timedelta(hours=1)

KEYS = {"AccessKeyId": "AKIAISSUED", "SecretAccessKey": "issued"}

USE_ALL = """
import sys
from botocore.utils import ContainerMetadataFetcher
from totes.alert import publish
from totes.config.secrets import read_secret_fields
from totes.lake import open_store
address, bucket, secret, topic = sys.argv[1:]
ContainerMetadataFetcher.IP_ADDRESS = address  # ECS has a fixed one
assert open_store(f"s3://{bucket}").create("a", b"")
assert read_secret_fields(secret, "TOTES_SMTP_SECRET", ["password"]) == {"password": "sesame"}
assert publish(topic, "subject", "text", "alert")
"""

ISSUER = f"print('''{json.dumps({**KEYS, 'Version': 1, 'Expiration': SOON.isoformat()})}''')"

CONFIG = """
[profile process]
region = us-east-1
credential_process = {python} {issuer}
[profile signed-in]
region = us-east-1
sso_session = company
sso_account_id = 123456789012
sso_role_name = operator
[sso-session company]
sso_start_url = https://company.example/start
sso_region = us-east-1
"""


class _Issuer(BaseHTTPRequestHandler):
    """Issues credentials as ECS does, and as single sign-on does for a cached token."""

    def do_GET(self) -> None:
        answer: dict[str, object] = {}
        if self.path == "/ecs":
            answer = {**KEYS, "Token": "session", "Expiration": SOON.isoformat()}
        elif self.headers["x-amz-sso_bearer_token"] == "cached":
            role = {"accessKeyId": KEYS["AccessKeyId"], "secretAccessKey": "issued"}
            expiration = int(SOON.timestamp() * 1000)
            answer = {"roleCredentials": {**role, "sessionToken": "s", "expiration": expiration}}
        body = json.dumps(answer).encode()
        self.send_response(200 if answer else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


@pytest.fixture
def issuer() -> Iterator[str]:
    """The address of a server that issues credentials."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Issuer) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def names(service: S3Service, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str]:
    """A bucket, the name of a secret, and the ARN of a topic."""
    service.environment(monkeypatch)
    bucket = service.new_bucket()
    secrets = boto3.client("secretsmanager", region_name="us-east-1")
    secrets.create_secret(Name=bucket, SecretString='{"password": "sesame"}')
    topic = boto3.client("sns", region_name="us-east-1").create_topic(Name=bucket)["TopicArn"]
    return bucket, bucket, topic


def write_home(home: Path) -> None:
    """Write profiles, and the token that `aws sso login` leaves."""
    (home / "issuer.py").write_text(ISSUER)
    (home / ".aws" / "sso" / "cache").mkdir(parents=True)
    config = CONFIG.format(python=sys.executable, issuer=home / "issuer.py")
    (home / ".aws" / "config").write_text(config)
    token = {"accessToken": "cached", "expiresAt": f"{SOON:%Y-%m-%dT%H:%M:%SZ}"}
    name = hashlib.sha1(b"company", usedforsecurity=False).hexdigest()
    (home / ".aws" / "sso" / "cache" / f"{name}.json").write_text(json.dumps(token))


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_PROFILE": "process"},
        {"AWS_PROFILE": "signed-in"},
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/ecs", "AWS_REGION": "us-east-1"},
    ],
    ids=["credential_process", "single sign-on", "a container of ECS"],
)
def test_every_service_gets_the_credentials_of_the_standard_chain(
    service: S3Service,
    issuer: str,
    names: tuple[str, str, str],
    tmp_path: Path,
    variables: dict[str, str],
) -> None:
    write_home(tmp_path)
    before = len(service.authorizations)
    done = subprocess.run(
        [sys.executable, "-c", USE_ALL, issuer, *names],
        env={
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL": service.endpoint,
            "AWS_ENDPOINT_URL_SSO": f"http://{issuer}",
            "AWS_EC2_METADATA_DISABLED": "true",
            **variables,
        },
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    used = [re.findall(r"Credential=(\w+)/\d+/us-east-1/(\w+)/", one)
            for one in service.authorizations[before:]]  # fmt: skip
    assert {pair for [pair] in used} == {
        (KEYS["AccessKeyId"], service) for service in ("s3", "secretsmanager", "sns")
    }


ARN = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:totes-AbCdEf"


@pytest.mark.parametrize(
    ("name", "variables", "region"),
    [
        (ARN, {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-3"),
        ("totes", {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-2"),
        ("totes", {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ("totes", {"AWS_PROFILE": "signed-in"}, "us-east-1"),
    ],
)
def test_the_region_is_that_of_the_arn_else_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    variables: dict[str, str],
    region: str,
) -> None:
    write_home(tmp_path)
    no_region(monkeypatch)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / ".aws" / "config"))
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert aws_client("secretsmanager", name).meta.region_name == region
    forget_clients()


def no_region(patch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    patch.setenv("AWS_CONFIG_FILE", os.devnull)
    forget_clients()


def test_a_missing_region_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    no_region(monkeypatch)
    advice = "no AWS region is set: set AWS_REGION, or a region in the profile of ~/.aws."
    with pytest.raises(UsageError) as raised:
        read_secret_fields("totes", "TOTES_SMTP_SECRET", ["password"])
    assert str(raised.value) == f"The secret totes (TOTES_SMTP_SECRET) can't be read: {advice}"
    assert not publish("a-topic-without-arn", "subject", "text", "alert")
    assert caplog.messages == [f"The alert topic failed: {advice}"]
    monkeypatch.setattr(smoke, "output", lambda _: {"ingest": "totes-dev-ingest"})
    assert smoke.main() == 1
    assert capsys.readouterr().out == f"The functions can't be called: {advice}\n"
