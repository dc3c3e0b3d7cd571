"""Report known vulnerabilities of our requirements, found by pip-audit.

Where the vulnerability database can't be reached, that is reported and passes, so that `make check`
works offline. `AUDIT_REQUIRED=1`, as the GitHub workflow sets it, makes it an error.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def audit(requirements: str, *, required: bool) -> int:
    """Audit one file of hashed requirements and print what was found.

    Returns the exit code: 1 for a vulnerability, or for a package that was not audited although
    that is `required`; otherwise 0.
    """
    command = [str(Path(sys.executable).with_name("pip-audit")), "--format=json"]
    command += ["--require-hashes", "--disable-pip", "--progress-spinner=off", "--timeout=10"]
    command += [f"--requirement={requirements}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(f"audit: the vulnerability database can't be reached; {requirements} NOT AUDITED.")
        print(*done.stderr.splitlines()[-1:], file=sys.stderr)
        return int(required)
    vulnerabilities, unaudited = findings(packages)
    for line in vulnerabilities:
        print(f"audit: {requirements}: {line}")
    if unaudited:
        print(
            f"audit: {requirements}: the database has no answer for {unaudited} of "
            f"{len(packages)} packages; THEY WERE NOT AUDITED."
        )
    return int(bool(vulnerabilities) or (required and unaudited > 0))


def findings(packages: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Read pip-audit's `dependencies`: a line for each vulnerability, and how many it skipped."""
    vulnerabilities = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in "
        + (", ".join(found["fix_versions"]) or "no version yet")
        for package in packages
        for found in package.get("vulns", ())
    ]
    return vulnerabilities, sum("skip_reason" in package for package in packages)


if __name__ == "__main__":
    required = os.environ.get("AUDIT_REQUIRED") == "1"
    sys.exit(max([audit(path, required=required) for path in sys.argv[1:]]))
