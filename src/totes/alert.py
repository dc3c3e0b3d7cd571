"""Tell a person: a JSON message to the operator's command, to an SNS topic, or to both."""

import json
import logging
import shlex
import subprocess
from dataclasses import dataclass

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 30

_SUBJECT_CHARACTERS = 99
"""What SNS takes as the subject of a mail."""


@dataclass(frozen=True)
class Alarm:
    """Whom to tell: the command `command`, the topic with the ARN `topic`, or nobody."""

    command: str | None = None
    topic: str | None = None


def alert(alarm: Alarm, message: dict[str, object]) -> None:
    """Hand on `message`; what goes wrong there is logged and stops nothing."""
    text = json.dumps(message, default=str)
    if alarm.command:
        _run(alarm.command, text)
    if alarm.topic:
        _publish(
            alarm.topic, f"totes {message.get('stage', '')}: {message.get('message', '')}", text
        )


def _publish(topic: str, subject: str, text: str) -> None:
    import boto3  # noqa: PLC0415  who has no topic needs no AWS
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    patience = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 3})
    line = "".join(c if " " <= c <= "~" else "?" for c in subject)[:_SUBJECT_CHARACTERS]
    region = (topic.split(":") + [""] * 4)[3] or None
    try:
        client = boto3.client("sns", region_name=region, config=patience)
        client.publish(TopicArn=topic, Subject=line, Message=text)
    except (BotoCoreError, ClientError, ValueError) as error:
        log.warning("The alert topic failed: %s.", " ".join(str(error).split()).rstrip("."))


def _run(command: str, text: str) -> None:
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
