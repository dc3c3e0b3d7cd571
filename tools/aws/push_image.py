"""Build the container image of a commit and push it to the deployed registry, unless it is there.

The tag is the commit, and the registry never replaces a tag: an image is what its commit says.
"""

import base64
import shutil
import subprocess
import sys
from typing import Any

from terraform_outputs import ROOT, output

from totes.aws_client import AWS_ERRORS, aws_client, describe

CONTAINERFILE = "deploy/Containerfile"
SOURCES = (
    CONTAINERFILE,
    "LICENSE",
    "README.md",
    "data",
    "pyproject.toml",
    "requirements*.txt",
    "src",
)
"""What the image is built from."""

PLATFORM = "linux/amd64"
"""Of the task definitions."""


class NotPushed(Exception):
    """An image that can't be built or pushed, with what to do."""


def push(arn: str, image: str) -> bool:
    """Push an image, named by URL and tag, to its repository; return false if it is there."""
    repository, tag = image.rsplit(":", 1)
    registry, name = repository.split("/", 1)
    ecr = aws_client("ecr", arn)
    if has_tag(ecr, name, tag):
        return False
    check_is_commit(tag)
    engine = find_engine()
    build = [engine, "build", "--platform", PLATFORM, "--file", CONTAINERFILE, "--tag", image, "."]
    subprocess.run(build, cwd=ROOT, check=True)
    [access] = ecr.get_authorization_token()["authorizationData"]
    user, password = base64.b64decode(access["authorizationToken"]).decode().split(":", 1)
    login = [engine, "login", "--username", user, "--password-stdin", registry]
    subprocess.run(login, input=password, text=True, check=True)
    subprocess.run([engine, "push", image], check=True)
    return True


def has_tag(ecr: Any, repository: str, tag: str) -> bool:
    """Return whether a repository has an image with this tag."""
    try:
        ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
    except ecr.exceptions.ImageNotFoundException:
        return False
    return True


def check_is_commit(tag: str) -> None:
    """Raise NotPushed if the image would not be what its tag, a commit, says."""
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    if tag != head:
        raise NotPushed(f"the image is built from {head}: check out {tag} first")
    command = ["git", "status", "--porcelain", "--", *SOURCES]
    changed = subprocess.check_output(command, cwd=ROOT, text=True).split()[1::2]
    if changed:
        raise NotPushed(f"the image's tag is the commit: commit {', '.join(changed)} first")


def find_engine() -> str:
    """Return the program that builds and pushes images; NotPushed if there is none."""
    for name in ("docker", "podman"):
        if engine := shutil.which(name):
            return engine
    raise NotPushed("install docker or podman, which build and push the image")


def main() -> int:
    [tag] = sys.argv[1:]
    repository = output("image_repository")
    if repository is None:
        print("image: task_enabled is false: there is no repository")
        return 1
    image = f"{repository['url']}:{tag}"
    try:
        done = "pushed" if push(repository["arn"], image) else "is already there"
    except NotPushed as error:
        print(f"image: {error}")
        return 1
    except AWS_ERRORS as error:
        print(f"image: {describe(error)}")
        return 1
    except subprocess.CalledProcessError as error:
        print(f"image: {' '.join(error.cmd[:2])} ended with exit code {error.returncode}")
        return 1
    print(f"{image} {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
