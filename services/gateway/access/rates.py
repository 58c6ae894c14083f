"""How often one caller may search, open pages and ask the API: a bucket of tokens each, filled evenly.

Whatever is not named here is counted. What a viewer fetches for a study (frames, metadata, rendered images), pictures
of the work list, files of the pages and the viewer, and what a page holds open are not, unless it is refused because
nobody is signed in: `Access` counts these by their address, apart from what is answered.
Nor are /metrics and /readyz: kubelet and Prometheus may have the address of an Ingress, whose strangers would have them
refused. These answers are kept instead (`kept`), and what they cost does not grow with who asks.
"""

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.access import outcomes
from services.gateway.access.caller import LOCAL, caller_of
from services.gateway.access.sign_in import address_of
from services.gateway.language import noted
from services.gateway.problems import Problem, problem_response

_REMEMBERED = 10_000
_DICOMWEB = r"(?:/t/[^/]+|/training)?/dicom-?web"
_UNCOUNTED = re.compile(
    rf"{_DICOMWEB}/studies/.+(?<!/series)(?<!/instances)"  # retrieval; what ends so is a search
    r"|/studies/[^/]+/(?:key-image|prepared)/[^/]+|/(?:static|ohif)(?:/.*)?|/events|/healthz|/readyz|/metrics",
    re.DOTALL,
)

TOO_OFTEN = Problem(
    title=noted("Too many requests"),
    status=429,
    code="too_many_requests",
    detail=noted("You have asked more often than is allowed here."),
    way_out="Ask again in 5 s. VIGIE_REQUESTS_PER_MINUTE is the limit.",
)


def is_counted(path: str) -> bool:
    """Whether a request of this path takes a token of its caller's."""
    return _UNCOUNTED.fullmatch(path) is None


class Buckets:
    """One for each caller. clock: monotonic seconds. The oldest are forgotten when there are very many."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = per_minute
        self._clock = clock
        self._found: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Take one token; how long until there is one, 0 where there was."""
        now = self._clock()
        left, at = self._found.pop(caller, (float(self._size), now))
        left = min(float(self._size), left + (now - at) * self._size / 60)
        taken = left >= 1
        self._found[caller] = (left - 1 if taken else left, now)
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return 0.0 if taken else (1 - left) * 60 / self._size


class RateLimit:
    """ASGI middleware, after it is known who asks. per_minute: 0 for no limit."""

    def __init__(self, app: ASGIApp, *, per_minute: int) -> None:
        self.app = app
        self.buckets = Buckets(per_minute) if per_minute else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self.buckets is None or scope["type"] != "http" or not is_counted(scope["path"]):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        caller = caller_of(request)
        name = caller.name if caller is not None and caller is not LOCAL else ""
        address = address_of(request)
        wait_s = math.ceil(self.buckets.wait_s(name or f"from {address}"))
        held_off = too_often(request, name or outcomes.UNKNOWN, wait_s) if wait_s else None
        await (held_off or self.app)(scope, receive, send)


def too_often(request: Request, name: str, wait_s: int) -> Response:
    """The answer to who asked more often than anybody needs to."""
    outcomes.held_off(name, address_of(request), wait_s=wait_s)
    way_out = f"Ask again in {wait_s} s. VIGIE_REQUESTS_PER_MINUTE is the limit."
    problem = TOO_OFTEN.model_copy(update={"way_out": way_out})
    return problem_response(request, problem, {"Retry-After": str(wait_s)})
