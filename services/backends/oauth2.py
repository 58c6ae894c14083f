"""Bearer tokens for an HTTP server from its authorization server: OAuth 2.0 client credentials (RFC 6749 4.4)."""

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from services.backends.hosts import require_no_link_local
from services.triage.errors import DestinationUnavailable

_MARGIN_S = 30.0  # a token is not used in its last seconds, nor in the last tenth of its time
_KNOWN = frozenset(  # RFC 6749 5.2; other words of a server are not repeated: they may be anything
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)


@dataclass(frozen=True, kw_only=True)
class Grant:
    """How a token is asked for: a table of the file of credentials."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Grant":
        """Raises DestinationUnavailable, naming what is missing or unknown: a person must mend the file."""
        needed, allowed = {"token_url", "client_id", "client_secret"}, set(cls.__dataclass_fields__)
        if wrong := sorted((needed - set(table)) | (set(table) - allowed)):
            text = f"the file of credentials: a table with token_url has {', '.join(sorted(needed))} and may have scope"
            raise DestinationUnavailable(f"{text}; missing or unknown: {', '.join(wrong)}")
        if not str(table["token_url"]).startswith(("https://", "http://")):
            raise DestinationUnavailable("the file of credentials: token_url is no https://HOST/PATH")
        try:
            require_no_link_local(urlsplit(str(table["token_url"])).hostname or "")
        except ValueError as error:
            raise DestinationUnavailable(f"the file of credentials: token_url: {error}") from error
        return cls(**{key: str(value) for key, value in table.items()})

    def request(self) -> httpx.Request:
        """The request for a token. The client authenticates by Basic, its words percent-encoded first (2.3.1)."""
        form = {"grant_type": "client_credentials"} | ({"scope": self.scope} if self.scope else {})
        request = httpx.Request("POST", self.token_url, data=form, headers={"Accept": "application/json"})
        basic = httpx.BasicAuth(quote(self.client_id, safe=""), quote(self.client_secret, safe=""))
        return next(basic.auth_flow(request))


@dataclass
class Tokens:
    """The newest token of each grant, and the moment (time.monotonic) from which it is not used any more."""

    _held: dict[Grant, tuple[str, float]] = field(default_factory=dict, repr=False)

    def get(self, grant: Grant) -> str | None:
        """The token of a grant, None if there is none, or none that lives on for long enough."""
        token, until = self._held.get(grant, ("", 0.0))
        return token if time.monotonic() < until else None

    def keep(self, grant: Grant, answer: httpx.Response) -> str:
        """The token of a server's answer (RFC 6749 5.1). Raises DestinationUnavailable: it is none."""
        found = _json(answer)
        token = found.get("access_token")
        if not answer.is_success or not isinstance(token, str) or str(found.get("token_type")).lower() != "bearer":
            raise DestinationUnavailable(f"{_shown(grant.token_url)} gave no token: {_why(answer, found)}")
        lasts_s = _seconds(found.get("expires_in"))
        self._held[grant] = token, time.monotonic() + lasts_s - min(_MARGIN_S, lasts_s / 10)
        return token

    def drop(self, grant: Grant) -> None:
        """The server does not take it any more."""
        self._held.pop(grant, None)


@dataclass
class ClientCredentials(httpx.Auth):
    """Authorizes requests by a token that is kept; one that the server refuses (401) is replaced once."""

    requires_response_body = True

    grant: Grant
    tokens: Tokens

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See httpx.Auth. Raises DestinationUnavailable: there is no token to be had."""
        fresh = False
        token = self.tokens.get(self.grant)
        if token is None:
            token, fresh = self.tokens.keep(self.grant, (yield self.grant.request())), True
        answer = yield authorized(request, token)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self.tokens.drop(self.grant)
            if not fresh:
                yield authorized(request, self.tokens.keep(self.grant, (yield self.grant.request())))


def authorized(request: httpx.Request, token: str) -> httpx.Request:
    """The request with a bearer token (RFC 6750 2.1)."""
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(expires_in: object) -> float:
    """A number, or as some servers have it its digits; without one a token holds until it is refused."""
    try:
        return float(str(expires_in))
    except ValueError:
        return float("inf")


def _why(answer: httpx.Response, found: Mapping[str, Any]) -> str:
    if answer.is_success:
        return "its answer holds no bearer token"
    error = found.get("error")
    return f"HTTP {answer.status_code}{f' {error}' if error in _KNOWN else ''}"


def _shown(url: str) -> str:
    """Without what may be secret."""
    return str(httpx.URL(url).copy_with(username=None, password=None, query=None, fragment=None))
