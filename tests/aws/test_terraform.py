"""Terraform's code: format, descriptions, and its own tests, without an account.

tests/aws/deployment applies it to moto.
"""

import platform
import re
import shutil
from ipaddress import ip_network
from itertools import combinations
from pathlib import Path

import check_provider
import pytest
from depth import sample
from terraform_cli import MissingToolError, Terraform, terraform_program

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


def test_the_networks_of_no_two_environments_overlap() -> None:
    """A totesys that is peered with both could answer only one of them."""
    networks = {}
    for path in sorted(CODE.glob("*.tfvars")):
        [cidr] = re.findall(r'^network_cidr\s*= "(.+?)"', path.read_text(), re.MULTILINE)
        networks[path.stem] = ip_network(cidr)
    assert {"dev", "prod"} <= networks.keys()
    assert not [
        (first, second)
        for first, second in combinations(networks, 2)
        if networks[first].overlaps(networks[second])
    ]


def test_the_code_is_formatted() -> None:
    try:
        assert not Terraform(CODE)("fmt", "-check", "-recursive", "-diff", accept=(0, 3))
    except MissingToolError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """A copy of the code, initialized with this machine's plug-ins, without state and account."""
    folder = tmp_path_factory.mktemp("terraform") / "code"
    shutil.copytree(
        CODE, folder, ignore=shutil.ignore_patterns(".terraform*", "demo", "*.tfstate*")
    )
    terraform = Terraform(folder)
    try:
        terraform_program()
        terraform.init("-backend=false")
    except MissingToolError as missing:
        pytest.skip(str(missing))
    return terraform


def test_terraforms_own_tests_pass(copy: Terraform) -> None:
    """All files of one environment's variables in one call: loading the provider takes long."""
    files = sorted(path.name for path in (copy.folder / "tests").glob("*.tftest.hcl"))
    assert len(files) > 5
    environments = ["dev", "prod"]
    drawn = sample(1, [*files, *environments], "terraform")
    if selected := [name for name in drawn if name in files]:
        output = copy("test", "-no-color", *(f"-filter=tests/{name}" for name in selected))
        texts = [(copy.folder / "tests" / name).read_text() for name in selected]
        assert f"{sum(text.count('\nrun "') for text in texts)} passed, 0 failed" in output
    for environment in {*drawn} & {*environments}:
        options = ("-test-directory=tests/environments", f"-var-file={environment}.tfvars")
        assert "1 passed, 0 failed" in copy("test", "-no-color", *options)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the hash is of linux_amd64")
def test_the_provider_of_the_tests_is_the_pinned_one(copy: Terraform) -> None:
    assert check_provider.main(copy.folder) is None
