"""A small OpenID Connect provider: authorisation code flow, PKCE, discovery, keys. It asks no password."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT_ID = "hands"
CLIENT_SECRET = "what only the client knows"


class Provider:
    """Signs in ``claims`` at once, whoever comes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.claims: dict[str, Any] = {}
        self.redirects: list[str] = []
        """The redirect addresses that were asked for."""
        self._key = rsa.generate_private_key(65_537, 2048)
        self._codes: dict[str, dict[str, str]] = {}

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def keys(self) -> dict[str, Any]:
        numbers = self._key.public_key().public_numbers()
        n, e = (
            _encode(number.to_bytes(length, "big")) for number, length in ((numbers.n, 256), (numbers.e, 3))
        )
        return {"keys": [{"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "n": n, "e": e}]}

    def authorize(self, asked: dict[str, str]) -> str:
        """The address to go back to, with a code."""
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert "openid" in asked["scope"].split()
        self.redirects.append(asked["redirect_uri"])
        code = token_urlsafe()
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def exchange(self, asked: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """The tokens for a code, once; None for who may not have them."""
        expected = "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        by_form = (asked.get("client_id"), asked.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        begun = self._codes.pop(asked["code"], None)
        if begun is None or not (authorization == expected or by_form):
            return None
        digest = hashlib.sha256(asked["code_verifier"].encode()).digest()
        if (asked["redirect_uri"], _encode(digest)) != (begun["redirect_uri"], begun["code_challenge"]):
            return None
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": begun["nonce"]}
        token = self._sign(claims | {"sub": "1"} | self.claims)
        return {"access_token": token_urlsafe(), "token_type": "Bearer", "expires_in": 300, "id_token": token}

    def _sign(self, claims: dict[str, Any]) -> str:
        """A JSON web token."""
        parts = ({"alg": "RS256", "kid": "one"}, claims)
        text = ".".join(_encode(json.dumps(part).encode()) for part in parts)
        return f"{text}.{_encode(self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@contextmanager
def run_provider() -> Iterator[Provider]:
    """At a free port of this computer, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            if place.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", provider.authorize(_flat(place.query)))
                self.end_headers()
            elif place.path == "/keys":
                self._answer(provider.keys())
            else:
                self._answer(provider.metadata())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            tokens = provider.exchange(_flat(body), self.headers.get("Authorization", ""))
            self._answer(
                {"error": "invalid_grant"} if tokens is None else tokens, 400 if tokens is None else 200
            )

        def _answer(self, content: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = Provider(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _flat(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}
