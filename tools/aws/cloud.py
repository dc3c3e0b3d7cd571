"""AWS without an account: moto's server, and Terraform with the provider this machine has."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
REGION = "eu-west-2"
START_SECONDS = 60.0

PLUGINS = "TOTES_TERRAFORM_PLUGINS"
"""Names the folder of Terraform's plug-ins, laid out as `terraform init -plugin-dir` wants it."""


class Missing(Exception):
    """Something this machine would have to have: tests skip, `make aws-demo` says so."""


class TerraformFailed(Exception):
    """What Terraform said."""


# -- Terraform


def terraform_program() -> str:
    """Where `terraform` is; Missing where it isn't."""
    program = shutil.which("terraform")
    if program is None:
        raise Missing("terraform: not installed")
    return program


def provider_version() -> str:
    """The one version of the AWS provider that terraform/versions.tf asks for."""
    text = (ROOT / "terraform" / "versions.tf").read_text(encoding="utf-8")
    block = re.search(r"aws\s*=\s*\{[^}]*\}", text)
    found = re.search(r'version\s*=\s*"=?\s*([\d.]+)"', block[0] if block else "")
    if found is None:
        raise ValueError("terraform/versions.tf pins no exact version of the AWS provider")
    return found[1]


def plugins(version: str) -> Path:
    """The folder of plug-ins that has the AWS provider of this version; Missing where none is.

    TOTES_TERRAFORM_PLUGINS names it, or it is looked for where such folders usually are.
    """
    named = os.environ.get(PLUGINS)
    roots = [Path(named)] if named else _usual_places()
    for binary in chain.from_iterable(map(_providers, roots)):
        parts = binary.parts
        if version in parts or f"_{version}_" in binary.name:
            return Path(*parts[: parts.index("hashicorp") - 1])
    raise Missing(f"terraform-provider-aws {version}: no plug-in folder here, see {PLUGINS}")


def _usual_places() -> list[Path]:
    """Those that Terraform knows itself first, then where people put such things."""
    cache = os.environ.get("TF_PLUGIN_CACHE_DIR")
    home = Path.home()
    own = [home / ".terraform.d", Path("/usr/share/terraform"), Path("/usr/local/share/terraform")]
    return [*([Path(cache)] if cache else []), *own, *map(Path, ("/opt", "/usr", "/var")), home]


_ELSEWHERE = {"node_modules", "site-packages", "__pycache__", ".git", ".terraform"}
"""Folders that are large, or that Terraform fills from the folder sought."""


def _providers(root: Path) -> Iterator[Path]:
    """Files of AWS providers below `root`, laid out as host/hashicorp/aws/version and so on."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _ELSEWHERE)
        if f"{os.sep}hashicorp{os.sep}aws" not in folder:
            continue
        for name in names:
            if name.startswith("terraform-provider-aws"):
                yield Path(folder) / name


@dataclass(frozen=True)
class Terraform:
    """`terraform` in `folder`; whatever it keeps lies below it.

    `environment` goes over this process's, of which nothing that names an account is passed on.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, accept: Iterable[int] = (0,)) -> str:
        """What it prints; TerraformFailed where it ends otherwise than `accept` allows."""
        done = subprocess.run(
            [terraform_program(), *arguments],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode not in accept:
            said = f"{done.stdout}{done.stderr}"
            raise TerraformFailed(f"terraform {arguments[0]} ended with {done.returncode}:\n{said}")
        return done.stdout

    def init(self, *arguments: str) -> None:
        """With the plug-ins of this machine."""
        folder = plugins(provider_version())
        self("init", "-input=false", "-no-color", f"-plugin-dir={folder}", *arguments)

    def state(self) -> tuple[str, ...]:
        """The addresses of all resources there are."""
        lines = self("state", "list").splitlines()
        return tuple(line for line in lines if ".data." not in f".{line}")

    def plan(self, *arguments: str) -> tuple[str, ...]:
        """The addresses of all resources that it would change."""
        plan = self.folder / "plan"
        self("plan", "-detailed-exitcode", f"-out={plan}", *arguments, accept=(0, 2))
        changes = json.loads(self("show", "-json", str(plan))).get("resource_changes", [])
        nothing = (["no-op"], ["read"])
        return tuple(
            change["address"] for change in changes if change["change"]["actions"] not in nothing
        )

    def outputs(self) -> dict[str, Any]:
        values = json.loads(self("output", "-json"))
        return {name: value["value"] for name, value in values.items()}

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "TF_")) or name == "AWS_CA_BUNDLE"
        }
        return {**kept, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", **self.environment}


# -- moto


@dataclass(frozen=True)
class Credentials:
    """Who asks."""

    key: str
    secret: str
    token: str = ""

    def environment(self) -> dict[str, str]:
        """The variables by which AWS's tools know who they are."""
        names = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}
        return {**names, **({"AWS_SESSION_TOKEN": self.token} if self.token else {})}


_NOBODY = Credentials("nobody", "nothing")
"""Will do for all, as long as moto looks at nobody's rights."""

_EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}


class Moto:
    """A moto server of its own on a free loopback port; use it with `with`.

    Its Lambda runs nothing (no Docker): who wants a function run drives it by the Runtime API.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` takes its log."""
        self._log = folder / "moto.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""
        self.operator = _NOBODY
        """Who may do everything."""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", "0"],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self._log.parent,
                start_new_session=True,  # Ctrl-C must not end it before what uses it
            )
        try:
            self.endpoint = self._address(self._process)
            self.api("config", json.dumps({"lambda": {"use_docker": False}}))
            self.operator = self._make_operator()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def api(self, path: str, body: str = "") -> str:
        """Ask moto itself for something."""
        request = urllib.request.Request(  # noqa: S310  our own server
            f"{self.endpoint}/moto-api/{path}",
            data=body.encode(),
            headers={"Content-Type": "text/plain"},  # not a form, as urllib would have it
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return str(answer.read().decode())

    @contextmanager
    def rights(self) -> Iterator[None]:
        """Meanwhile everybody may only what policies allow; otherwise nobody is asked.

        Of a role's policies moto looks at actions, and for S3 alone at resources: a right to
        one secret or topic is none for it. It overlooks conditions, everywhere.
        """
        self.api("reset-auth", "0")
        try:
            yield
        finally:
            self.api("reset-auth", "inf")

    def client(self, service: str, who: Credentials | None = None) -> Any:
        """A client of boto3 that tries once; the operator's unless told."""
        who = who or self.operator
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=who.key,
            aws_secret_access_key=who.secret,
            aws_session_token=who.token or None,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def environment(self, who: Credentials | None = None) -> dict[str, str]:
        """What a process needs to find this AWS; the operator's unless told."""
        return {
            **(who or self.operator).environment(),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def _make_operator(self) -> Credentials:
        iam = self.client("iam")
        iam.create_user(UserName="operator")
        policy = json.dumps(_EVERYTHING)
        iam.put_user_policy(UserName="operator", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="operator")["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def _address(self, process: subprocess.Popen[bytes]) -> str:
        """The server names its port as soon as it listens."""
        patience = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < patience:
            if found := re.search(r"Running on (http\S+:\d+)", self.log):
                return found[1]
            time.sleep(0.05)
        raise Missing(f"moto_server: doesn't start: {self.log[-2000:]}")

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()  # it keeps nothing that would have to be put away
            self._process.wait()
