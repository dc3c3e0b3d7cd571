"""Terraform's provider is compared with the pinned one."""

from pathlib import Path

import check_provider
import pytest

REGISTRY = """
provider "example.org/hashicorp/aws" {
  version     = "5.100.0"
  hashes = [
    "h1:ofAnotherPlatform+/=",
    "zh:00ff",
    "zh:11ff",
  ]
}
"""
MIRROR = 'hashes = [\n  "h1:abc+/=",\n]'


@pytest.mark.parametrize(
    ("lock", "known", "unknown"),
    [
        (REGISTRY, "# a comment\nzh:00ff\nzh:11ff\nzh:22ff\n", []),
        (REGISTRY, "zh:00ff\nh1:ofAnotherPlatform+/=\n", ["zh:11ff"]),
        (MIRROR, "zh:00ff\nh1:abc+/=\n", []),
        (MIRROR, "zh:00ff\nh1:abc+/\n", ["h1:abc+/="]),
    ],
)
def test_a_provider_with_an_unknown_hash_is_found(
    lock: str, known: str, unknown: list[str]
) -> None:
    assert check_provider.unknown_hashes(lock, known) == unknown


def test_the_message_names_the_file_and_the_hash(tmp_path: Path) -> None:
    (tmp_path / ".terraform.lock.hcl").write_text(MIRROR)
    message = check_provider.main(tmp_path)
    assert message is not None
    assert "\n" not in message
    assert f"{tmp_path}/.terraform.lock.hcl" in message
    assert "h1:abc+/=" in message


def test_a_folder_that_is_not_initialized_is_no_success(tmp_path: Path) -> None:
    (tmp_path / ".terraform.lock.hcl").write_text("# nothing\n")
    assert "no hashes" in str(check_provider.main(tmp_path))
