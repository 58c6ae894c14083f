"""What changes anything is asked by our own pages or by programs, never by another site's page in the user's browser.

By Sec-Fetch-Site (Fetch Metadata), else by Origin (RFC 6454), which every browser of today sends with a POST; a request
that has neither is no browser's. The same way as Go's net/http.CrossOriginProtection.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.access import outcomes
from services.gateway.access.caller import caller_of
from services.gateway.access.sign_in import address_of
from services.gateway.dicomweb.root import is_dicomweb
from services.gateway.problems import Problem, problem_response

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CROSS_SITE = Problem(
    title="Asked by another site",
    status=403,
    code="cross_site",
    detail="The page that asked for this is not one of Vigie's.",
    way_out="Do it on Vigie's own pages. A viewer of another origin may use DICOMweb: VIGIE_DICOMWEB_ORIGINS.",
)


def is_change(method: str) -> bool:
    """Whether a request of this method may change anything."""
    return method not in _SAFE


class NotCrossSite:
    """ASGI middleware, within `Access`, which lets the sign-in form through. origins: may use DICOMweb all the same."""

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]) -> None:
        self.app = app
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and is_change(scope["method"]):
            request = Request(scope)
            if not self._is_ours(request):
                caller = caller_of(request)
                name = caller.name if caller else outcomes.UNKNOWN
                outcomes.cross_site_refused(name, address_of(request), method=scope["method"])
                await problem_response(request, CROSS_SITE)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _is_ours(self, request: Request) -> bool:
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if origin in self.origins and is_dicomweb(request.scope["path"]):
            return True
        if site is not None:
            return site in ("same-origin", "none")
        # the scheme is left out: a proxy that ends TLS changes it
        return origin is None or origin.partition("://")[2] == request.headers.get("host", "")
