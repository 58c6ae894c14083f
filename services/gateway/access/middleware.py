"""Nobody reaches an endpoint unknown, or without a rule that lets them: the one gate before all of them."""

import math
from collections.abc import Callable
from datetime import datetime
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.access import outcomes
from services.gateway.access.caller import LOCAL, caller_of, put
from services.gateway.access.rates import Buckets, too_often
from services.gateway.access.rules import is_public, rule_for
from services.gateway.access.sign_in import Found, SignIn, TooManyAttemptsError, address_of
from services.gateway.language import noted
from services.gateway.problems import RETRY_AFTER_S, STORE_UNAVAILABLE, Problem, problem_response
from services.triage.errors import ProviderUnavailable, StoreUnavailable

NOT_SIGNED_IN = Problem(
    title=noted("Not signed in"),
    status=401,
    code="not_signed_in",
    detail=noted("No key was shown, or one that is nobody's here."),
    way_out=noted("Sign in at /login; a program sends its key as Authorization: Bearer KEY."),
)
PROVIDER_UNAVAILABLE = Problem(
    title=noted("The identity provider does not answer"),
    status=503,
    code="provider_unavailable",
    detail=noted("Whether the token is good cannot be told now."),
    way_out=noted("Try again in a few seconds. Keys of the people file (VIGIE_PEOPLE) need no provider."),
)
NOT_YOUR_PART = Problem(
    title=noted("Not your part"),
    status=403,
    code="not_your_part",
    detail=noted("None of your roles lets you see or do this."),
    way_out=noted("Ask whoever gives out the roles at your site; docs/roles.md lists what each may."),
)

TOO_MANY_ATTEMPTS = Problem(
    title=noted("Too many attempts"),
    status=429,
    code="too_many_attempts",
    detail=noted("Signing in failed too often."),
    way_out="Try again in 300 s.",
)


class Access:
    """ASGI middleware. sign_in: None where no people are set up; then whoever asks may do everything.

    per_minute: how often one address is told to sign in before it has to wait; 0 for no limit.
    """

    def __init__(
        self, app: ASGIApp, *, sign_in: SignIn | None, clock: Callable[[], datetime], per_minute: int = 0
    ) -> None:
        self.app = app
        self.sign_in = sign_in
        self.clock = clock
        self.refusals = Buckets(per_minute) if per_minute else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if self.sign_in is None:
            if caller_of(Request(scope)) is None:  # whoever is before us may know better
                put(scope, LOCAL)
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        public = is_public(scope["path"])
        try:
            found = await run_in_threadpool(self.sign_in.find, request)
            if found is not None:
                send = await run_in_threadpool(self._renewing, self.sign_in, found, request, send)
        except (TooManyAttemptsError, StoreUnavailable, ProviderUnavailable) as error:
            if not public:
                await _unheard(request, error)(scope, receive, send)
                return
            found = None
        if found is not None:
            put(scope, found.caller)  # a refusal is a page, too: with its places, and the way out
        refusal = None if public else self._refusal(request, found)
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, request: Request, found: Found | None) -> Response | None:
        path = request.url.path
        if found is None:
            if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
                return RedirectResponse(f"/login?next={quote(path)}" if path != "/" else "/login", status_code=303)
            wait_s = math.ceil(self.refusals.wait_s(address_of(request))) if self.refusals else 0
            return too_often(request, outcomes.UNKNOWN, wait_s) if wait_s else _not_signed_in(request)
        rule = rule_for(request.method, path)
        if rule is None and not _is_served(request.scope):
            return None  # nothing is there, and the answer says so
        if rule is not None and rule.need.is_met(found.caller):
            return None
        told = rule.path if rule else "no rule"
        outcomes.refused(found.caller, address_of(request), method=request.method, rule=told)
        return problem_response(request, NOT_YOUR_PART)

    def _renewing(self, sign_in: SignIn, found: Found, request: Request, send: Send) -> Send:
        """The same, which also tells the browser that the session was used."""
        sessions = sign_in.sessions
        renewed = sessions.renewed(found.session, request, now=self.clock()) if found.session else None
        if renewed is None:
            return send
        told = Response()
        sessions.give(told, renewed, request)

        async def send_with_cookie(message: Message) -> None:
            # what is refused keeps no session alive: another site's page may have asked
            if message["type"] == "http.response.start" and message["status"] != 403:
                headers = MutableHeaders(scope=message)
                if "set-cookie" not in headers:  # an endpoint that ends the session has the last word
                    headers.append("set-cookie", told.headers["set-cookie"])
            await send(message)

        return send_with_cookie


def _is_served(scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].routes)


def _unheard(request: Request, error: TooManyAttemptsError | StoreUnavailable | ProviderUnavailable) -> Response:
    if isinstance(error, TooManyAttemptsError):
        return too_many_attempts(request, error.wait_s)
    told = STORE_UNAVAILABLE if isinstance(error, StoreUnavailable) else PROVIDER_UNAVAILABLE
    return problem_response(request, told, {"Retry-After": str(RETRY_AFTER_S)})


def _not_signed_in(request: Request) -> Response:
    # asked for Basic, a browser would open a dialogue of its own over our page
    from_page = "sec-fetch-mode" in request.headers
    ways = ['Bearer realm="Vigie"'] + ([] if from_page else ['Basic realm="Vigie", charset="UTF-8"'])
    return problem_response(request, NOT_SIGNED_IN, {"WWW-Authenticate": ", ".join(ways)})


def too_many_attempts(request: Request, wait_s: int) -> Response:
    """The answer to who failed too often."""
    problem = TOO_MANY_ATTEMPTS.model_copy(update={"way_out": f"Try again in {wait_s} s."})
    return problem_response(request, problem, {"Retry-After": str(wait_s)})
