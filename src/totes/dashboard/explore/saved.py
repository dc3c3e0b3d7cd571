"""Saved views: names of queries of the Explore page, each in a file of its own."""

import json
import logging
import os
import tempfile
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from pydantic import TypeAdapter

from totes.escape import escape_controls

LOG = logging.getLogger(__name__)

MAX_NAME_LENGTH = 100
MAX_VIEWS = 500
MAX_FILE_BYTES = 64 << 10

type Query = dict[str, str | list[str]]


class SaveError(Exception):
    """A view is not saved; the message says why."""


@dataclass(frozen=True)
class SavedView:
    """A name for the query of an Explore page's URL, and who saved it ("" without sign-in)."""

    name: str
    query: Query
    user: str = ""


_VIEW = TypeAdapter(SavedView)


class SavedViews:
    """The views in a folder, which several dashboards may use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> list[SavedView]:
        """Return the views by name; files that can't be read are left out."""
        views = [_read(file) for file in self._folder.glob("*.json")]
        return sorted(filter(None, views), key=lambda view: (view.name.lower(), view.name))

    def save(self, view: SavedView) -> None:
        """Save a view. Raises SaveError if its name is not valid or exists already."""
        if not view.name or len(view.name) > MAX_NAME_LENGTH:
            raise SaveError(f"Enter a name of at most {MAX_NAME_LENGTH} characters.")
        if view.name != escape_controls(view.name).strip():
            raise SaveError("Enter a name without control characters and surrounding spaces.")
        content = json.dumps(asdict(view))
        if len(content) > MAX_FILE_BYTES:
            raise SaveError("The view is too large.")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if len(list(self._folder.glob("*.json"))) >= MAX_VIEWS:
                raise SaveError(f"There are {MAX_VIEWS} saved views: delete some of them.")
            with tempfile.NamedTemporaryFile("w", dir=self._folder, encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.link(file.name, self._file(view.name))  # fails if it exists
        except OSError as error:
            if self._file(view.name).exists():
                raise SaveError("Another view has this name.") from None
            raise SaveError(f"The view can't be saved: {error.strerror}.") from error

    def delete(self, name: str) -> None:
        """Delete a view if it exists. Raises SaveError if that fails."""
        try:
            self._file(name).unlink(missing_ok=True)
        except OSError as error:
            raise SaveError(f"The view can't be deleted: {error.strerror}.") from error

    def _file(self, name: str) -> Path:
        """Return the file of a name, which may be any text."""
        return self._folder / f"{sha256(name.encode(errors='replace')).hexdigest()[:32]}.json"


def _read(file: Path) -> SavedView | None:
    try:
        with file.open("rb") as opened:
            return _VIEW.validate_json(opened.read(MAX_FILE_BYTES + 1), strict=True)
    except (OSError, ValueError) as error:
        LOG.warning("The saved view %s can't be read: %s", file, error)
        return None
