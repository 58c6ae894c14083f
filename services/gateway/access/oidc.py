"""To the identity provider and back: the two addresses that a browser is led through to sign in there."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from services.gateway.access import outcomes
from services.gateway.access.login import Next, landing, local, login_page, sign_in_of
from services.gateway.access.provider_sign_in import Leaving, ProviderSignIn
from services.gateway.access.sign_in import SignIn, address_of
from services.gateway.audit.recorder import Recorder
from services.gateway.language import noted
from services.gateway.language import translated as _
from services.triage.errors import ProviderUnavailable, TokenRefused

router = APIRouter(include_in_schema=False)

_AWAY = noted("Nobody answers at %(provider)s now. Try again, or sign in with a key if you have one.")
_BEGIN_AGAIN = noted("Signing in took too long, or was begun in another window. Begin again here.")
_NOT_PROVEN = noted(
    "Signing in with %(provider)s did not prove who you are. Begin again; if it lasts, tell whoever looks after Vigie."
)
_SAID = {
    "no_role": noted(
        "You are signed in at %(provider)s, but none of your roles there opens anything in Vigie. Ask whoever gives "
        "out the roles at your site for one."
    ),
    "no_tenant": noted(
        "You are signed in at %(provider)s, but Vigie knows none of the hospitals that you are of there. Ask whoever "
        "gives out the roles at your site."
    ),
    "no_name": noted(
        "You are signed in at %(provider)s, but your name there cannot stand in Vigie's histories. Tell whoever looks "
        "after Vigie."
    ),
    "name_taken": noted(
        "You are signed in at %(provider)s, but somebody else has worked in Vigie under your name before, and "
        "histories keep it. Tell whoever looks after Vigie."
    ),
    "access_denied": noted("You did not sign in at %(provider)s, or it does not let you in to Vigie."),
}
"""By the code of what was refused; 403, since the person is known, and signing in again would change nothing."""


@router.get("/login/oidc")
def leave(request: Request, wanted: Next = "/") -> Response:
    """Send a person to the provider."""
    signing = sign_in_of(request)
    if signing is None or signing.provider is None:
        return RedirectResponse("/login", status_code=303)
    try:
        return signing.provider.leave(request, local(wanted))
    except ProviderUnavailable:
        return _failed(request, signing.recorder, signing.provider, wanted, "provider_unavailable", _AWAY, status=503)


@router.get("/login/oidc/callback")
def come_back(
    request: Request,
    state: Annotated[str, Query(max_length=512)] = "",
    code: Annotated[str, Query(max_length=4096)] = "",
    error: Annotated[str, Query(max_length=512)] = "",
) -> Response:
    """Begin the session of who comes back from the provider."""
    signing = sign_in_of(request)
    if signing is None or signing.provider is None:
        return RedirectResponse("/login", status_code=303)
    provider = signing.provider
    leaving = provider.left(request, state)
    if leaving is None:
        return _failed(request, signing.recorder, provider, "/", "wrong_state", _BEGIN_AGAIN, status=400)
    answer = _arrived(request, signing, provider, leaving, code=code, error=error)
    provider.back(answer, request)
    return answer


def _arrived(
    request: Request, signing: SignIn, provider: ProviderSignIn, leaving: Leaving, *, code: str, error: str
) -> Response:
    try:
        account, session = provider.arrive(_must_be_code(code, error), leaving)
    except TokenRefused as refusal:
        reason = refusal.reason.code
        status = 403 if reason in _SAID else 401
        return _failed(
            request, signing.recorder, provider, leaving.wanted, reason, _SAID.get(reason, _NOT_PROVEN), status=status
        )
    except ProviderUnavailable:
        return _failed(request, signing.recorder, provider, leaving.wanted, "provider_unavailable", _AWAY, status=503)
    answer = RedirectResponse(landing(leaving.wanted, account.who), status_code=303)
    signing.sessions.give(answer, session, request)
    outcomes.signed_in(signing.recorder, account.who.name, address_of(request), way="oidc")
    return answer


def _failed(
    request: Request, recorder: Recorder, provider: ProviderSignIn, wanted: str, reason: str, said: str, *, status: int
) -> Response:
    outcomes.sign_in_failed(recorder, outcomes.UNKNOWN, address_of(request), way="oidc", reason=reason)
    return login_page(request, wanted, error=_(said) % {"provider": provider.oidc.label}, status=status)


def _must_be_code(code: str, error: str) -> str:
    """What the provider sent (RFC 6749 4.1.2). Raises TokenRefused: an error, or nothing."""
    if code and not error:
        return code
    denied = error in ("access_denied", "interaction_required", "login_required")
    raise TokenRefused("access_denied" if denied else "provider_error", "the provider sent no code")
