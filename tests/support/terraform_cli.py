"""The `terraform` program, with the AWS provider that this machine has."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PLUGINS = "TOTES_TERRAFORM_PLUGINS"
"""Names the folder of Terraform's plug-ins, in the layout of `terraform init -plugin-dir`."""

_OUTPUT_CHARACTERS = 4_000
"""How much of the output an error message repeats."""

_OVERRIDES = "overrides.tfrc"
"""Terraform's settings after `init`: it then runs the same provider without computing the digest of
its 700 MB at each start, which is half of the time of a command."""

_GOGC = "400"
"""Memory that Terraform and the provider may add, in percent, before they collect garbage: at Go's
default of 100, a fifth of their processor time is spent on it."""

_PLAN_HAS_CHANGES = 2
"""Exit code of `plan -detailed-exitcode` if there are changes."""


class MissingToolError(Exception):
    """A program or a plug-in that this machine lacks."""


class TerraformFailed(Exception):
    """A command of Terraform ended with exit code `code`."""

    def __init__(self, command: str, code: int, output: str) -> None:
        super().__init__(f"terraform {command} ended with exit code {code}:\n{output}")
        self.code = code


def terraform_program() -> str:
    """Return the path of `terraform`; MissingToolError if it is not installed."""
    program = shutil.which("terraform")
    if program is None:
        raise MissingToolError("terraform: not installed")
    return program


def provider_version() -> str:
    """Return the version of the AWS provider that terraform/versions.tf pins."""
    text = (ROOT / "terraform" / "versions.tf").read_text(encoding="utf-8")
    block = re.search(r"aws\s*=\s*\{[^}]*\}", text)
    found = re.search(r'version\s*=\s*"=?\s*([\d.]+)"', block[0] if block else "")
    if found is None:
        raise ValueError("terraform/versions.tf pins no exact version of the AWS provider")
    return found[1]


def plugin_folder(provider: Path) -> Path:
    """Return the plug-in folder that a provider's program is in."""
    return Path(*provider.parts[: provider.parts.index("hashicorp") - 1])


def find_provider(version: str) -> Path:
    """Return the program of this version of the AWS provider.

    It is searched in TOTES_TERRAFORM_PLUGINS if that is set, else in the usual places.
    MissingToolError if it is not found.
    """
    setting = os.environ.get(PLUGINS)
    roots = [Path(setting)] if setting else _usual_folders()
    for binary in chain.from_iterable(map(_find_providers, roots)):
        if version in binary.parts or f"_{version}_" in binary.name:
            return binary
    raise MissingToolError(
        f"terraform-provider-aws {version}: no plug-in folder has it, see {PLUGINS}"
    )


def _usual_folders() -> list[Path]:
    """Terraform's own plug-in folders first, then wherever programs are installed."""
    cache = os.environ.get("TF_PLUGIN_CACHE_DIR")
    home = Path.home()
    own = [home / ".terraform.d", Path("/usr/share/terraform"), Path("/usr/local/share/terraform")]
    return [*([Path(cache)] if cache else []), *own, *map(Path, ("/opt", "/usr", "/var")), home]


_SKIPPED_FOLDERS = {"node_modules", "site-packages", "__pycache__", ".git", ".terraform"}
"""Large folders, and those that Terraform fills from the folder that is searched for."""


def _find_providers(root: Path) -> Iterator[Path]:
    """Yield AWS provider programs below `root`, in the layout host/hashicorp/aws/version."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        if f"{os.sep}hashicorp{os.sep}aws" not in folder:
            continue
        for name in names:
            if name.startswith("terraform-provider-aws"):
                yield Path(folder) / name


@dataclass(frozen=True)
class Terraform:
    """`terraform` in `folder`, which also takes all of its files.

    `environment` is added to this process's environment without the variables of AWS accounts.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, accept: Iterable[int] = (0,)) -> str:
        """Run a command and return its output; TerraformFailed for other exit codes."""
        with subprocess.Popen(
            [terraform_program(), *arguments],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, errors = process.communicate()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # also ends the provider's process
                raise
        if process.returncode not in accept:
            shown = f"{output[-_OUTPUT_CHARACTERS:]}{errors}"
            raise TerraformFailed(arguments[0], process.returncode, shown)
        return output

    def init(self, *arguments: str) -> None:
        """Initialize the folder with the plug-ins of this machine."""
        provider = find_provider(provider_version())
        folder = plugin_folder(provider)
        self("init", "-input=false", "-no-color", f"-plugin-dir={folder}", *arguments)
        if provider.suffix != ".zip":
            (self.folder / _OVERRIDES).write_text(
                "provider_installation {\n"
                f'  dev_overrides {{ "hashicorp/aws" = "{provider.parent}" }}\n'
                "  direct {}\n"
                "}\n"
            )

    def resources(self) -> tuple[str, ...]:
        """Return the addresses of all managed resources in the state."""
        lines = self("state", "list").splitlines()
        return tuple(line for line in lines if ".data." not in f".{line}")

    def planned_changes(self, *arguments: str) -> tuple[str, ...]:
        """Return the addresses of the resources that an apply would change."""
        plan = self.folder / "plan"
        try:
            self("plan", "-detailed-exitcode", f"-out={plan}", *arguments)
        except TerraformFailed as failed:
            if failed.code != _PLAN_HAS_CHANGES:
                raise
        else:
            return ()
        changes = json.loads(self("show", "-json", str(plan))).get("resource_changes", [])
        unchanged = (["no-op"], ["read"])
        return tuple(
            change["address"] for change in changes if change["change"]["actions"] not in unchanged
        )

    def outputs(self) -> dict[str, Any]:
        """Return the value of each output."""
        outputs = json.loads(self("output", "-json"))
        return {name: output["value"] for name, output in outputs.items()}

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "TF_")) or name == "AWS_CA_BUNDLE"
        }
        overrides = self.folder / _OVERRIDES
        if overrides.exists():
            inherited["TF_CLI_CONFIG_FILE"] = str(overrides)
        own = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "GOGC": _GOGC}
        return {**inherited, **own, **self.environment}
