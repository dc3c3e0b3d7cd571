"""The daily drift plan has one issue for each environment, while it differs from main."""

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import drift
import pytest

GH = """#!/usr/bin/env python3
import json, os, sys
file = os.environ["ISSUES"]
issues = json.load(open(file))
_, command, *arguments = sys.argv[1:]
options = dict(one[2:].split("=", 1) for one in arguments if one.startswith("--"))
if command == "list":
    assert options["state"] == "open" and options["app"] == "github-actions"
    fields = options["json"].split(",")
    print(json.dumps([{name: one[name] for name in fields} for one in issues if one["open"]]))
elif command == "create":
    issues.append({"number": len(issues) + 1, "open": True, **options})
else:
    [issue] = [one for one in issues if one["number"] == int(arguments[0])]
    issue.update({"open": False} if command == "close" else options)
json.dump(issues, open(file, "w"))
"""
"""A program `gh` whose issues are in a file."""


class Issues:
    """The issues of a repository."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._file.read_text())
        return found

    def open(self) -> dict[str, str]:
        """Return the text of each open issue, by title."""
        return {one["title"]: one["body"] for one in self.read() if one["open"]}


@pytest.fixture
def issues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Issues:
    file, program = tmp_path / "issues.json", tmp_path / "gh"
    file.write_text("[]")
    program.write_text(GH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ISSUES", str(file))
    return Issues(file)


DEV, PROD = (f"Drift: {environment} differs from main" for environment in ("dev", "prod"))


def test_each_environment_has_one_issue_while_it_differs(issues: Issues) -> None:
    drift.report("dev", [])
    assert issues.open() == {}
    drift.report("dev", ["update: module.network.aws_vpc.this"])
    drift.report("prod", ["delete: aws_s3_object.bundle"])
    assert issues.open().keys() == {DEV, PROD}
    assert "\nupdate: module.network.aws_vpc.this\n" in issues.open()[DEV]
    drift.report("dev", ["create: module.network.aws_vpc.this"])
    assert "update" not in issues.open()[DEV]
    assert "\ncreate: module.network.aws_vpc.this\n" in issues.open()[DEV]
    drift.report("dev", [])
    assert issues.open().keys() == {PROD}
    drift.report("dev", ["update: module.network.aws_vpc.this"])
    assert [one["title"] for one in issues.read()] == [DEV, PROD, DEV]


def test_a_long_list_is_cut(issues: Issues) -> None:
    drift.report("dev", [f"update: aws_s3_bucket.this[{number}]" for number in range(250)])
    [text] = issues.open().values()
    assert text.count("update:") == drift.MAX_LINES
    assert "and 50 more" in text


def test_a_change_is_its_kind_and_address_without_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = [["no-op"], ["read"], ["update"], ["delete", "create"]]
    plan = {
        "resource_changes": [
            {"address": f"aws_vpc.number_{place}", "change": {"actions": kind, "after": "secret"}}
            for place, kind in enumerate(kinds)
        ]
    }
    for given, lines in (
        (plan, ["delete and create: aws_vpc.number_3", "update: aws_vpc.number_2"]),
        ({"resource_changes": []}, []),
    ):
        monkeypatch.setattr("sys.stdin", StringIO(json.dumps(given)))
        assert drift.main(["changes"]) == 0
        assert capsys.readouterr().out.splitlines() == lines
