"""How much the random tests draw: few examples in `make test`, many in `make test-deep`."""

import os

DEEP = bool(os.environ.get("DEEP"))


def drawn(few: int, many: int) -> int:
    """How many examples, steps or rounds to draw in this run."""
    return many if DEEP else few
