"""Sign-in to the dashboard: roles, settings, limits of requests, headers."""

import asyncio
from pathlib import Path

import httpx
import pytest
from httpx import ASGITransport, AsyncClient
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Message
from typer.testing import CliRunner

from totes.cli import app
from totes.config.settings import list_settings, load_settings
from totes.config.sign_in import Role, SignIn, sign_in
from totes.dashboard.preferences import MAX_LOGO_BYTES, check_logo
from totes.dashboard.server import middleware

SECRET = "a secret of the provider"
COOKIE_SECRET = "0123456789abcdef0123456789abcdef"

EVERYWHERE = "0.0.0.0"  # noqa: S104

WHOLE = {
    "URL": "https://totes.example/",
    "OIDC_URL": "https://accounts.google.com/.well-known/openid-configuration",
    "OIDC_CLIENT_ID": "dashboard",
    "OIDC_CLIENT_SECRET": SECRET,
    "COOKIE_SECRET": COOKIE_SECRET,
    "VIEWERS": "@Viewers.example, one@other.example",
    "OPERATORS": "Operator@totes.example",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, without settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configure(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """Set all settings of sign-in, with changes; an empty one is not set."""
    for name, value in (WHOLE | changes).items():
        monkeypatch.setenv(f"TOTES_DASHBOARD_{name}", value)


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"email": "operator@TOTES.example"}, Role.OPERATOR),
        ({"email": "Any.One@viewers.example", "email_verified": True}, Role.VIEWER),
        ({"email": "one@other.example"}, Role.VIEWER),
        ({"email": "two@other.example"}, None),
        ({"email": "x@sub.viewers.example"}, None),
        ({"email": "x@evilviewers.example"}, None),
        ({"email": "viewers.example"}, None),
        ({"email": "@viewers.example"}, None),
        ({"email": "@viewers.example@other.example"}, None),
        ({"email": "operator@totes.example", "email_verified": False}, None),
        ({"email": "operator@totes.example", "email_verified": "false"}, None),
        ({"email": ""}, None),
        ({"preferred_username": "operator@totes.example"}, None),
        ({"email": None}, None),
    ],
)
def test_roles_follow_the_verified_address(
    claims: dict[str, object], role: Role | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch)
    assert configured().role(claims) is role


def configured() -> SignIn:
    found = sign_in(load_settings())
    assert found is not None
    return found


def test_streamlit_gets_the_secrets_and_nothing_prints_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(monkeypatch)
    found = configured()
    assert found.provider == {
        "redirect_uri": "https://totes.example/oauth2callback",
        "cookie_secret": COOKIE_SECRET,
        "client_id": "dashboard",
        "client_secret": SECRET,
        "server_metadata_url": WHOLE["OIDC_URL"],
    }
    printed = f"{found} {load_settings()} {list(list_settings(load_settings()))}"
    assert SECRET not in printed
    assert COOKIE_SECRET not in printed


def test_without_a_cookie_secret_each_start_has_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, COOKIE_SECRET="")
    first, second = configured().provider, configured().provider
    assert len(first["cookie_secret"]) >= 32
    assert first["cookie_secret"] != second["cookie_secret"]


def test_without_a_provider_there_is_no_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sign_in(load_settings()) is None
    monkeypatch.setenv("TOTES_DASHBOARD_URL", "https://totes.example")
    assert sign_in(load_settings()) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"OIDC_URL": ""}, "Sign-in to the dashboard lacks TOTES_DASHBOARD_OIDC_URL"),
        (
            {"OIDC_URL": "", "OIDC_CLIENT_ID": "", "OIDC_CLIENT_SECRET": "", "COOKIE_SECRET": ""},
            "Sign-in to the dashboard lacks TOTES_DASHBOARD_OIDC_URL, TOTES_DASHBOARD_OIDC_CLIENT",
        ),
        ({"OIDC_CLIENT_ID": "", "URL": ""}, "lacks TOTES_DASHBOARD_OIDC_CLIENT_ID, TOTES_DASH"),
        ({"VIEWERS": "", "OPERATORS": ""}, "lacks TOTES_DASHBOARD_VIEWERS or TOTES_DASHBOARD_OP"),
        ({"COOKIE_SECRET": "short"}, "shorter than 32 characters"),
        ({"URL": "http://totes.example"}, "Setting TOTES_DASHBOARD_URL: must be an https"),
        ({"URL": "https://totes.example/path"}, "must have no path"),
        (
            {"OIDC_URL": "http://provider.example"},
            "TOTES_DASHBOARD_OIDC_URL: must be an https",
        ),
        ({"VIEWERS": "somebody"}, "'somebody' is neither an email address nor @ and a domain"),
        ({"OPERATORS": "*"}, "neither an email address nor @ and a domain"),
        ({"EMBEDDERS": "portal.example"}, "'portal.example' is not a site such as"),
        ({"EMBEDDERS": "https://a.example; script-src *"}, "is not a site such as"),
        ({"CURRENCY": "gbp"}, "Setting TOTES_DASHBOARD_CURRENCY: must be a currency's code"),
        ({"TIME_ZONE": "Mars/Base"}, "Setting TOTES_DASHBOARD_TIME_ZONE: must be a time zone"),
        ({"TIME_ZONE": "../../etc/passwd"}, "must be a time zone"),
        ({"FISCAL_YEAR": "13"}, "Setting TOTES_DASHBOARD_FISCAL_YEAR: must be a month from 1"),
        ({"FISCAL_YEAR": "April"}, "must be a month from 1"),
        ({"COMPANY": "a\nb"}, "Setting TOTES_DASHBOARD_COMPANY: must be one line"),
        ({"LOGO": "none.svg"}, "Setting TOTES_DASHBOARD_LOGO: none.svg can't be read: No such"),
        ({"LOGO": "text.svg"}, "text.svg is not an SVG or PNG image of at most 1 MB"),
        ({"LOGO": "large.svg"}, "large.svg is not an SVG or PNG image of at most 1 MB"),
        ({"LOGO": "svg.png"}, "svg.png is not an SVG or PNG image"),
    ],
)
def test_an_invalid_setting_ends_the_dashboard_with_one_line(
    changes: dict[str, str], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "text.svg").write_text("nothing")
    (folder / "svg.png").write_text("<svg/>")
    (folder / "large.svg").write_text("<svg>" + " " * MAX_LOGO_BYTES)
    configure(monkeypatch, **changes)
    ended = CliRunner().invoke(app, ["dashboard"])
    assert ended.exit_code == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert SECRET not in ended.stderr


@pytest.mark.parametrize("content", [b"<?xml?><svg/>", b"\x89PNG\r\n\x1a\n"])
def test_a_logo_is_an_image(content: bytes, folder: Path) -> None:
    path = folder / ("logo.svg" if b"svg" in content else "logo.PNG")
    path.write_bytes(content)
    check_logo(path)


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.1", "totes.example", ""])
def test_an_address_that_others_reach_needs_sign_in(host: str) -> None:
    ended = CliRunner().invoke(app, ["dashboard", "--host", host])
    assert ended.exit_code == 2
    assert "sign-in is not configured: set TOTES_DASHBOARD_OIDC_URL" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--host", "::1"],
        ["--host", "localhost"],
        ["--host", EVERYWHERE, "--without-sign-in"],
        ["--host", EVERYWHERE, "--viewers-only"],
    ],
)
def test_loopback_and_an_explicit_option_need_none(
    arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOTES_HOME", str(folder / "home"))
    ended = CliRunner().invoke(app, ["dashboard", *arguments])
    assert ended.exit_code == 5
    assert "no database warehouse" in ended.stderr


async def _callback(_: Request) -> Response:
    response = RedirectResponse("/", 302)
    response.set_cookie("_streamlit_user", "signed", httponly=True)
    return response


async def _page(_: Request) -> Response:
    return Response("page")


class Client:
    """A browser's requests to the middleware, before an application with the routes of sign-in."""

    def __init__(self) -> None:
        routes = [
            Route("/", _page),
            Route(middleware.LOGIN, _page),
            Route(middleware.CALLBACK, _callback),
        ]
        self._app = middleware.DashboardMiddleware(
            Starlette(routes=routes), embedders=["https://portal.example"], secure=True
        )
        self._client = AsyncClient(
            transport=ASGITransport(self._app, client=("192.0.2.1", 1)),
            base_url="https://totes.example",
        )
        self.cookies = self._client.cookies

    def get(self, path: str, **headers: str) -> httpx.Response:
        return asyncio.run(self._client.get(path, headers=headers))

    def connect(self, address: str) -> list[Message]:
        """Open a WebSocket; return the server's messages."""
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            sent.append(dict(message))

        scope = {"type": "websocket", "path": "/_stcore/stream", "headers": []}
        asyncio.run(self._app({**scope, "client": (address, 1)}, receive, send))
        return sent


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client whose limits begin again."""
    monkeypatch.setattr(middleware, "_limiter", FixedWindowRateLimiter(MemoryStorage()))
    return Client()


def test_sign_in_returns_to_the_page_that_it_was_asked_on(client: Client) -> None:
    page = "/sales?period=all&country=T%C3%BCrkiye"
    client.get(middleware.LOGIN, Referer=f"https://totes.example{page}")
    back = client.get(middleware.CALLBACK)
    assert back.headers["Location"] == page
    assert all("; Secure" in cookie for cookie in back.headers.get_list("Set-Cookie"))
    assert client.get(middleware.CALLBACK).headers["Location"] == "/"  # once


@pytest.mark.parametrize(
    "page",
    [
        "https://other.example/sales",
        "https://totes.example//other.example",
        "https://totes.example/\\other.example",
        "https://totes.example/%s" % ("x" * 5000),
        "",
    ],
)
def test_sign_in_never_leads_to_another_site(client: Client, page: str) -> None:
    client.get(middleware.LOGIN, Referer=page)
    assert client.get(middleware.CALLBACK).headers["Location"] == "/"


@pytest.mark.parametrize(
    "page", ["//other.example", "/\\other.example", "https://x.example", "/a b"]
)
def test_a_changed_cookie_never_leads_to_another_site(client: Client, page: str) -> None:
    client.cookies.set(middleware.RETURN_TO, page)
    assert client.get(middleware.CALLBACK).headers["Location"] == "/"


def test_only_the_configured_sites_may_embed_the_pages(client: Client) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]
    assert policy == "frame-ancestors 'self' https://portal.example"


def test_sign_ins_and_connections_of_an_address_are_limited(client: Client) -> None:
    answers = [
        client.get(middleware.LOGIN).status_code for _ in range(middleware.SIGN_INS.amount + 1)
    ]
    assert answers == [200] * middleware.SIGN_INS.amount + [429]
    assert client.get(middleware.CALLBACK).status_code == 429
    assert client.get("/").status_code == 200
    refused = [{"type": "websocket.close", "code": 1008, "reason": "limit"}]
    opened = [client.connect("192.0.2.1") for _ in range(middleware.CONNECTIONS.amount + 1)]
    assert refused not in opened[:-1]
    assert opened[-1] == refused
    assert client.connect("192.0.2.2") != refused
