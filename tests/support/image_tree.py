"""The file tree of the container image, made by the steps of deploy/Containerfile in a folder.

No engine is needed: a folder stands for the root of a stage. Commands do what they do in an image,
with uv instead of pip: packages stay in its cache, and are linked.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKOUT = Path(__file__).parents[2]
CONTAINERFILE = CHECKOUT / "deploy" / "Containerfile"
UV = CHECKOUT / ".uv" / "bin" / "uv"


@dataclass
class ImageTree:
    """The tree of the last stage in `root`, and the configuration of its container."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)

    def run(self, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the container's command, with these arguments if there are any, until it ends.

        Its environment is that of the image and `env`, nothing of this process.
        """
        variables = {name: self._placed(value) for name, value in self.variables.items()}
        program, *first = self.entrypoint
        return subprocess.run(
            [
                shutil.which(program, path=variables["PATH"]) or program,
                *first,
                *(arguments or self.arguments),
            ],
            cwd=self.path(self.folder),
            env={**variables, **env},
            check=False,
            capture_output=True,
            text=True,
        )

    def path(self, name: str) -> Path:
        """Return where a path of the container is on this machine."""
        return self.root / Path(self.folder, name).relative_to("/")

    def _placed(self, value: str) -> str:
        """Return the value of a variable, with the paths that the tree has as they are here."""
        parts = value.replace("$PATH", os.defpath).split(":")
        return ":".join(str(self.path(one)) if self.path(one).exists() else one for one in parts)


def build_image_tree(folder: Path) -> ImageTree:
    """Carry out the Containerfile in a new folder, and return the tree of its last stage."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE)
    build = _Build(folder)
    for line in filter(None, re.sub(r"\s*\\\n\s*", " ", text).splitlines()):
        instruction, rest = line.split(maxsplit=1)
        build.instructions[instruction](rest)
    return build.tree


class _Build:
    """The stages of an image; each is built in the folder `root`, whose path its files name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stage = ""
        self.tree = ImageTree(folder / "root")
        self.instructions: dict[str, Callable[[str], object]] = {
            "FROM": self._begin_stage,
            "COPY": lambda rest: self._copy(*shlex.split(rest)),
            "RUN": self._run_all,
            "WORKDIR": self._enter,
            "ENV": lambda rest: self.tree.variables.update(re.findall(r"(\w+)=(\S+)", rest)),
            "ENTRYPOINT": lambda rest: self.tree.entrypoint.extend(json.loads(rest)),
            "CMD": lambda rest: self.tree.arguments.extend(json.loads(rest)),
            "USER": lambda _: None,
            "VOLUME": lambda _: None,
        }

    def _begin_stage(self, rest: str) -> None:
        """Move the last stage away."""
        if self._stage:
            self.tree.root.rename(self._folder / self._stage)
        self._stage = rest.rpartition(" ")[2]
        self.tree = ImageTree(self._folder / "root")
        self.tree.root.mkdir(parents=True)

    def _enter(self, name: str) -> None:
        self.tree.folder = name
        self.tree.path(name).mkdir(parents=True, exist_ok=True)

    def _copy(self, *words: str) -> None:
        """Copy files, or the content of folders; what comes from another stage is moved."""
        *sources, name = words
        target = self.tree.path(name)
        if sources[0].startswith("--from="):
            stage, source = sources
            target.parent.mkdir(parents=True, exist_ok=True)
            (self._folder / stage.removeprefix("--from=") / source.lstrip("/")).rename(target)
            return
        for source in sources:
            path = CHECKOUT / source
            into = target / path.name if name.endswith("/") and path.is_file() else target
            into.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                shutil.copyfile(path, into)
            else:
                shutil.copytree(path, into, ignore=shutil.ignore_patterns("__pycache__"))

    def _run_all(self, rest: str) -> None:
        for command in rest.split(" && "):
            self._run(shlex.split(command))

    def _run(self, command: list[str]) -> None:
        here = self.tree.path(self.tree.folder)
        match command:
            case ["python", "-m", "venv", name]:
                _call(here, UV, "venv", "--quiet", "--python", sys.executable, self.tree.path(name))
            case ["pip", "install", *_, requirements]:
                # What builds the wheel: the environment of the tests has it already.
                assert (here / requirements).read_bytes() == (CHECKOUT / requirements).read_bytes()
            case [pip, "install", "--no-cache-dir", *arguments] if pip.endswith("/bin/pip"):
                python = self.tree.path(pip).with_name("python")
                names = [str(name) for one in arguments for name in _found(here, one)]
                links = ("--link-mode", "symlink")
                _call(here, UV, "pip", "install", "--quiet", *links, "--python", python, *names)
            case ["python", "-m", "build", *arguments]:
                _call(here, sys.executable, "-m", "build", *arguments)
            case ["useradd", *arguments] if "--create-home" in arguments:
                home = arguments[arguments.index("--home-dir") + 1]
                self.tree.path(home).mkdir(parents=True)
            case _:
                raise ValueError(f"it is not known what this does in an image: {command}")


def _found(folder: Path, argument: str) -> list[str | Path]:
    """Return the files of a pattern as a shell does, else the argument."""
    return [*folder.glob(argument)] if "*" in argument else [argument]


def _call(folder: Path, *command: str | Path) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE)
