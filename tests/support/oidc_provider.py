"""An OpenID Connect provider on loopback, which signs ID tokens; it asks for no password."""

import json
import secrets
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "dashboard", "the-dashboards-secret-at-its-provider"


class Provider:
    """Its state: the next user, and how the next ID token differs from a right one."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.email = ""
        self.changes: dict[str, object] = {}
        """Claims of the next token that differ."""
        self.signing_key = self.published_key = new_key()
        self.codes: dict[str, dict[str, str]] = {}
        self.signed_out = 0

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a dashboard that uses this provider."""
        return {
            "TOTES_DASHBOARD_OIDC_URL": f"{self.address}/.well-known/openid-configuration",
            "TOTES_DASHBOARD_OIDC_CLIENT_ID": CLIENT_ID,
            "TOTES_DASHBOARD_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        }

    def metadata(self) -> dict[str, object]:
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/keys",
            "end_session_endpoint": f"{self.address}/sign-out",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def authorize(self, asked: dict[str, str]) -> str:
        """Sign the next user in; return where the browser goes."""
        assert asked["client_id"] == CLIENT_ID
        code = secrets.token_hex()
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, asked: dict[str, str], client: str) -> dict[str, object]:
        """Return the tokens of a code, once, for the client that knows its secret."""
        assert client == f"{CLIENT_ID}:{CLIENT_SECRET}"
        given = self.codes.pop(asked["code"])
        digest = sha256(asked["code_verifier"].encode()).digest()
        assert urlsafe_b64encode(digest).decode().rstrip("=") == given["code_challenge"]
        now = int(time.time())
        claims = {
            "iss": self.address,
            "aud": CLIENT_ID,
            "sub": self.email,
            "email": self.email,
            "email_verified": True,
            "iat": now,
            "exp": now + 300,
            "nonce": given["nonce"],
        } | self.changes
        header = {"alg": "RS256", "kid": self.published_key.kid}
        return {
            "access_token": secrets.token_hex(),
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": jwt.encode(header, claims, self.signing_key),
        }


def new_key() -> RSAKey:
    """Return a new key; all keys have the same id, so that only the signature differs."""
    return RSAKey.generate_key(2048, {"kid": "key", "use": "sig"})


@contextmanager
def oidc_provider() -> Iterator[Provider]:
    """Serve a provider until the context ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    provider = Provider(f"http://127.0.0.1:{server.server_port}")
    _Handler.provider = provider
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = dict(parse_qsl(url.query))
        match url.path:
            case "/.well-known/openid-configuration":
                self._answer(self.provider.metadata())
            case "/keys":
                self._answer(KeySet([self.provider.published_key]).as_dict(private=False))
            case "/authorize":
                self._redirect(self.provider.authorize(asked))
            case "/sign-out":
                self.provider.signed_out += 1
                self._redirect(asked["post_logout_redirect_uri"])
            case _:
                self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        client = b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        self._answer(self.provider.token(dict(parse_qsl(body)), client))

    def _answer(self, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _redirect(self, address: str) -> None:
        self.send_response(302)
        self.send_header("Location", address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""
