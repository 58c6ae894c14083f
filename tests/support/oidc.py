"""An identity provider on loopback whose tokens a test may spoil; PKCE, codes that are good for once, RS256."""

import json
import secrets
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from authlib.oidc.core.util import create_half_hash
from fastapi.testclient import TestClient
from flask import Flask, Response, jsonify, request
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

CLIENT_ID, SECRET, AUDIENCE = "vigie at site:1", "s3cret/with+signs %", "vigie-api"

Signing = Callable[[dict[str, Any]], str]


@dataclass
class Provider:
    """spoil: changes the claims of the next ID tokens. sign: how they are signed. away: answers nothing of use."""

    issuer: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1", "use": "sig"}))
    claims: dict[str, Any] = field(default_factory=dict)
    spoil: dict[str, Any] = field(default_factory=dict)
    sign: Signing | None = None
    away: bool = False
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    now: Callable[[], float] = time.time

    def signed(self, claims: dict[str, Any], *, header: dict[str, Any] | None = None) -> str:
        """By the provider's own key, as it should be."""
        return jwt.encode(header or {"alg": "RS256", "kid": "1"}, claims, self.key)

    def access_token(self, **changed: Any) -> str:
        """A machine's, for Vigie's API; a claim that is None is left out."""
        claims = {
            "iss": self.issuer,
            "sub": "pacs-1",
            "azp": "pacs-1",
            "aud": AUDIENCE,
            "iat": int(self.now()),
            "exp": int(self.now()) + 300,
            "scope": "vigie.retrieve",
        } | changed
        return self.signed({name: value for name, value in claims.items() if value is not None})

    def code_for(self, address: str) -> str:
        """A person signs in at the address that their browser was led to; where it is led back to."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?code={code}&state={asked['state']}"

    def id_token(self, asked: dict[str, str], access_token: str) -> str:
        """As its settings are now."""
        claims = {
            "iss": self.issuer,
            "sub": "subject-1",
            "aud": CLIENT_ID,
            "iat": int(self.now()),
            "exp": int(self.now()) + 300,
            "nonce": asked["nonce"],
            "at_hash": create_half_hash(access_token, "RS256").decode(),
            "preferred_username": "c.martin",
            "name": "Dr Claire Martin",
            "roles": ["vigie-reader"],
        }
        claims |= self.claims | self.spoil
        claims = {name: value for name, value in claims.items() if value is not None}
        return (self.sign or self.signed)(claims)


@contextmanager
def provider() -> Iterator[Provider]:
    """Run it until the end of the block."""
    running, application = Provider(), Flask(__name__)

    @application.before_request
    def note() -> Response | None:
        running.asked.append(request.path)
        return Response("gone", 503) if running.away else None

    @application.get("/.well-known/openid-configuration")
    def discovery() -> Response:
        here = running.issuer
        return jsonify(
            issuer=here,
            authorization_endpoint=f"{here}/authorize",
            token_endpoint=f"{here}/token",
            jwks_uri=f"{here}/keys",
            end_session_endpoint=f"{here}/logout",
        )

    @application.get("/keys")
    def keys() -> Response:
        return jsonify(keys=[running.key.as_dict(private=False)])

    @application.post("/token")
    def token() -> Response:
        asked = running.codes.pop(request.form["code"], None)
        verifier = urlsafe_b64encode(sha256(request.form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        proves = request.authorization is not None and request.authorization.username is not None
        if asked is None or not proves or verifier != asked["code_challenge"]:
            return Response(json.dumps({"error": "invalid_grant"}), 400, mimetype="application/json")
        access_token = secrets.token_urlsafe(16)
        told = {"access_token": access_token, "token_type": "Bearer", "id_token": running.id_token(asked, access_token)}
        return jsonify(told)

    http = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    running.issuer = f"http://127.0.0.1:{http.server_port}"
    try:
        yield running
    finally:
        http.shutdown()
        thread.join()


def oidc_toml(issuer: str, url: str = "http://127.0.0.1:8000", *, more: str = "", client_id: str = CLIENT_ID) -> str:
    """The file that VIGIE_OIDC names."""
    return f"""
issuer = "{issuer}"
url = "{url}"
client_id = "{client_id}"
label = "the hospital's account"
{more}
[roles]
reader = ["vigie-reader"]
lead = ["vigie-lead"]
ops = ["vigie-ops"]
[machines]
audience = "{AUDIENCE}"
tasks = {{store = ["vigie.store"], retrieve = ["vigie.retrieve"]}}
"""


def sign_in_there(client: TestClient, provider: Provider, *, wanted: str = "/") -> httpx.Response:
    """What a browser does: to the provider, and back with a code; the answer to that."""
    leaving = client.get("/login/oidc", params={"next": wanted}, follow_redirects=False)
    assert leaving.status_code == 303, leaving.text
    return client.get(provider.code_for(leaving.headers["location"]), follow_redirects=False)
