"""The tool that builds a commit's container image and pushes it."""

import json
import os
import subprocess
from pathlib import Path

import push_image
import pytest
from moto_server import Moto
from push_image import NotPushed, push

pytestmark = pytest.mark.usefixtures("as_operator")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` that writes its arguments and input into a file, which is returned."""
    calls = tmp_path / "calls"
    docker = tmp_path / "docker"
    docker.write_text(
        f'#!/bin/sh\nexec >> {calls}\necho "$@"\n[ "$1" != login ] || {{ cat; echo; }}\n'
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return calls


def test_an_image_is_built_and_pushed_once_for_each_commit(
    moto: Moto, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_image, "check_is_commit", lambda _: None)
    ecr = moto.client("ecr")
    made = ecr.create_repository(repositoryName="totes-dev", imageTagMutability="IMMUTABLE")
    name = f"{made['repository']['repositoryUri']}:0123abc"
    registry, _ = name.split("/")
    arn = made["repository"]["repositoryArn"]
    assert push(arn, name)
    build, login, token, pushed = engine.read_text().splitlines()
    assert build == f"build --platform linux/amd64 --file deploy/Containerfile --tag {name} ."
    assert login == f"login --username AWS --password-stdin {registry}"
    assert token
    assert pushed == f"push {name}"

    engine.unlink()
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    ecr.put_image(
        repositoryName="totes-dev",
        imageManifest=json.dumps({"schemaVersion": 2, "mediaType": kind, "config": {}}),
        imageTag="0123abc",
    )
    assert not push(arn, name)
    assert not engine.exists()


def test_an_image_is_built_from_nothing_but_the_commit_of_its_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=who", "-c", "user.email=who@example.com")
        return subprocess.check_output(["git", *who, *arguments], cwd=tmp_path, text=True).strip()

    monkeypatch.setattr(push_image, "ROOT", tmp_path)
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "first")
    (tmp_path / "src").mkdir()
    (tmp_path / "notes").touch()
    head = git("rev-parse", "HEAD")
    push_image.check_is_commit(head)
    with pytest.raises(NotPushed, match=f"built from {head}: check out v9 first"):
        push_image.check_is_commit("v9")
    (tmp_path / "src" / "program.py").touch()
    with pytest.raises(NotPushed, match="commit src/ first"):
        push_image.check_is_commit(head)
