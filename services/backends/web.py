"""Requests to an HTTP server that we were told to trust: no redirect is followed, no proxy used, nothing retried."""

import ssl
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from services.backends.oauth2 import ClientCredentials, Grant, Tokens, authorized
from services.triage.errors import DestinationUnavailable

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
# These refuse not the content: credentials, proxy, timeout, too early, too many. A person or time mends them.
_NOT_NOW = frozenset({401, 403, 407, 408, 425, 429})


def post(
    url: str,
    *,
    peer: str,
    content: bytes | Iterable[bytes],
    headers: Mapping[str, str],
    tls: ssl.SSLContext,
    auth: httpx.Auth | None = None,
    timeout: httpx.Timeout = _TIMEOUT,
) -> httpx.Response:
    """The answer, whatever it is, but for those that mean `not now`. peer: what errors call the server.

    Raises DestinationUnavailable: no answer, a server's error, or a status that asks to come again.
    """
    with client(tls=tls, auth=auth, timeout=timeout) as ours:
        try:
            return answer_of(lambda: ours.post(url, content=content, headers=headers), url=url, peer=peer)
        except DestinationUnavailable:
            if isinstance(auth, ClientCredentials):
                # whoever refuses a token may hang up before the body is over: the next try has another
                auth.tokens.drop(auth.grant)
            raise


def client(*, tls: ssl.SSLContext, auth: httpx.Auth | None, timeout: httpx.Timeout = _TIMEOUT) -> httpx.Client:
    """For several requests; `answer_of` makes each."""
    return httpx.Client(verify=tls, auth=auth, timeout=timeout, trust_env=False)


def answer_of(request: Callable[[], httpx.Response], *, url: str, peer: str) -> httpx.Response:
    """As `post`."""
    try:
        answer = request()
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        # its text may quote what a server sent
        raise DestinationUnavailable(
            f"{_failing(error, url, peer)} cannot be reached: {type(error).__name__}"
        ) from error
    if answer.is_server_error or answer.status_code in _NOT_NOW:
        raise DestinationUnavailable(f"{peer} answered HTTP {answer.status_code}")
    return answer


def _failing(error: Exception, url: str, peer: str) -> str:
    """Whom an exchange failed with: the server, or the one that gives its tokens."""
    try:
        asked = error.request.url if isinstance(error, httpx.RequestError) else httpx.URL(url)
    except (RuntimeError, httpx.InvalidURL):  # no request was made yet
        return peer
    return peer if asked.host == httpx.URL(url).host else f"the authorization server at {asked.host}"


def credentials(path: Path | None, name: str) -> dict[str, Any]:
    """The table of this name in a TOML file of credentials, read now, so that it may change. Empty without one.

    Raises DestinationUnavailable: a person mends the file.
    """
    if path is None:
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get(name, {})
    except (OSError, ValueError) as error:
        raise DestinationUnavailable(f"the file of credentials cannot be read: {type(error).__name__}") from error
    return found if isinstance(found, dict) else {}


def auth_from(mine: Mapping[str, Any], *, tokens: Tokens | None = None) -> httpx.Auth | None:
    """How a request proves who we are: `token` (Bearer), `user` and `password` (Basic), or `token_url` (OAuth 2.0).

    tokens: where those of OAuth 2.0 are kept. Raises DestinationUnavailable: a person must mend the table.
    """
    if "token_url" in mine:
        return ClientCredentials(grant=Grant.of(mine), tokens=tokens or Tokens())
    if "token" in mine:
        return _Bearer(str(mine["token"]))
    return httpx.BasicAuth(str(mine["user"]), str(mine.get("password", ""))) if "user" in mine else None


class _Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        yield authorized(request, self._token)
