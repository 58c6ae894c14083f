"""An authorization server of Authlib's making, on HTTP or HTTPS, that gives tokens for client credentials only."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from flask import Flask, Response
from werkzeug.serving import make_server

CLIENT_ID, CLIENT_SECRET, SCOPE = "vigie at site:1", "s3cret/with+signs %", "dicomweb.write"


@dataclass
class Provider:
    """A running server: what it was asked for and what it gave. `lives_s`: of the tokens to come."""

    token_url: str = ""
    lives_s: int = 3600
    tokens: list[str] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    asked: int = 0

    def takes(self, authorization: str | None) -> bool:
        """Whether a resource server should take a request with this header."""
        token = (authorization or "").removeprefix("Bearer ")
        return token in self.tokens and token not in self.revoked


class _Client(ClientMixin):  # type: ignore[misc]
    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_allowed_scope(self, scope: str) -> str:
        return " ".join(one for one in scope.split() if one == SCOPE)

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method, endpoint) == ("client_secret_basic", "token")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"


@contextmanager
def provider(tls: SSLContext | None = None) -> Iterator[Provider]:
    """Run it until the end of the block."""
    running, application = Provider(), Flask(__name__)
    application.config["OAUTH2_SCOPES_SUPPORTED"] = [SCOPE]

    def save(token: dict[str, Any], _request: object) -> None:
        token["expires_in"] = running.lives_s
        running.tokens.append(token["access_token"])

    def client(client_id: str) -> _Client | None:
        return _Client() if client_id == CLIENT_ID else None

    server = AuthorizationServer(application, query_client=client, save_token=save)
    server.register_grant(grants.ClientCredentialsGrant)

    @application.post("/token")
    def token() -> Response:
        running.asked += 1
        return server.create_token_response()

    http = make_server("127.0.0.1", 0, application, ssl_context=tls)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    running.token_url = f"{'https' if tls else 'http'}://127.0.0.1:{http.server_port}/token"
    try:
        yield running
    finally:
        http.shutdown()
        thread.join()
