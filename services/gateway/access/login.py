"""The page to sign in, and the end of a session."""

from typing import Annotated, cast

from fastapi import APIRouter, Form, Query, Request, Response
from starlette.responses import RedirectResponse

from services.gateway.access import outcomes
from services.gateway.access.caller import caller_of, take_away
from services.gateway.access.provider_sign_in import ProviderSignIn, is_provider_session
from services.gateway.access.session import Session
from services.gateway.access.sign_in import SignIn, TooManyAttemptsError, address_of
from services.gateway.desk import TheDesk
from services.gateway.language import translated as _
from services.gateway.navigation import home_of
from services.gateway.templates import pages
from services.triage.errors import ProviderUnavailable
from services.triage.person import Caller, Person

router = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(alias="next", max_length=512)]


@router.get("/login")
def show(request: Request, wanted: Next = "/") -> Response:
    """The form."""
    if (caller := caller_of(request)) is not None:
        return RedirectResponse(landing(wanted, caller), status_code=303)
    return login_page(request, wanted)


@router.post("/login")
def sign_in(
    request: Request,
    desk: TheDesk,
    name: Annotated[str, Form(max_length=64)] = "",
    key: Annotated[str, Form(max_length=512)] = "",
    wanted: Next = "/",
) -> Response:
    """Begin a session."""
    signing = sign_in_of(request)
    if signing is None:
        return RedirectResponse(local(wanted), status_code=303)
    try:
        account = signing.by_key(name.strip(), key, address_of(request), way="form")
    except TooManyAttemptsError as error:
        told = _("Signing in failed too often. Try again in %(seconds)s seconds.") % {"seconds": error.wait_s}
        page = login_page(request, wanted, name=name, error=told, status=429)
        page.headers["Retry-After"] = str(error.wait_s)
        return page
    if account is None or not isinstance(account.who, Person):
        return login_page(request, wanted, name=name, error=_("Name and key do not go together."), status=401)
    now = desk.clock()
    session = signing.sessions.begin(account, now=now)
    answer = RedirectResponse(landing(wanted, account.who), status_code=303)
    signing.sessions.give(answer, session, request)
    outcomes.signed_in(signing.recorder, account.who.name, address_of(request), way="form")
    return answer


@router.post("/logout")
def sign_out(request: Request, desk: TheDesk) -> Response:
    """End the session of whoever asks; who signed in at the identity provider is led on to sign out there."""
    signing = sign_in_of(request)
    session = signing.sessions.read(request, now=desk.clock()) if signing else None
    if signing is None or session is None:
        return RedirectResponse("/login", status_code=303)
    onward = _provider_url(signing.provider, session)
    take_away(request.scope)
    answer: Response = RedirectResponse("/login", status_code=303)
    if onward and signing.provider is not None:
        # a page, and no redirect: a form's answer may lead to no other site (CSP form-action)
        told = {"onward": onward, "label": signing.provider.oidc.label}
        answer = pages.TemplateResponse(request, "signed_out.html", told)
    signing.sessions.end(session, answer, request, now=desk.clock())
    outcomes.signed_out(signing.recorder, session.name, address_of(request))
    return answer


def _provider_url(provider: ProviderSignIn | None, session: Session) -> str | None:
    if provider is None or not is_provider_session(session):
        return None
    try:
        return provider.sign_out_url(session)
    except ProviderUnavailable:
        return None  # here the session ends all the same


def login_page(request: Request, wanted: str, *, name: str = "", error: str = "", status: int = 200) -> Response:
    """The form, the way to the identity provider, or both; error: what went wrong, for the person to read."""
    signing = sign_in_of(request)
    provider = signing.provider if signing else None
    told = {
        "next": local(wanted),
        "name": name,
        "error": error,
        "has_keys": signing is None or signing.people is not None,
        "provider": provider.oidc.label if provider else "",
    }
    return pages.TemplateResponse(request, "login.html", told, status)


def sign_in_of(request: Request) -> SignIn | None:
    """How people sign in here; None: nobody has to."""
    return cast(SignIn | None, request.app.state.sign_in)


def landing(wanted: str, who: Caller) -> str:
    """Where one who has signed in is led: to what was asked for; not to the list, if it is not for them."""
    path = local(wanted)
    return home_of(who).path if path == "/" and isinstance(who, Person) else path


def local(wanted: str) -> str:
    """A path of ours, or the list: never another site, which `//host` is."""
    is_path = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_path else "/"
