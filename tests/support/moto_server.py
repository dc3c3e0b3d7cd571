"""moto's server: an AWS account without AWS."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config

REGION = "eu-west-2"
START_SECONDS = 60.0


@dataclass(frozen=True)
class Credentials:
    """An access key, and a session token if it is temporary."""

    key: str
    secret: str
    token: str = ""

    def environment(self) -> dict[str, str]:
        """Return the environment variables in which AWS's tools find credentials."""
        variables = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}
        return {**variables, **({"AWS_SESSION_TOKEN": self.token} if self.token else {})}


_ANY = Credentials("any", "any")
"""Accepted while moto checks no permissions."""

_ALLOW_ALL: Mapping[str, object] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}


class Moto:
    """A moto server on a free port of the loopback interface; a context manager.

    Its Lambda runs no functions (that needs Docker); lambda_runtime.py does.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` takes the server's log."""
        self._log = folder / "moto.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""
        self.operator = _ANY
        """Credentials of a user with all permissions."""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("serial_moto.py")],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self._log.parent,
                start_new_session=True,  # Ctrl-C must not end it before its clients
            )
        try:
            self.endpoint = self._wait_for_address(self._process)
            self.api("config", json.dumps({"lambda": {"use_docker": False}}))
            self.operator = self._create_operator()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()

    @property
    def log(self) -> str:
        """The text of the server's log."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def api(self, path: str, body: str = "") -> str:
        """Call moto's own API and return the response."""
        request = urllib.request.Request(  # noqa: S310  our own server
            f"{self.endpoint}/moto-api/{path}",
            data=body.encode(),
            headers={"Content-Type": "text/plain"},  # urllib's default is a form
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return str(response.read().decode())

    @contextmanager
    def permissions_checked(self) -> Iterator[None]:
        """Check the permissions of each request until the end of the `with` block.

        moto checks the actions of a role's policies; resources for S3 alone: a permission for one
        secret or topic counts as none. It ignores conditions.
        """
        self.api("reset-auth", "0")
        try:
            yield
        finally:
            self.api("reset-auth", "inf")

    def client(self, service: str, credentials: Credentials | None = None) -> Any:
        """Return a boto3 client without retries; the operator's by default."""
        credentials = credentials or self.operator
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=credentials.key,
            aws_secret_access_key=credentials.secret,
            aws_session_token=credentials.token or None,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def environment(self, credentials: Credentials | None = None) -> dict[str, str]:
        """Return the environment of a process that uses this server; the operator's by default."""
        return {
            **(credentials or self.operator).environment(),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def _create_operator(self) -> Credentials:
        iam = self.client("iam")
        iam.create_user(UserName="operator")
        policy = json.dumps(_ALLOW_ALL)
        iam.put_user_policy(UserName="operator", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="operator")["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def _wait_for_address(self, process: subprocess.Popen[bytes]) -> str:
        """Return the address, which the server prints as soon as it listens."""
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if found := re.search(r"^http\S+:\d+$", self.log, re.MULTILINE):
                return found[0]
            time.sleep(0.05)
        raise RuntimeError(f"moto does not start: {self.log[-2000:]}")

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()  # it has no state to save
            self._process.wait()
