"""Finding who asks: by a key in the Authorization header, or by the session of who signed in on the page.

Another way to find a person (OIDC) is one more method here that answers a `Found`; all else stays as it is.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from starlette.requests import HTTPConnection

from services.backends.keys import name_in
from services.backends.people_file import Account
from services.gateway.access.accounts import People
from services.gateway.access.attempts import Attempts
from services.gateway.access.session import Session, Sessions
from services.gateway.audit.recorder import Recorder
from services.gateway.audit.signing import key_taken, sign_in_failed
from services.triage.person import Caller, Person

log = structlog.get_logger(__name__)


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
    """Of one application. Raises StoreUnavailable, and TooManyAttemptsError where a key is shown."""

    def __init__(self, people: People, sessions: Sessions, clock: Callable[[], datetime], recorder: Recorder) -> None:
        self.recorder = recorder
        self.people = people
        self.sessions = sessions
        self._clock = clock
        self._attempts = Attempts()

    def find(self, request: HTTPConnection) -> Found | None:
        """Who asks; None: nobody who is known."""
        if authorization := request.headers.get("authorization"):
            return self._by_header(authorization, address_of(request))
        return self._by_session(request)

    def by_key(self, name: str, key: str, address: str) -> Account | None:
        """Whose name and key these are."""
        if known_account := self.people.known(name, key):
            return known_account  # others' guessing shuts out nobody whose key was seen before
        now = self._clock()
        # what was typed is not logged: it may be a key in the wrong field
        known = name if self.people.find(name) else "unknown"
        if wait_s := self._attempts.wait_s(known, address, now=now):
            log.warning("sign_in_held_off", name=known, address=address, wait_s=wait_s)
            raise TooManyAttemptsError(wait_s)
        account = self.people.check(name, key)
        if account is None:
            self._attempts.failed(known, address, now=now)
            log.warning("sign_in_failed", name=known, address=address)
            sign_in_failed(self.recorder, known, address)
            return None
        self._attempts.succeeded(name, address)
        return account

    def _by_header(self, header: str, address: str) -> Found | None:
        """`Bearer KEY`, where the key says whose it is, or `Basic` (RFC 7617)."""
        scheme, _, told = header.partition(" ")
        if scheme.lower() == "bearer":
            name, key = name_in(told.strip()), told.strip()
        elif scheme.lower() == "basic":
            name, key = _basic(told)
        else:
            return None
        account = self.by_key(name, key, address)
        if account is None:
            return None
        key_taken(self.recorder, account.who.name, address)
        return Found(caller=account.who)

    def _by_session(self, request: HTTPConnection) -> Found | None:
        session = self.sessions.read(request, now=self._clock())
        account = self.people.find(session.name) if session else None
        if session is None or account is None or not isinstance(account.who, Person):
            return None
        return Found(caller=account.who, session=session) if self.sessions.is_of(session, account) else None


def address_of(request: HTTPConnection) -> str:
    """Where a request comes from; behind a proxy as uvicorn takes it from X-Forwarded-For (FORWARDED_ALLOW_IPS)."""
    return request.client.host if request.client else "unknown"


def _basic(told: str) -> tuple[str, str]:
    try:
        name, _, key = base64.b64decode(told, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, key
