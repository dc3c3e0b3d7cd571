"""Check that Terraform's provider is the pinned one, by the hashes in its lock file.

    python3 tools/aws/check_provider.py terraform

Needs only Python, as `make init` may run without a virtual environment.
"""

import re
import sys
from pathlib import Path

KNOWN = Path(__file__).parents[2] / "terraform" / "provider-hashes.txt"


def unknown_hashes(lock: str, known: str) -> list[str]:
    """Return the hashes of a lock file that the text `known` does not list, one on a line.

    From a registry, Terraform accepts only an archive with one of the hashes zh, and adds the hash
    h1 of its contents. From a mirror it writes h1 alone.
    """
    hashes = re.findall(r'"(zh:\w+|h1:[\w+/=]+)"', lock)
    archives = [one for one in hashes if one.startswith("zh:")]
    return sorted({*(archives or hashes)} - {*known.splitlines()})


def main(folder: Path) -> str | None:
    """Return what is wrong with the providers of an initialized folder, or None."""
    lock = folder / ".terraform.lock.hcl"
    text = lock.read_text(encoding="utf-8")
    if "hashes" not in text:
        return f"{lock} has no hashes of providers: run terraform init"
    if unknown := unknown_hashes(text, KNOWN.read_text(encoding="utf-8")):
        return (
            f"{lock}: Terraform's provider is not the pinned one, {KNOWN.name} does not list"
            f" {', '.join(unknown)}. Do not run it: see where it was downloaded from"
        )
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
