"""Tell a person: run the operator's command with a JSON message on its standard input."""

import json
import logging
import shlex
import subprocess

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 30


def alert(command: str | None, message: dict[str, object]) -> None:
    """Hand `message` to `command`; what goes wrong there is logged and stops nothing."""
    if not command:
        return
    try:
        subprocess.run(  # noqa: S603  the operator's own command, split without a shell
            shlex.split(command),
            input=json.dumps(message, default=str),
            text=True,
            check=True,
            timeout=_TIMEOUT_SECONDS,
            capture_output=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("The alert command failed: %s.", _reason(error))


def _reason(error: Exception) -> str:
    """What went wrong, without the command: its arguments may name a webhook, or hold a token."""
    match error:
        case subprocess.CalledProcessError():
            return f"it ended with {error.returncode}"
        case subprocess.TimeoutExpired():
            return f"it took more than {_TIMEOUT_SECONDS} s"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return str(error)
