"""The questions of docs/queries.md, each in a file that PostgreSQL and DuckDB run."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Question:
    """A title, which is trusted Markdown, and a statement."""

    title: str
    sql: str


@cache
def questions() -> tuple[Question, ...]:
    """Return the questions in the order of the document."""
    folder = files("totes.dashboard.explore.worked")
    named = sorted((one.name, one) for one in folder.iterdir() if one.name.endswith(".sql"))
    return tuple(_parse(one.read_text(encoding="utf-8")) for _, one in named)


def _parse(text: str) -> Question:
    """Return the question of a file: a comment with the title, then the statement."""
    title, _, sql = text.partition("\n")
    return Question(title.removeprefix("-- "), sql.strip().removesuffix(";"))
