"""A stand-in OpenID Connect issuer: it keeps codes, checks PKCE, and signs real tokens. It can be told to lie."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import parse_qsl, urlsplit

import orjson
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from tests.standins.server import Asked, Json, Telling, Told

CLIENT_ID, CLIENT_SECRET = "backchannel-client", "the client's secret"


@cache
def key(name: str) -> RSAKey:
    """Making one takes a tenth of a second."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


@dataclass
class Issuer:
    """`lie` changes the claims of the next tokens; `signs_with` is the key that signs, `shows` those it admits to."""

    url: str = ""
    person: Json = field(default_factory=lambda: {"sub": "g-1", "name": "Alice", "email": "alice@example.org"})
    verified: bool | None = True
    lie: Callable[[Json], Json] = lambda claims: claims
    signs_with: str = "first"
    shows: tuple[str, ...] = ("first",)
    algorithms: tuple[str, ...] = ("RS256",)
    unsigned: bool = False
    in_userinfo: bool = False
    status: int = 200
    asked: list[str] = field(default_factory=list)
    grants: dict[str, Json] = field(default_factory=dict)
    codes: int = 0

    # --- the person at the browser

    def consent(self, location: str) -> str:
        """What the person's "yes" sends the browser to: the query of the callback."""
        parts = urlsplit(location)
        asked = dict(parse_qsl(parts.query))
        assert location.startswith(f"{self.url}/authorize?"), location
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        assert len(asked["state"]) >= 20
        assert len(asked["nonce"]) >= 20
        self.codes += 1
        code = f"code-{self.codes}"
        self.grants[code] = asked
        return f"code={code}&state={asked['state']}"

    # --- the server

    def answer(self, asked: Asked) -> Told:
        self.asked.append(f"{asked.method} {asked.path}")
        if self.status != 200:
            return self.status, {"error": "server_error"}, {}
        match asked.path:
            case "/.well-known/openid-configuration":
                return 200, self._metadata(), {}
            case "/jwks":
                return 200, KeySet([key(name) for name in self.shows]).as_dict(private=False), {}
            case "/token":
                return *self._token(asked.headers.get("Authorization", ""), asked.body), {}
            case "/userinfo":
                return 200, {**self.person, "email_verified": self.verified}, {}
        return 404, {}, {}

    def _metadata(self) -> Json:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "id_token_signing_alg_values_supported": list(self.algorithms),
        }

    def _token(self, authorization: str, form: Json) -> tuple[int, Json]:
        basic = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if basic != f"{CLIENT_ID}:{CLIENT_SECRET}":
            return 401, {"error": "invalid_client"}
        grant = self.grants.pop(form["code"], None)  # a code is good once
        proof = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if grant is None or grant["code_challenge"] != proof or grant["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "at", "token_type": "Bearer", "expires_in": 60, "id_token": self._proof(grant)}

    def _proof(self, grant: Json) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 60, "nonce": grant["nonce"]}
        told = {"sub": self.person["sub"]} if self.in_userinfo else {**self.person, "email_verified": self.verified}
        claims = self.lie({**claims, **told})
        if self.unsigned:
            parts = (b'{"alg":"none"}', orjson.dumps(claims))
            return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."
        return jwt.encode({"alg": "RS256", "kid": self.signs_with}, claims, key(self.signs_with))


@contextmanager
def issuer_server() -> Iterator[Issuer]:
    kept = Issuer()
    with Telling(kept.answer) as server:
        kept.url = server.url
        yield kept
