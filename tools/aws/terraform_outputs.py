"""What Terraform deployed, from its outputs."""

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def output(name: str) -> Any:
    """Return an output of the environment that terraform/ was last initialized for."""
    command = ["terraform", f"-chdir={ROOT / 'terraform'}", "output", "-json", name]
    try:
        return json.loads(subprocess.check_output(command))
    except subprocess.CalledProcessError:
        raise SystemExit(
            f"Terraform has no output {name}: choose the environment with `make init ENV=…`, and "
            "deploy it"
        ) from None
