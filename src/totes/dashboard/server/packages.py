"""Whether the dashboard's packages are installed; this module imports none of them."""

from importlib.util import find_spec

from totes.errors import UsageError

NOT_INSTALLED = (
    "The dashboard's packages are not installed. Install requirements-dashboard.txt of the "
    "checkout with pip, as described in docs/running.md."
)


def is_installed() -> bool:
    """Return whether the dashboard's packages are installed."""
    return all(find_spec(name) for name in ("streamlit", "altair", "pandas", "authlib", "limits"))


def require_packages() -> None:
    """Raise UsageError if the dashboard's packages are not installed."""
    if not is_installed():
        raise UsageError(NOT_INSTALLED)
