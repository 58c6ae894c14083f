"""Who gets at what through HTTP, and who is refused: one place before all endpoints, so that none can forget.

An event is written before the answer begins: nobody has seen what no record tells of.
"""

from collections.abc import Callable, Sequence
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.backends.store.audit import asked_from
from services.gateway.access.sign_in import address_of
from services.gateway.audit.asked import asker, query_made, refused
from services.gateway.audit.recorder import Recorder
from services.gateway.audit.ways import Way, ways_of
from services.triage.audit import AuditObject, AuditObjectKind
from services.triage.audit_types import AuditType, audited

_REFUSALS = {401: "not_signed_in", 403: "not_your_part", 429: "too_many_attempts"}
"""The reason, where no problem tells a better one."""


class Watching:
    """ASGI middleware, around `Access`."""

    def __init__(self, app: ASGIApp, *, recorder: Recorder) -> None:
        self.app = app
        self.recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        asked_from.set(address_of(request))
        request.state.problem = None  # here, so that all below share one state

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start" and (record := self._what(request, message["status"])):
                await run_in_threadpool(record)
            await send(message)

        await self.app(scope, receive, send_and_record)

    def _what(self, request: Request, status: int) -> Callable[[], None] | None:
        """What is to be written, if anything is."""
        if status in _REFUSALS:
            return partial(refused, self.recorder, request, request.state.problem or _REFUSALS[status])
        if status >= 400:
            return None
        ways = ways_of(request.method, request.url.path, request.scope["query_string"])
        return partial(self._reached, request, ways) if ways else None

    def _reached(self, request: Request, ways: Sequence[Way]) -> None:
        for way in ways:
            self._got_at(request, way)

    def _got_at(self, request: Request, way: Way) -> None:
        if way.type in (AuditType.WORK_LIST, AuditType.SEARCH):
            query_made(self.recorder, way.type, request)
            return
        objects = self._objects(way)
        if not objects:
            return
        who = asker(request)
        what = [f"{one.kind} {one.object_id}" for one in objects]
        how = request.method if way.type is AuditType.WORKITEM else ""
        self.recorder.once(audited(way.type, who, objects=tuple(objects)), who.name, how, *what)

    def _objects(self, way: Way) -> list[AuditObject]:
        found = []
        study = way.study or (self.recorder.study_of(way.instance) if way.instance else None)
        if study:
            found.append(AuditObject(kind=AuditObjectKind.STUDY, object_id=study))
        if way.instance:
            found.append(AuditObject(kind=AuditObjectKind.INSTANCE, object_id=way.instance))
        if way.workitem:
            found.append(AuditObject(kind=AuditObjectKind.JOB, object_id=way.workitem))
        if way.case:
            found.append(AuditObject(kind=AuditObjectKind.CASE, object_id=way.case[:64]))
        return found
