"""Clients of AWS services, and what their errors mean.

Credentials come from boto3's standard chain, as those of the AWS CLI do: the variables `AWS_…`, the
profiles in ~/.aws (keys, single sign-on, `credential_process`), or the role of the container,
function or machine.

This module is not in aws/, which imports the stages; lake and secrets need these clients, too.
"""

import os
from functools import cache
from threading import Lock
from typing import Any, NamedTuple

from boto3.session import Session
from botocore import exceptions as aws
from botocore.config import Config

type AwsError = aws.BotoCoreError | aws.ClientError

AWS_ERRORS = (aws.BotoCoreError, aws.ClientError)
"""The classes of AwsError, for `except`."""

SHORT_TIMEOUTS = Config(connect_timeout=2, read_timeout=4, retries={"total_max_attempts": 3})
"""A Lambda function that waits costs money: six seconds per attempt at most.

For all services but S3, whose options are `_CONFIG` in lake/s3.py.
"""


def aws_client(service: str, name_or_arn: str = "", config: Config = SHORT_TIMEOUTS) -> Any:
    """Return the client of this process for a service and region; threads can share it.

    The region is that of an ARN, else AWS_REGION, else what boto3 reads: AWS_DEFAULT_REGION or the
    profile. Raises AwsError if the configuration of AWS is invalid, or has no region.
    """
    region = name_or_arn.split(":")[3] if name_or_arn.count(":") > 3 else ""  # noqa: PLR2004
    # boto3 ignores AWS_REGION, unlike other AWS SDKs.
    return _client(service, region or os.environ.get("AWS_REGION") or None, config)


_CREATION = Lock()
"""boto3 can't create two clients of a session at once."""


@cache
def _session() -> Session:
    """Return the session of all clients, as it takes long to read what AWS's regions are."""
    return Session()


@cache
def _client(service: str, region: str | None, config: Config) -> Any:
    try:
        with _CREATION:
            return _session().client(service, region_name=region, config=config)
    except ValueError as error:  # raised by boto3 for a malformed endpoint
        raise aws.InvalidConfigError(error_msg=str(error)) from error


def current_credentials() -> Any:
    """Return the credentials that boto3's standard chain finds now, for other libraries.

    Raises AwsError if there are none.
    """
    credentials = Session().get_credentials()
    if credentials is None:
        raise aws.NoCredentialsError
    return credentials.get_frozen_credentials()


class Explanation(NamedTuple):
    """The reason for a failure, and what to do."""

    reason: str
    advice: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.advice}"


UNREACHABLE = Explanation(
    "the service can't be reached", "check the network and, if used, AWS_ENDPOINT_URL"
)

INTERRUPTIONS = (aws.HTTPClientError, aws.IncompleteReadError)
"""Errors of a connection that broke during a request or a response."""

_RENEW = (
    "sign in again (`aws sso login`), or renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if "
    "used, AWS_SESSION_TOKEN"
)
_INVALID = Explanation("the credentials are not valid", _RENEW)
_EXPIRED = Explanation("the credentials have expired", _RENEW)

_EXPLANATIONS = {
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "IncompleteSignature": _INVALID,
    "InvalidAccessKeyId": _INVALID,
    "InvalidClientTokenId": _INVALID,
    "InvalidSignatureException": _INVALID,
    "InvalidToken": _INVALID,
    "SignatureDoesNotMatch": _INVALID,
    "UnrecognizedClientException": _INVALID,
    "RequestTimeTooSkewed": Explanation("this machine's clock is wrong", "synchronize it"),
}
"""Explanations by the error code of a response, whichever service sends it."""

_CLIENT_ERRORS: dict[tuple[type[Exception], ...], Explanation] = {
    (aws.NoRegionError,): Explanation(
        "no AWS region is set", "set AWS_REGION, or a region in the profile of ~/.aws"
    ),
    (aws.NoCredentialsError, aws.PartialCredentialsError): Explanation(
        "no credentials were found",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this machine"
        " a role",
    ),
    (
        aws.CredentialRetrievalError,
        aws.LoginError,
        aws.RefreshWithMFAUnsupportedError,
        aws.SSOError,
        aws.TokenRetrievalError,
    ): Explanation(
        "the credentials can't be loaded",
        "sign in again (`aws sso login`), or check the profile that AWS_PROFILE names",
    ),
    (
        aws.ConfigNotFound,
        aws.ConfigParseError,
        aws.EndpointProviderError,
        aws.InvalidConfigError,
        aws.InvalidRegionError,
        aws.ProfileNotFound,
    ): Explanation(
        "AWS's settings are not valid",
        "correct AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL or ~/.aws",
    ),
    (aws.SSLError,): Explanation(
        "no secure connection can be made",
        "correct AWS_ENDPOINT_URL, or set AWS_CA_BUNDLE to the file of its CA certificate",
    ),
    (aws.ConnectionError, *INTERRUPTIONS): UNREACHABLE,
}
"""Explanations by the class of an error without a response; the first that matches."""


def explain(error: AwsError) -> Explanation | None:
    """Return the reason for an error that any service may have; None for those of one service."""
    if isinstance(error, aws.ClientError):
        return _EXPLANATIONS.get(error_code(error))
    matches = (text for classes, text in _CLIENT_ERRORS.items() if isinstance(error, classes))
    return next(matches, None)


def describe(error: AwsError) -> str:
    """Return the reason for an error in one line, and what to do if that is known."""
    return str(explain(error) or " ".join(str(error).split()).rstrip("."))


def error_code(error: aws.ClientError) -> str:
    """Return the error code of a service's response."""
    return str(error.response.get("Error", {}).get("Code"))
