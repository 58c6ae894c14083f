"""Tokens checked: signed by the provider, by an allowed algorithm, for us, and neither too early nor too late."""

from datetime import datetime
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwt import JWTClaimsRegistry, Token

from services.backends.oidc.file import Oidc
from services.backends.oidc.provider import Provider
from services.triage.errors import TokenRefused

LEEWAY_S = 30
"""So far two clocks may be apart."""

_LONGEST = 20_000
_ASKED_FOR = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "nonce", "azp", "at_hash"})


def id_claims(
    oidc: Oidc, provider: Provider, token: str, *, nonce: str, access_token: str, now: datetime
) -> dict[str, Any]:
    """The claims of an ID token (OpenID Connect Core 3.1.3.7, at_hash 3.1.3.8). Raises TokenRefused."""
    signed = _signed(oidc, provider, token)
    claims = CodeIDToken(
        signed.claims,
        signed.header,
        options={"iss": {"essential": True, "value": oidc.issuer}, "aud": {"essential": True, "value": oidc.client_id}},
        params={"nonce": nonce, "client_id": oidc.client_id, "access_token": access_token},
    )
    try:
        claims.validate(int(now.timestamp()), LEEWAY_S)
    except (JoseError, ValueError, TypeError) as error:
        raise _refused(error) from error
    return dict(signed.claims)


def access_claims(oidc: Oidc, provider: Provider, token: str, *, now: datetime) -> dict[str, Any]:
    """The claims of an access token for the API (RFC 9068 4). Raises TokenRefused."""
    if oidc.machines is None:
        raise TokenRefused("no_machine", "no machine comes with a token here")
    signed = _signed(oidc, provider, token)
    registry = JWTClaimsRegistry(
        int(now.timestamp()),
        LEEWAY_S,
        iss={"essential": True, "value": oidc.issuer},
        aud={"essential": True, "value": oidc.machines.audience},
        exp={"essential": True},
    )
    try:
        registry.validate(signed.claims)
    except (JoseError, ValueError, TypeError) as error:
        raise _refused(error) from error
    return dict(signed.claims)


def _signed(oidc: Oidc, provider: Provider, token: str) -> Token:
    if len(token) > _LONGEST:
        raise TokenRefused("invalid_token", "the token is longer than any")
    keys = provider.keys()
    try:
        try:
            return jwt.decode(token, keys, algorithms=oidc.algorithms)
        except InvalidKeyIdError:
            return jwt.decode(token, provider.keys(newer=True), algorithms=oidc.algorithms)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _refused(error) from error


def _refused(error: Exception) -> TokenRefused:
    """By the kind of error, and the claim that it is about where we ask for it; nothing else of the token is told."""
    if isinstance(error, ExpiredTokenError):
        return TokenRefused("expired_token", "the token is refused: it is over")
    claim = getattr(error, "claim", "")
    code = f"invalid_token_{claim}" if claim in _ASKED_FOR else "invalid_token"
    return TokenRefused(code, f"the token is refused: {type(error).__name__}")
