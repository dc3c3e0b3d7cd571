"""Give the dashboard's load balancer the client secret of its provider, from Secrets Manager.

Terraform would keep the secret in its state, so it sets a placeholder, with which no user can sign
in. Run this after the dashboard's first deployment, for a new client secret, and whenever Terraform
has changed the sign-in. Users who are signed in stay so.
"""

import sys
from typing import Any

from terraform_outputs import output

from totes.aws_client import AWS_ERRORS, aws_client, describe
from totes.config.secrets import read_secret_fields
from totes.errors import UsageError

FIELD = "client_secret"


def set_client_secret(balancing: Any, listener: str, value: str) -> None:
    """Set the client secret with which users sign in at a listener; the rest stays as it is."""
    [found] = balancing.describe_listeners(ListenerArns=[listener])["Listeners"]
    for action in found["DefaultActions"]:
        if action["Type"] == "authenticate-oidc":
            action["AuthenticateOidcConfig"]["ClientSecret"] = value
    balancing.modify_listener(ListenerArn=listener, DefaultActions=found["DefaultActions"])


def main() -> str | None:
    """Return what is wrong, or None."""
    dashboard = output("dashboard")
    if dashboard is None or dashboard[FIELD] is None:
        return "Terraform deployed no dashboard whose users sign in by OpenID Connect."
    listener, secret = dashboard["listener"], dashboard[FIELD]
    try:
        fields = read_secret_fields(secret, "of Terraform's output dashboard", [FIELD])
        if not fields:
            return f"The secret {secret} has no {FIELD}."
        set_client_secret(aws_client("elbv2", listener), listener, fields[FIELD])
    except UsageError as error:
        return str(error)
    except AWS_ERRORS as error:
        return f"The load balancer can't be changed: {describe(error)}."
    print("The load balancer has the client secret: users can sign in.")
    return None


if __name__ == "__main__":
    sys.exit(main())
