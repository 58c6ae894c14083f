"""Word of changes for open pages, by server-sent events: one look at the store per second, whoever listens, or none."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import anyio.to_thread
import structlog
from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from services.gateway.people import ThePerson
from services.triage.errors import StoreUnavailable

log = structlog.get_logger(__name__)

LOOK_S = 1.0
BEAT_S = 5.0  # a page that has heard nothing for three of these says that it may be out of date
AWAY_AFTER_S = 5.0

router = APIRouter(include_in_schema=False)


class Changes:
    """Watches the number of the newest event of the store while anybody listens; one loop for all listeners."""

    def __init__(self, newest: Callable[[], int]) -> None:
        self._newest = newest
        self._listeners: set[asyncio.Queue[None]] = set()
        self._number: int | None = None
        self._seen_at = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._has_looked = asyncio.Event()

    @property
    def is_watching(self) -> bool:
        """Whether the store is being asked."""
        return self._looking is not None

    async def listen(self) -> AsyncGenerator[int | None, None]:
        """The newest number: now, whenever it changes, and as a sign of life; None while the store is away."""
        bell: asyncio.Queue[None] = asyncio.Queue(maxsize=1)
        self._listeners.add(bell)
        try:
            while True:
                self._watch()
                await self._has_looked.wait()
                yield self._number if time.monotonic() - self._seen_at < AWAY_AFTER_S else None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(bell.get(), BEAT_S)
        finally:
            self._listeners.discard(bell)
            if not self._listeners and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def _watch(self) -> None:
        """One that broke, which the log tells, is begun again."""
        if self._looking is None or self._looking.done():
            self._has_looked = asyncio.Event()
            self._looking = asyncio.create_task(self._keep_looking(self._has_looked))

    async def _keep_looking(self, has_looked: asyncio.Event) -> None:
        while True:
            before = self._number
            try:
                await self._look()
            finally:
                has_looked.set()
            if self._number != before:
                for bell in self._listeners:
                    if bell.empty():
                        bell.put_nowait(None)
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        try:
            self._number = await anyio.to_thread.run_sync(self._newest)
        except StoreUnavailable:
            self._number = None
        else:
            self._seen_at = time.monotonic()


async def _told(changes: Changes) -> AsyncIterator[ServerSentEvent]:
    async with contextlib.aclosing(changes.listen()) as numbers:
        async for number in numbers:
            yield ServerSentEvent(data=json.dumps({"newest": number}), event="newest")


@router.get("/events")
async def events(request: Request, _person: ThePerson) -> Response:
    """`{"newest": number}` whenever anything happened to any study, and every few seconds; null: the store is away."""
    return EventSourceResponse(_told(request.app.state.changes), ping=3600, headers={"Cache-Control": "no-store"})
