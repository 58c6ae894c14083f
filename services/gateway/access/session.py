"""Sessions of people who signed in on the page: a signed cookie, whose name, key and end are checked at every request.

The cookie holds no secret and no role: roles are those of the file at the moment of the request, or those that the
identity provider told at the sign-in, as the database has them.
"""

import hmac
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from itsdangerous import BadData, URLSafeSerializer
from pydantic import SecretStr
from starlette.requests import HTTPConnection
from starlette.responses import Response

from services.backends.people_file import Account
from services.backends.store.sessions import Sessions as Kept
from services.gateway.dicomweb.root import is_dicomweb
from services.settings import Settings

REFRESH = "Vigie-Refresh"
"""The header by which a script of ours says that it asks by itself."""

_SALT = "vigie-session-1"
_RENEW_AFTER = timedelta(minutes=1)
_ENDED_FOR_S = 2.0
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """used_at: when its person last did something. key: tells whether theirs is still the same."""

    session_id: str
    name: str
    key: str
    begun_at: datetime
    used_at: datetime


class Sessions:
    """Begins, reads, renews and ends them. Every process on one database agrees. Raises StoreUnavailable."""

    def __init__(self, settings: Settings, kept: Kept) -> None:
        self._kept = kept
        self._key = settings.session_key
        self._idle = timedelta(minutes=settings.session_idle_min)
        self._longest = timedelta(hours=settings.session_longest_h)
        self._is_https = settings.https
        self._lock = Lock()
        self._ended: tuple[float, frozenset[str]] = (0.0, frozenset())

    def begin(self, account: Account, *, now: datetime) -> Session:
        """For a person who has shown their key."""
        key = self._fingerprint(account)
        return Session(session_id=secrets.token_hex(16), name=account.who.name, key=key, begun_at=now, used_at=now)

    def ends_at(self, session: Session) -> datetime:
        """When it is over, whatever is done."""
        return session.begun_at + self._longest

    def read(self, request: HTTPConnection, *, now: datetime) -> Session | None:
        """The session of a request's cookie, if it is ours and not over."""
        cookie = request.cookies.get(self._name(request))
        if not cookie:
            return None
        try:
            session_id, name, key, begun, used = self._sign().loads(cookie)
        except (BadData, ValueError, TypeError):
            return None
        begun_at, used_at = (datetime.fromtimestamp(each, UTC) for each in (begun, used))
        over = now - begun_at >= self._longest or now - used_at >= self._idle
        if over or session_id in self._ended_ones():
            return None
        return Session(session_id=session_id, name=name, key=key, begun_at=begun_at, used_at=used_at)

    def is_of(self, session: Session, account: Account) -> bool:
        """Whether the person's key is still the one that they signed in with."""
        return hmac.compare_digest(session.key, self._fingerprint(account))

    def renewed(self, session: Session, request: HTTPConnection, *, now: datetime) -> Session | None:
        """The session as used now; None: it need not be told again, or the page asked and not its person."""
        if now - session.used_at < _RENEW_AFTER or not _is_a_persons_doing(request):
            return None
        return replace(session, used_at=now)

    def give(self, response: Response, session: Session, request: HTTPConnection) -> None:
        """Set the cookie. Lax, not Strict: a link in the RIS opens a study; changes are checked by their origin."""
        told = [session.session_id, session.name, session.key]
        value = self._sign().dumps([*told, int(session.begun_at.timestamp()), int(session.used_at.timestamp())])
        response.set_cookie(
            self._name(request),
            value if isinstance(value, str) else value.decode(),
            secure=self.is_secure(request),
            httponly=True,
            samesite="lax",
        )

    def end(self, session: Session, response: Response, request: HTTPConnection, *, now: datetime) -> None:
        """Here and for whoever has a copy of the cookie."""
        self._kept.end(session.session_id, forget_at=self.ends_at(session), now=now)
        with self._lock:
            self._ended = (0.0, frozenset())
        response.delete_cookie(self._name(request), secure=self.is_secure(request), httponly=True, samesite="lax")

    def _fingerprint(self, account: Account) -> str:
        return hmac.digest(self.secret().encode(), account.key_hash.encode(), "sha256").hex()[:32]

    def _sign(self) -> URLSafeSerializer:
        return URLSafeSerializer(self.secret(), salt=_SALT)

    def secret(self) -> str:
        """What they are signed with."""
        if self._key is None:
            self._key = SecretStr(self._kept.secret("session"))
        return self._key.get_secret_value()

    def _ended_ones(self) -> frozenset[str]:
        with self._lock:
            asked_at, ended = self._ended
            if time.monotonic() - asked_at >= _ENDED_FOR_S or not asked_at:
                ended = self._kept.ended()
                self._ended = (time.monotonic(), ended)
            return ended

    def is_secure(self, request: HTTPConnection) -> bool:
        """Whether its cookies are sent over TLS alone."""
        return self._is_https or request.url.scheme == "https"

    def _name(self, request: HTTPConnection) -> str:
        return cookie_name(secure=self.is_secure(request))


def cookie_name(*, secure: bool) -> str:
    """Of a session. A browser takes a __Host- cookie from this host alone, and over TLS only (RFC 6265bis 4.1.3.2)."""
    return "__Host-vigie_session" if secure else "vigie_session"


def _is_a_persons_doing(request: HTTPConnection) -> bool:
    """A page that refreshes itself keeps no session alive; who reads images in the viewer is there."""
    if REFRESH in request.headers or request.headers.get("accept") == "text/event-stream":
        return False  # over plain HTTP a browser tells no Sec-Fetch-Mode
    by_script = request.headers.get("sec-fetch-mode", "navigate") != "navigate"
    return not by_script or request.scope["method"] not in _SAFE or is_dicomweb(request.scope["path"])
