"""Terraform's code, without an account: its form, its own tests, and that all of it is described.

What applying it does is shown against moto, by the demonstration's test.
"""

import re
import shutil
from pathlib import Path

import pytest
from cloud import Missing, Terraform, terraform_program

ROOT = Path(__file__).parents[2]
CODE = ROOT / "terraform"


def test_every_variable_and_output_is_described() -> None:
    blocks = [
        (path.relative_to(CODE), found[1], found[2])
        for path in CODE.rglob("*.tf")
        if ".terraform" not in path.parts
        for found in re.finditer(
            r'^((?:variable|output) "\w+") \{\n(.*?)^\}', path.read_text(), re.MULTILINE | re.DOTALL
        )
    ]
    assert len(blocks) > 100
    assert not [
        f"{path}: {name}"
        for path, name, body in blocks
        if not re.search(r'^  description\s+= "\S.{10,}"$', body, re.MULTILINE)
    ]


def test_every_exception_from_checkov_has_its_reason() -> None:
    skips = [
        (path.relative_to(CODE), line.strip())
        for path in CODE.rglob("*.tf")
        if ".terraform" not in path.parts
        for line in path.read_text().splitlines()
        if "checkov:skip" in line
    ]
    wrong = [skip for skip in skips if not re.match(r"#checkov:skip=CKV2?_\w+:\S.{8,}", skip[1])]
    assert skips
    assert not wrong


def test_the_code_is_formatted() -> None:
    try:
        assert not Terraform(CODE)("fmt", "-check", "-recursive", "-diff", accept=(0, 3))
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Of all the code, with the plug-ins of this machine; no state, no account."""
    folder = tmp_path_factory.mktemp("terraform") / "code"
    shutil.copytree(
        CODE, folder, ignore=shutil.ignore_patterns(".terraform*", "demo", "*.tfstate*")
    )
    terraform = Terraform(folder)
    try:
        terraform_program()
        terraform.init("-backend=false")
    except Missing as missing:
        pytest.skip(str(missing))
    return terraform


def test_terraforms_own_tests_pass(copy: Terraform) -> None:
    """All in one call: what costs time is reading the provider, for each anew."""
    said = copy("test", "-no-color")
    files = sorted((copy.folder / "tests").glob("*.tftest.hcl"))
    runs = sum(path.read_text().count('\nrun "') for path in files)
    assert len(files) > 5
    assert f"{runs} passed, 0 failed" in said


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_what_is_deployed_is_what_its_variable_file_should_say(
    copy: Terraform, environment: str
) -> None:
    chosen = ("-test-directory=tests/environments", f"-var-file={environment}.tfvars")
    said = copy("test", "-no-color", *chosen)
    assert "1 passed, 0 failed" in said
