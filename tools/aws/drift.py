"""Report how an environment differs from main: one issue for each environment.

    terraform show -json plan | python3 tools/aws/drift.py changes > changes.txt
    python3 tools/aws/drift.py report dev changes.txt

The issue is opened when there are changes, updated when they are others, and closed when there are
none. Needs Python and the program `gh` only.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MAX_LINES = 200
"""How many changes an issue lists: its text has a maximum length."""


TEXT = """A deployment of main would change this in {environment}:

```
{lines}
```

Somebody has changed it by hand, or a commit of main was not deployed. The plan is in the last run
of the workflow `drift`. To return to main, run the workflow `deploy`; to keep a change, write it
into terraform/. The first daily plan without a difference closes this issue.
"""


def changes(plan: Mapping[str, Any]) -> list[str]:
    """Return a line for each resource that a plan changes: how, and its address.

    Values are left out: issues may be public.
    """
    lines = [
        f"{' and '.join(change['change']['actions'])}: {change['address']}"
        for change in plan.get("resource_changes", ())
        if change["change"]["actions"] not in (["no-op"], ["read"])
    ]
    return sorted(lines)


def report(environment: str, differences: Sequence[str]) -> None:
    """Open, update or close the environment's issue."""
    title = f"Drift: {environment} differs from main"
    text = issue_text(environment, differences)
    found = gh("list", "--state=open", "--app=github-actions", "--json=number,title,body")
    issue = next((one for one in json.loads(found) if one["title"] == title), None)
    if issue is None:
        if differences:
            gh("create", f"--title={title}", f"--body={text}")
    elif not differences:
        gh("close", str(issue["number"]), "--comment=The plan of today has no difference.")
    elif issue["body"].split() != text.split():
        gh("edit", str(issue["number"]), f"--body={text}")


def issue_text(environment: str, differences: Sequence[str]) -> str:
    """Return the text of an issue."""
    more = len(differences) - MAX_LINES
    lines = [*differences[:MAX_LINES], *([f"and {more} more"] if more > 0 else [])]
    return TEXT.format(environment=environment, lines="\n".join(lines))


def gh(*arguments: str) -> str:
    """Run `gh issue`, which GH_REPO and GH_TOKEN direct, and return its output."""
    command = ["gh", "issue", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["changes"]:
            for line in changes(json.load(sys.stdin)):
                print(line)
        case ["report", environment, file]:
            report(environment, Path(file).read_text(encoding="utf-8").splitlines())
        case _:
            print(__doc__)
            return os.EX_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
