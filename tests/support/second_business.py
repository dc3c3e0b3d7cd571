"""The business of docs/your-own-database.md: the page, its files, and its star."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "your-own-database.md").read_text(encoding="utf-8")

BLOCKS = re.findall(r"^```\w+\n(?:--|#) (.+?)\n(.+?)^```$", PAGE, re.DOTALL | re.MULTILINE)
"""The page's files by their names, and its example query."""


def write_files(folder: Path) -> Path:
    """Write the files of the page, and return the folder of its star."""
    for name, content in BLOCKS[:-1]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder / "star"
