"""Finding who asks: by a key or a token in the Authorization header, or by the session of who signed in on the page."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import HTTPConnection

from services.backends.keys import name_in
from services.backends.people_file import Account
from services.gateway.access import outcomes
from services.gateway.access.accounts import People
from services.gateway.access.attempts import Attempts
from services.gateway.access.provider_sign_in import ProviderSignIn, is_access_token, is_provider_session
from services.gateway.access.session import Session, Sessions
from services.gateway.audit.recorder import Recorder
from services.triage.errors import TokenRefused
from services.triage.person import Caller, Person


class TooManyAttemptsError(Exception):
    """Signing in failed too often; wait_s: until the next try is heard."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"the next try is heard in {wait_s} s")
        self.wait_s = wait_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Who asks, and the session that told so."""

    caller: Caller
    session: Session | None = None


class SignIn:
    """Of one application. people: of the file; provider: of the identity provider; one of them may be None.

    Raises StoreUnavailable, TooManyAttemptsError where a key is shown, ProviderUnavailable where a token is.
    recorder: is told what became of it.
    """

    def __init__(
        self,
        people: People | None,
        sessions: Sessions,
        clock: Callable[[], datetime],
        recorder: Recorder,
        provider: ProviderSignIn | None = None,
    ) -> None:
        self.recorder = recorder
        self.people = people
        self.sessions = sessions
        self.provider = provider
        self._clock = clock
        self._attempts = Attempts()

    def find(self, request: HTTPConnection) -> Found | None:
        """Who asks; None: nobody who is known."""
        if authorization := request.headers.get("authorization"):
            return self._by_header(authorization, address_of(request))
        return self._by_session(request)

    def by_key(self, name: str, key: str, address: str, *, way: str) -> Account | None:
        """Whose name and key these are."""
        if self.people is None:
            outcomes.sign_in_failed(self.recorder, outcomes.UNKNOWN, address, way=way, reason="no_keys")
            return None
        if known_account := self.people.known(name, key):
            return known_account  # others' guessing shuts out nobody whose key was seen before
        now = self._clock()
        # what was typed is not logged: it may be a key in the wrong field
        known = name if self.people.find(name) else outcomes.UNKNOWN
        if wait_s := self._attempts.wait_s(known, address, now=now):
            outcomes.sign_in_held_off(known, address, wait_s=wait_s)
            raise TooManyAttemptsError(wait_s)
        account = self.people.check(name, key)
        if account is None:
            self._attempts.failed(known, address, now=now)
            outcomes.sign_in_failed(self.recorder, known, address, way=way, reason="wrong_key")
            return None
        self._attempts.succeeded(name, address)
        return account

    def _by_header(self, header: str, address: str) -> Found | None:
        """`Bearer KEY`, where the key says whose it is, `Bearer TOKEN` of the provider's, or `Basic` (RFC 7617)."""
        scheme, _, told = header.partition(" ")
        if scheme.lower() == "bearer":
            if self.provider is not None and is_access_token(told):
                return self._by_token(self.provider, told.strip(), address)
            name, key = name_in(told.strip()), told.strip()
        elif scheme.lower() == "basic":
            name, key = _basic(told)
        else:
            return None
        account = self.by_key(name, key, address, way="key")
        if account is None:
            return None
        outcomes.key_taken(self.recorder, account.who.name, address)
        return Found(caller=account.who)

    def _by_token(self, provider: ProviderSignIn, token: str, address: str) -> Found | None:
        try:
            caller = provider.machine(token)
        except TokenRefused as error:
            outcomes.sign_in_failed(self.recorder, outcomes.UNKNOWN, address, way="token", reason=error.reason.code)
            return None
        outcomes.key_taken(self.recorder, caller.name, address)
        return Found(caller=caller)

    def _by_session(self, request: HTTPConnection) -> Found | None:
        session = self.sessions.read(request, now=self._clock())
        account = self._account_of(session) if session else None
        if session is None or account is None or not isinstance(account.who, Person):
            return None
        return Found(caller=account.who, session=session) if self.sessions.is_of(session, account) else None

    def _account_of(self, session: Session) -> Account | None:
        if is_provider_session(session):
            return self.provider.find(session) if self.provider else None
        return self.people.find(session.name) if self.people else None


def address_of(request: HTTPConnection) -> str:
    """Where a request comes from; behind a proxy as uvicorn takes it from X-Forwarded-For (FORWARDED_ALLOW_IPS)."""
    return request.client.host if request.client else "unknown"


def _basic(told: str) -> tuple[str, str]:
    try:
        name, _, key = base64.b64decode(told, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, key
