"""Ask pip-audit for known vulnerabilities, and say plainly what it could not find out."""

import json
import subprocess
import sys
from pathlib import Path


def audit(requirements: list[str]) -> int:
    command = [str(Path(sys.executable).with_name("pip-audit")), "--format=json"]
    command += ["--require-hashes", "--disable-pip", "--progress-spinner=off", "--timeout=10"]
    command += [f"--requirement={path}" for path in requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print("audit: the vulnerability database can't be reached; NOTHING WAS AUDITED.")
        return 0
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if unknown:
        print(
            f"audit: the database has no answer for {len(unknown)} of {len(packages)} packages; "
            "THEY WERE NOT AUDITED."
        )
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        for found in package["vulns"]:
            mended = ", ".join(found["fix_versions"]) or "no version yet"
            print(
                f"audit: {package['name']} {package['version']}: {found['id']}, mended in {mended}"
            )
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(audit(sys.argv[1:]))
