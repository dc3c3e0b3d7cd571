"""Sign-in to `totes dashboard` in a real browser, at an OpenID Connect provider on loopback."""

import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT
from typing import Any
from urllib.request import urlopen

import pytest
from browser import Browser
from dashboard_window import NAVIGATION, read_query, wait_for_server
from depth import sample
from installation import Installation
from oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, new_key, oidc_provider

from totes.dashboard.server.web_server import free_port, url
from totes.embedded.servers import EmbeddedServer, Source, prepare_source, prepare_warehouse

pytestmark = pytest.mark.few(1)

COOKIE_SECRET = "a-cookie-secret-of-more-than-32-characters"

VIEWER, OPERATOR, STRANGER = "Viewer@viewers.example", "operator@totes.example", "x@other.example"

SIGN_IN = '[data-testid="stButton"] button'

RECORD_MESSAGES = """
window.messages = '';
window.WebSocket = class extends WebSocket {
    constructor(...given) {
        super(...given);
        this.addEventListener('message', async event => {
            window.messages += await new Response(event.data).text();
        });
    }
};
"""
"""Collects what the server sends."""


@dataclass(frozen=True)
class Dashboard:
    address: str
    provider: Provider
    log: Path
    window: Browser

    def sign_in(self, email: str, path: str = "/") -> None:
        """Open a page as a user who has not signed in yet, and sign in."""
        self.window.driver.delete_all_cookies()
        self.provider.email = email
        self.window.open(f"{self.address}{path}")
        self.window.click(SIGN_IN, "Sign in")


@pytest.fixture(scope="module")
def dashboard(
    server: EmbeddedServer,
    template: Source,
    opened: Browser,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("sign-in")
    source = prepare_source(server.dsn, "sign_in_source", str(template.owner.parts["dbname"]))
    warehouse = prepare_warehouse(server.dsn, "sign_in_warehouse")
    installation = Installation(source.owner, source.reader, warehouse.loader, folder)
    installation.add_orders(5).run()
    port = free_port(wanted=0)
    address, log = url("127.0.0.1", port), folder / "log"
    with oidc_provider() as provider, log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "totes", "--debug", "dashboard", "--port", str(port)],
            env=os.environ
            | installation.environment
            | provider.environment
            | {
                "TOTES_DASHBOARD_DSN": warehouse.reader.reveal(),
                "TOTES_DASHBOARD_URL": address,
                "TOTES_DASHBOARD_COOKIE_SECRET": COOKIE_SECRET,
                "TOTES_DASHBOARD_VIEWERS": "@viewers.example",
                "TOTES_DASHBOARD_OPERATORS": OPERATOR,
                "TOTES_DASHBOARD_COMPANY": "Widgets *Ltd*",
            },
            stdout=output,
            stderr=output,
        )
        try:
            wait_for_server(address, process, log)
            yield Dashboard(address, provider, log, opened)
        finally:
            process.send_signal(SIGINT)  # as Ctrl-C, while a page is open
            assert process.wait(60) == 0, log.read_text()


def test_users_sign_in_see_the_pages_of_their_role_and_sign_out(dashboard: Dashboard) -> None:
    window, address = dashboard.window, dashboard.address
    dashboard.sign_in(VIEWER, "/dictionary?period=all&in=EUR")
    window.wait_for("h1", "Data dictionary")  # the page and filter of the link
    assert read_query(window) == {"period": ["all"], "in": ["EUR"]}
    window.wait_for_text(VIEWER)
    assert "Widgets *Ltd*" in window.text
    assert not any("Pipeline" in one for one in window.texts(NAVIGATION))
    window.open(f"{address}/pipeline")
    window.wait_for_text("Only operators see this page")
    assert "Batches" not in window.text
    window.click(SIGN_IN, "Sign out")
    window.wait_for_text("Sign in to see the dashboard")
    assert dashboard.provider.signed_out == 1
    dashboard.sign_in(OPERATOR, "/pipeline")
    window.wait_for_text("Batches")
    dashboard.sign_in(STRANGER)
    window.wait_for_text(f"You are signed in as {STRANGER}")
    window.wait_for_text("This address has no access")
    assert "Revenue" not in window.text
    window.click(SIGN_IN, "Sign out")
    window.wait_for_text("Sign in to see the dashboard")


def test_a_forged_token_does_not_sign_in(dashboard: Dashboard) -> None:
    provider, window = dashboard.provider, dashboard.window
    cases: list[tuple[Any, dict[str, object]]] = [
        (new_key(), {}),
        (provider.published_key, {"nonce": "of another sign-in"}),
        (provider.published_key, {"aud": "another client"}),
        (provider.published_key, {"exp": int(time.time()) - 3600}),
    ]
    for provider.signing_key, provider.changes in sample(2, cases, "forged"):
        dashboard.sign_in(OPERATOR)
        window.wait_for_text("Sign in to see the dashboard")
        assert "Revenue" not in window.text
    provider.signing_key, provider.changes = provider.published_key, {}


def test_an_embedded_page_has_no_sidebar_and_no_message_has_a_secret(
    dashboard: Dashboard,
) -> None:
    window = dashboard.window
    command = window.driver.execute_cdp_cmd
    recorder = command("Page.addScriptToEvaluateOnNewDocument", {"source": RECORD_MESSAGES})
    try:
        dashboard.sign_in(OPERATOR)
        window.open(f"{dashboard.address}/?embed=true&period=all")
        window.wait_for("h1", "Overview")
        assert not window.all('[data-testid="stSidebar"]')
        window.click('[data-testid="stPageLink"] a', "Sales by country")
        window.wait_for("h1", "Sales")
        window.click('[data-testid="stTab"]', "Counterparty")
        window.until(lambda _: read_query(window).get("tab") == ["Counterparty"])
        assert read_query(window)["embed"] == ["true"]
        assert read_query(window)["period"] == ["all"]
        assert not window.all('[data-testid="stSidebar"]')
        messages = window.driver.execute_script("return window.messages")
    finally:
        command("Page.removeScriptToEvaluateOnNewDocument", recorder)
    assert "Revenue" in messages
    with urlopen(dashboard.address) as page:  # noqa: S310  http
        html = page.read().decode()
    basic = b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    for text in (messages, html, window.driver.page_source, dashboard.log.read_text()):
        for secret in (CLIENT_SECRET, COOKIE_SECRET, basic):
            assert secret not in text
