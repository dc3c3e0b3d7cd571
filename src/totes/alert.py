"""Alerts: a JSON message to the operator's command, to an SNS topic, or to both.

This module is not in notifications/, which imports the stages' runner: the runner sends alerts.
"""

import json
import logging
import shlex
import subprocess
from dataclasses import dataclass

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 30

_MAX_SUBJECT_CHARACTERS = 99
"""SNS rejects the subject of a mail with 100 characters or more."""


@dataclass(frozen=True)
class AlertTargets:
    """Where alerts are sent: a command line and the ARN of an SNS topic, each None if not set."""

    command: str | None = None
    topic: str | None = None


def send_alert(targets: AlertTargets, message: dict[str, object]) -> bool:
    """Send `message` to all targets; return whether that worked. A failure is logged."""
    text = json.dumps(message, default=str)
    sent = True
    if targets.command:
        sent = _run_command(targets.command, text)
    if targets.topic:
        subject = f"totes {message.get('stage', '')}: {message.get('message', '')}"
        sent = publish(targets.topic, subject, text, "alert") and sent
    return sent


def publish(topic: str, subject: str, text: str, what: str) -> bool:
    """Send an alert or a report to an SNS topic; return whether that worked.

    A failure is logged. `what` is the kind of message, such as alert.
    """
    from totes.aws_client import AWS_ERRORS, aws_client, describe  # noqa: PLC0415  slow to import

    ascii_subject = "".join(c if " " <= c <= "~" else "?" for c in subject)
    try:
        client = aws_client("sns", topic)
        client.publish(
            TopicArn=topic, Subject=ascii_subject[:_MAX_SUBJECT_CHARACTERS], Message=text
        )
    except AWS_ERRORS as error:
        log.warning("The %s topic failed: %s.", what, describe(error))
        return False
    return True


def _run_command(command: str, text: str) -> bool:
    try:
        subprocess.run(  # noqa: S603  the operator's own command, split without a shell
            shlex.split(command),
            input=text,
            text=True,
            check=True,
            timeout=_TIMEOUT_SECONDS,
            capture_output=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("The alert command failed: %s.", _reason(error))
        return False
    return True


def _reason(error: Exception) -> str:
    """Return the reason for a failure without the command, whose arguments can hold a secret."""
    match error:
        case subprocess.CalledProcessError():
            return f"its exit code is {error.returncode}"
        case subprocess.TimeoutExpired():
            return f"it took more than {_TIMEOUT_SECONDS} s"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return str(error)
