"""The identity provider over HTTP: its discovery document, its keys, and codes exchanged for tokens.

Discovery (OpenID Connect Discovery 1.0) and keys (RFC 7517) are kept for an hour, and longer while it is away.
"""

import ssl
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.backends.oidc.file import Oidc
from services.exposure import is_loopback
from services.triage.errors import OidcRefused, ProviderUnavailable, TokenRefused

_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_FRESH_S = 3600.0
_AGAIN_S = 10.0  # after it did not answer it is not asked again for so long: no request waits for it in vain
_NEW_KEYS_S = 30.0  # a token that names an unknown key has the keys read again, but not each that does
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class Provider:
    """Of one process; thread-safe. Raises ProviderUnavailable; OidcRefused where it can be no TLS client."""

    def __init__(self, oidc: Oidc, client_secret: str | None) -> None:
        self._oidc = oidc
        self._secret = client_secret
        try:
            tls = ssl.create_default_context(cafile=oidc.ca)
        except (OSError, ValueError) as error:
            raise OidcRefused("unreadable_oidc", f"ca: {oidc.ca}: {type(error).__name__}") from error
        self._client = httpx.Client(verify=tls, timeout=_TIMEOUT, trust_env=False, proxy=oidc.proxy)
        self._metadata = _Kept(self._read_metadata)
        self._keys = _Kept(self._read_keys)

    def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where a person's browser goes to sign in (OpenID Connect Core 3.1.2.1; PKCE by S256, RFC 7636)."""
        endpoint = self._metadata.get()["authorization_endpoint"]
        asked = {
            "response_type": "code",
            "client_id": self._oidc.client_id,
            "redirect_uri": self._oidc.redirect_uri,
            "scope": " ".join(self._oidc.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    def sign_out_url(self, id_token: str) -> str | None:
        """Where a person's browser signs out of the provider, if it offers that (RP-Initiated Logout 1.0)."""
        endpoint = self._metadata.get().get("end_session_endpoint")
        if not isinstance(endpoint, str) or not self._is_allowed(endpoint):
            return None
        asked = {
            "id_token_hint": id_token,
            "client_id": self._oidc.client_id,
            "post_logout_redirect_uri": self._oidc.signed_out_uri,
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    def exchange(self, code: str, verifier: str) -> dict[str, Any]:
        """The tokens for a code (OpenID Connect Core 3.1.3). Raises TokenRefused: the provider does not take it."""
        metadata = self._metadata.get()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._oidc.redirect_uri,
            "client_id": self._oidc.client_id,
            "code_verifier": verifier,
        }
        auth = httpx.Auth()  # none
        if self._secret:
            if "client_secret_basic" in metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]):
                auth = httpx.BasicAuth(quote(self._oidc.client_id, safe=""), quote(self._secret, safe=""))
            else:
                form["client_secret"] = self._secret
        answer = self._ask(lambda: self._client.post(metadata["token_endpoint"], data=form, auth=auth))
        if answer.is_client_error:
            raise TokenRefused("code_refused", f"the provider answered HTTP {answer.status_code} to the code")
        found = _json(answer)
        if not isinstance(found.get("id_token"), str) or not isinstance(found.get("access_token"), str):
            raise TokenRefused("no_token", "the provider's answer holds no ID token, or no access token")
        return found

    def keys(self, *, newer: bool = False) -> KeySet:
        """What its tokens are signed with. newer: a token names none of those that are known."""
        found: KeySet = self._keys.get(_NEW_KEYS_S if newer else _FRESH_S)
        return found

    def _read_metadata(self) -> dict[str, Any]:
        url = self._oidc.issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = _json(self._ask(lambda: self._client.get(url)))
        if found.get("issuer") != self._oidc.issuer:
            raise ProviderUnavailable("the provider's discovery document is of another issuer than the file's")
        for name in _ENDPOINTS:
            if not isinstance(found.get(name), str) or not self._is_allowed(found[name]):
                raise ProviderUnavailable(f"the provider's discovery document has no {name} on https")
        return found

    def _read_keys(self) -> KeySet:
        found = _json(self._ask(lambda: self._client.get(self._metadata.get()["jwks_uri"])))
        try:
            return KeySet.import_key_set({"keys": [key for key in found["keys"] if key.get("use", "sig") == "sig"]})
        except (JoseError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProviderUnavailable(f"the provider's keys cannot be read: {type(error).__name__}") from error

    def _is_allowed(self, url: str) -> bool:
        """https; http only on this machine, where the issuer is, too."""
        parts = urlsplit(url)
        return parts.scheme == "https" or (
            parts.scheme == "http" and is_loopback(parts.netloc) and self._oidc.issuer.startswith("http://")
        )

    @staticmethod
    def _ask(request: Callable[[], httpx.Response]) -> httpx.Response:
        try:
            answer = request()
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # its text may quote what a server sent
            raise ProviderUnavailable(f"the provider cannot be reached: {type(error).__name__}") from error
        if not answer.is_success and not answer.is_client_error:
            raise ProviderUnavailable(f"the provider answered HTTP {answer.status_code}")
        return answer


class _Kept:
    """What was read of the provider, until it is too old; what is too old, while nothing newer is to be had."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._found: Any = None
        self._read_at = self._failed_at = float("-inf")
        self._failure = ProviderUnavailable("the provider was not asked yet")

    def get(self, fresh_s: float = _FRESH_S) -> Any:
        """Raises ProviderUnavailable."""
        with self._lock:
            now = time.monotonic()
            if self._found is not None and now - self._read_at < fresh_s:
                return self._found
            if now - self._failed_at >= _AGAIN_S:
                try:
                    self._found, self._read_at = self._read(), now
                except ProviderUnavailable as error:
                    self._failed_at, self._failure = time.monotonic(), error
            if self._found is None:
                raise ProviderUnavailable(str(self._failure))
            return self._found


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if answer.is_success and isinstance(found, dict):
        return found
    raise ProviderUnavailable(f"the provider answered HTTP {answer.status_code}, and nothing that can be read")
