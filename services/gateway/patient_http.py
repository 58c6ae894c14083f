"""HTTP/1.1 connections that are not kept for those who send or read too slowly (slowloris), nor beyond a number.

uvicorn has a limit for idle connections alone. Here a request's head must be there in time, its body must go on, and so
must the reading of our answer; a page that waits for events is idle on purpose, and none of these.
"""

import asyncio
from typing import Any

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.logs import Conditions

log = structlog.get_logger(__name__)

MAX_HEAD_BYTES = 16_384
"""Of the request line and all headers."""

_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 21\r\nconnection: close\r\n\r\nToo many connections\n"
)


class PatientProtocol(H11Protocol):
    """One connection; `limited` makes a class with limits.

    most: connections at the same time. head_s: from the first byte of a request, or of a connection, to the end of its
    headers. body_bytes: so many of a body must come within body_s while we read (4 kbit/s). answer_s: so long the
    network may take hardly anything of an answer.
    """

    most = 1000
    head_s = 10.0
    body_s = 60.0
    body_bytes = 30_000
    answer_s = 120.0
    conditions = Conditions(log)

    def __init__(self, *told: Any, **named: Any) -> None:
        super().__init__(*told, **named)
        self._head: asyncio.TimerHandle | None = None
        self._body: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._received = 0
        self._was_paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, or say that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self.conditions.begins("too_many_connections", connections=len(self.connections))
            transport.write(_BUSY)
            transport.close()
            return
        self.conditions.ends("too_many_connections")
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        for each in (self._head, self._body, self._reading):
            if each is not None:
                each.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request."""
        if self.transport.is_closing():
            return
        self._received += len(data)
        super().data_received(data)
        self._was_paused = self._was_paused or self.flow.read_paused
        self._look()

    def on_response_complete(self) -> None:
        """The next request may be there already."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """What we have sent is not taken."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.answer_s, self._give_up, "answer_not_read")

    def resume_writing(self) -> None:
        """It is."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _look(self) -> None:
        """What is waited for now, by where the request is."""
        state = self.conn.their_state
        if state is not h11.IDLE and self._head is not None:
            self._head.cancel()
            self._head = None
        if state is h11.IDLE and self._head is None and self.conn.trailing_data[0]:
            self._expect_head()
        if state is h11.SEND_BODY and self._body is None:
            self._expect_body()
        elif state is not h11.SEND_BODY and self._body is not None:
            self._body.cancel()
            self._body = None

    def _expect_head(self) -> None:
        self._head = self.loop.call_later(self.head_s, self._give_up, "slow_head")

    def _expect_body(self) -> None:
        self._received = 0
        self._was_paused = self.flow.read_paused
        self._body = self.loop.call_later(self.body_s, self._look_at_body)

    def _look_at_body(self) -> None:
        is_ours = self.flow.read_paused or self._was_paused  # the application has not taken what came: it sets the pace
        if self._received < self.body_bytes and not is_ours:
            self._give_up("slow_body")
            return
        self._expect_body()

    def _give_up(self, why: str) -> None:
        self._head = self._body = self._reading = None
        if not self.transport.is_closing():
            log.warning("connection_given_up", why=why, address=self.client[0] if self.client else "unknown")
        self.transport.abort()


def limited(**limits: float) -> type[PatientProtocol]:
    """The protocol with limits of its own."""
    return type("LimitedProtocol", (PatientProtocol,), {**limits, "conditions": Conditions(log)})
