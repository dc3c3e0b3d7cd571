"""MkDocs' hook for `make site`: pages from outside docs/, and links to files outside docs/."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files in the repository's root that are pages of the site."""
DECISIONS = "decisions/index.md"

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside docs/, and the list of decisions."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    files.append(File.generated(config, DECISIONS, content=_decisions()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Point each relative link at its page of the site, or at its file in the repository."""
    name = page.file.src_uri
    source = next((key for key, value in OUTSIDE.items() if value == name), f"docs/{name}")
    return _LINK.sub(lambda found: _link(found, source, name, config.repo_url or ""), markdown)


def _link(found: re.Match[str], source: str, page: str, repository: str) -> str:
    """Return a link in the repository's file `source`, rewritten for the site's `page`."""
    picture, text, target = found.groups()
    path, hash_, anchor = target.partition("#")
    if not path or ":" in path:
        return found[0]
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if not (ROOT / file).exists():
        return found[0]  # MkDocs reports it
    if file == "docs/decisions":
        there = DECISIONS
    elif file.startswith("docs/"):
        there = file.removeprefix("docs/")
    elif file in OUTSIDE:
        there = OUTSIDE[file]
    else:
        return f"[{text}]({repository.rstrip('/')}/blob/main/{file})" if repository else text
    return f"{picture}[{text}]({posixpath.relpath(there, posixpath.dirname(page))}{hash_}{anchor})"


def _decisions() -> str:
    """Return a page that lists the decisions by their titles."""
    lines = ["# Decisions", "", "Each explains one choice and its alternatives.", ""]
    for path in sorted((ROOT / "docs" / "decisions").glob("0*.md")):
        title = path.read_text().splitlines()[0].removeprefix("# ")
        number, _, words = title.partition(". ")
        lines.append(f"- [{number}. {words}]({path.name})")
    return "\n".join(lines) + "\n"
