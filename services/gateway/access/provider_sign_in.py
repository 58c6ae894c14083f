"""Signing in at the identity provider (OpenID Connect, authorization code with PKCE), and who its sessions are of.

What a person was sent off with (state, nonce, verifier) is kept in a signed cookie of their own browser, for ten
minutes: a code that another browser brings is of no use (RFC 9700 2.1).
"""

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response

from services.backends.oidc.claims import machine_of, person_of
from services.backends.oidc.file import PREFIX, Oidc
from services.backends.oidc.provider import Provider
from services.backends.oidc.tokens import access_claims, id_claims
from services.backends.people_file import Account
from services.backends.store.signed_in import SignedIn, SignedInPerson
from services.gateway.access.session import Session, Sessions
from services.triage.errors import TokenRefused
from services.triage.person import Machine

_SALT = "vigie-oidc-1"
_AWAY_S = 600
_REMEMBERED = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaving:
    """A person on their way to the provider. wanted: the path that they go on to afterwards."""

    state: str
    nonce: str
    verifier: str
    wanted: str


class ProviderSignIn:
    """Of one application. Raises StoreUnavailable and ProviderUnavailable."""

    def __init__(
        self, oidc: Oidc, provider: Provider, kept: SignedIn, sessions: Sessions, clock: Callable[[], datetime]
    ) -> None:
        self.oidc = oidc
        self._provider = provider
        self._kept = kept
        self._sessions = sessions
        self._clock = clock
        self._lock = Lock()
        self._known: OrderedDict[str, SignedInPerson] = OrderedDict()

    def leave(self, request: HTTPConnection, wanted: str) -> Response:
        """The answer that sends a person to the provider; wanted: a path of ours."""
        leaving = Leaving(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            wanted=wanted,
        )
        url = self._provider.authorization_url(state=leaving.state, nonce=leaving.nonce, verifier=leaving.verifier)
        answer = RedirectResponse(url, status_code=303)
        value = self._sign().dumps([leaving.state, leaving.nonce, leaving.verifier, leaving.wanted])
        answer.set_cookie(
            self._cookie(request),
            value if isinstance(value, str) else value.decode(),
            max_age=_AWAY_S,
            secure=self._sessions.is_secure(request),
            httponly=True,
            samesite="lax",  # the way back is a link from the provider's site
        )
        return answer

    def left(self, request: Request, state: str) -> Leaving | None:
        """What this browser was sent off with; None: with nothing, another state, or too long ago."""
        try:
            told = self._sign().loads(request.cookies.get(self._cookie(request), ""), max_age=_AWAY_S)
            leaving = Leaving(**dict(zip(("state", "nonce", "verifier", "wanted"), told, strict=True)))
        except (BadData, ValueError, TypeError):
            return None
        return leaving if hmac.compare_digest(leaving.state.encode(), state.encode("utf-8", "replace")) else None

    def back(self, answer: Response, request: HTTPConnection) -> None:
        """Take the cookie away: a code is good for once."""
        secure = self._sessions.is_secure(request)
        answer.delete_cookie(self._cookie(request), secure=secure, httponly=True, samesite="lax")

    def arrive(self, code: str, leaving: Leaving) -> tuple[Account, Session]:
        """Who brought a code, and their new session. Raises TokenRefused."""
        now = self._clock()
        tokens = self._provider.exchange(code, leaving.verifier)
        id_token = tokens["id_token"]
        claims = id_claims(
            self.oidc, self._provider, id_token, nonce=leaving.nonce, access_token=tokens["access_token"], now=now
        )
        person = person_of(self.oidc, claims)
        if not self._kept.is_name_of(person.name, issuer=self.oidc.issuer, subject=claims["sub"], now=now):
            raise TokenRefused("name_taken", "the name has been another person's here")
        who = SignedInPerson(person=person, id_token=id_token, settings_digest=self.oidc.digest)
        account = _account(who)
        session = self._sessions.begin(account, now=now)
        self._kept.keep(session.session_id, who, forget_at=self._sessions.ends_at(session), now=now)
        return account, session

    def find(self, session: Session) -> Account | None:
        """Who a session is of; None: nobody, or somebody by another file than the one in force."""
        who = self._who(session.session_id)
        if who is None or who.person.name != session.name or who.settings_digest != self.oidc.digest:
            return None
        return _account(who)

    def sign_out_url(self, session: Session) -> str | None:
        """Where the person signs out of the provider, too; forgets who the session was of."""
        who = self._who(session.session_id)
        self._kept.forget(session.session_id)
        with self._lock:
            self._known.pop(session.session_id, None)
        return self._provider.sign_out_url(who.id_token) if who else None

    def machine(self, token: str) -> Machine:
        """Whose an access token is. Raises TokenRefused."""
        return machine_of(self.oidc, access_claims(self.oidc, self._provider, token, now=self._clock()))

    def _who(self, session_id: str) -> SignedInPerson | None:
        with self._lock:
            if session_id in self._known:
                return self._known[session_id]
        who = self._kept.get(session_id)
        if who is not None:
            with self._lock:
                self._known[session_id] = who
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return who

    def _sign(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._sessions.secret(), salt=_SALT)

    def _cookie(self, request: HTTPConnection) -> str:
        return "__Host-vigie_oidc" if self._sessions.is_secure(request) else "vigie_oidc"


def is_provider_session(session: Session) -> bool:
    """Whether its person signed in at the provider: no name of the people file begins so."""
    return session.name.startswith(PREFIX)


def is_access_token(shown: str) -> bool:
    """Whether it has the form of a signed token (JWS compact serialization): two dots, where a key of ours has one."""
    return shown.count(".") == 2


def _account(who: SignedInPerson) -> Account:
    # in the place of a key's hash stands what the person was read by: another file ends their sessions
    return Account(who=who.person, key_hash=f"{PREFIX}{who.settings_digest}")
