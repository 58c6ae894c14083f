"""The page to sign in, and the end of a session."""

from typing import Annotated, cast

import structlog
from fastapi import APIRouter, Form, Query, Request, Response
from starlette.responses import RedirectResponse

from services.gateway.access.caller import caller_of
from services.gateway.access.sign_in import SignIn, TooManyAttemptsError, address_of
from services.gateway.audit.signing import signed_in, signed_out
from services.gateway.desk import TheDesk
from services.gateway.language import translated as _
from services.gateway.templates import pages
from services.triage.person import Person

log = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(alias="next", max_length=512)]


@router.get("/login")
def show(request: Request, wanted: Next = "/") -> Response:
    """The form."""
    if caller_of(request) is not None:
        return RedirectResponse(_local(wanted), status_code=303)
    return _page(request, wanted)


@router.post("/login")
def sign_in(
    request: Request,
    desk: TheDesk,
    name: Annotated[str, Form(max_length=64)] = "",
    key: Annotated[str, Form(max_length=512)] = "",
    wanted: Next = "/",
) -> Response:
    """Begin a session."""
    signing = _sign_in(request)
    if signing is None:
        return RedirectResponse(_local(wanted), status_code=303)
    try:
        account = signing.by_key(name.strip(), key, address_of(request))
    except TooManyAttemptsError as error:
        told = _("Signing in failed too often. Try again in %(seconds)s seconds.") % {"seconds": error.wait_s}
        page = _page(request, wanted, name=name, error=told, status=429)
        page.headers["Retry-After"] = str(error.wait_s)
        return page
    if account is None or not isinstance(account.who, Person):
        return _page(request, wanted, name=name, error=_("Name and key do not go together."), status=401)
    now = desk.clock()
    session = signing.sessions.begin(account, now=now)
    answer = RedirectResponse(_local(wanted), status_code=303)
    signing.sessions.give(answer, session, request)
    log.info("signed_in", name=account.who.name, address=address_of(request))
    signed_in(signing.recorder, account.who.name, address_of(request))
    return answer


@router.post("/logout")
def sign_out(request: Request, desk: TheDesk) -> Response:
    """End the session of whoever asks."""
    answer = RedirectResponse("/login", status_code=303)
    signing = _sign_in(request)
    session = signing.sessions.read(request, now=desk.clock()) if signing else None
    if signing is not None and session is not None:
        signing.sessions.end(session, answer, request, now=desk.clock())
        log.info("signed_out", name=session.name, address=address_of(request))
        signed_out(signing.recorder, session.name, address_of(request))
    return answer


def _page(request: Request, wanted: str, *, name: str = "", error: str = "", status: int = 200) -> Response:
    told = {"next": _local(wanted), "name": name, "error": error}
    return pages.TemplateResponse(request, "login.html", told, status)


def _sign_in(request: Request) -> SignIn | None:
    return cast(SignIn | None, request.app.state.sign_in)


def _local(wanted: str) -> str:
    """A path of ours, or the list: never another site, which `//host` is."""
    is_path = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_path else "/"
