"""`make audit`: a vulnerability fails it, and so does a database it can't reach, where required."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from audit import findings

ROOT = Path(__file__).parents[2]

UNREACHABLE = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


@pytest.mark.parametrize(("required", "code"), [("1", 1), ("", 0)])
def test_a_database_that_cannot_be_reached_fails_the_audit_where_it_is_required(
    required: str, code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "tools/audit.py", "requirements-site.txt"],
        cwd=ROOT,
        env=os.environ | UNREACHABLE | {"AUDIT_REQUIRED": required},
        check=False,
        capture_output=True,
        text=True,
    )
    assert "requirements-site.txt NOT AUDITED" in done.stdout
    assert done.returncode == code


def test_vulnerable_and_unaudited_packages_are_both_found() -> None:
    safe = {"name": "safe", "version": "1", "vulns": []}
    skipped = {"name": "unknown", "skip_reason": "not on the index"}
    fixed = {"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}
    unfixed = {"id": "CVE-2", "fix_versions": []}
    weak = {"name": "weak", "version": "1.0", "vulns": [fixed, unfixed]}
    assert findings([safe, skipped, weak]) == (
        [
            "weak 1.0: CVE-1, fixed in 1.1, 2.0",
            "weak 1.0: CVE-2, fixed in no version yet",
        ],
        1,
    )
