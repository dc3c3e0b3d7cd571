"""What the dashboard adds to Streamlit's server: rate limits, headers, and the way back to a page.

Streamlit returns to the first page after sign-in; here it returns to the page with its filter.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlsplit

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SIGN_INS = RateLimitItemPerMinute(30)
"""Requests of one address to the routes of sign-in; a sign-in takes two."""

CONNECTIONS = RateLimitItemPerMinute(240)
"""Tabs that one address opens or reloads."""

RUNS = RateLimitItemPerMinute(240)
"""Times that one tab draws a page."""

LOGIN, CALLBACK = "/auth/login", "/oauth2callback"

_LIMITS = {
    LOGIN: SIGN_INS,
    "/auth/logout": SIGN_INS,
    CALLBACK: SIGN_INS,
    "/_stcore/stream": CONNECTIONS,
}

RETURN_TO = "totes_return_to"
"""Cookie with the page to return to after sign-in."""

_PAGE = re.compile(r"/(?![/\\])[!-~]{0,2000}")
"""A path of this server with a query."""

_limiter = FixedWindowRateLimiter(MemoryStorage())


def is_allowed(limit: RateLimitItem, *client: str) -> bool:
    """Count a request of a client; return whether the client is within the limit."""
    return _limiter.hit(limit, *client)


class DashboardMiddleware:
    """ASGI middleware that sees each request before Streamlit.

    `embedders` are the sites that may show the pages in a frame. With `secure`, browsers send the
    cookies over HTTPS only.
    """

    def __init__(self, app: ASGIApp, *, embedders: Iterable[str], secure: bool) -> None:
        self._app = app
        self._policy = " ".join(["frame-ancestors 'self'", *embedders])
        self._secure = "; Secure" if secure else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request above the limit; pass on every other one."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        path, client = scope["path"], request.client.host if request.client else ""
        limit = _LIMITS.get(path)
        if limit and not is_allowed(limit, "stream" if limit is CONNECTIONS else "auth", client):
            await _refuse(scope, receive, send)
            return

        async def send_changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._change(request, path, MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, send_changed)

    def _change(self, request: HTTPConnection, path: str, response: MutableHeaders) -> None:
        response["Content-Security-Policy"] = self._policy
        if path == LOGIN and (page := _page_of(request)):
            self._set_cookie(response, quote(page, safe=""), seconds=900)
        elif path == CALLBACK and response.get("location") == "/":
            page = unquote(request.cookies.get(RETURN_TO, ""))
            if _PAGE.fullmatch(page):
                response["Location"] = page
            self._set_cookie(response, "", seconds=0)
        cookies = response.getlist("Set-Cookie")
        del response["Set-Cookie"]
        for cookie in cookies:
            has_flag = "; secure" in cookie.lower()
            response.append("Set-Cookie", cookie if has_flag else cookie + self._secure)

    def _set_cookie(self, response: MutableHeaders, value: str, *, seconds: int) -> None:
        flags = f"Max-Age={seconds}; Path={CALLBACK}; HttpOnly; SameSite=lax"
        response.append("Set-Cookie", f"{RETURN_TO}={value}; {flags}")


def _page_of(request: HTTPConnection) -> str | None:
    """Return path and query of the dashboard's page that links to this request."""
    referrer = urlsplit(request.headers.get("referer", ""))
    page = f"{referrer.path}?{referrer.query}".removesuffix("?")
    is_ours = referrer.netloc == request.headers.get("host")
    return page if is_ours and _PAGE.fullmatch(page) else None


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": "limit"})
        return
    text = "Too many requests from this address. Wait a minute, then sign in again.\n"
    await PlainTextResponse(text, 429, {"Retry-After": "60"})(scope, receive, send)
