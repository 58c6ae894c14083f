"""A link to the broker: a thread that keeps a session open, and opens the next one when it is lost.

The thread does nothing else, so heartbeats beat whatever the worker computes meanwhile.
"""

import random
import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import pika
import structlog
from pika.adapters.select_connection import IOLoop

from services.backends.queue.rabbitmq.faults import as_error
from services.backends.queue.rabbitmq.parameters import CONNECT_S
from services.backends.queue.rabbitmq.session import DECLARE_S, Session
from services.backends.queue.rabbitmq.topology import Topology
from services.triage.errors import QueueRefused, QueueUnavailable, TransientError

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
CLOSE_S = 5.0


class Link:
    """Opened at its first use."""

    def __init__(self, parameters: pika.ConnectionParameters, topology: Topology) -> None:
        self._parameters = parameters
        self._topology = topology
        self._changed = threading.Condition()
        # guarded by _changed:
        self._session: Session | None = None
        self._error: TransientError | None = None  # of the last attempt; None while the first is under way
        self._thread: threading.Thread | None = None
        self._ioloop: IOLoop | None = None
        self._closed = False
        # the thread's own:
        self._failures = 0

    def session(self) -> Session:
        """The open session; waits for the first one. Raises QueueUnavailable, QueueRefused at once while it is down."""
        with self._changed:
            self._run_thread()
            self._changed.wait_for(lambda: self._session or self._error, CONNECT_S + DECLARE_S)
            if self._session is not None:
                return self._session
            error = self._error or QueueUnavailable("RabbitMQ does not answer")
        raise type(error)(str(error))

    def call(self, work: Callable[[], None]) -> None:
        """Have it done in the link's thread."""
        with self._changed:
            if self._ioloop is not None:
                self._ioloop.add_callback_threadsafe(work)

    def close(self) -> None:
        """Messages in hand go back to the queue; returns within CLOSE_S and a second."""
        with self._changed:
            self._closed, thread = True, self._thread
        self.call(self._end)
        if thread is not None:
            thread.join(CLOSE_S + 1)

    def _run_thread(self) -> None:
        if self._closed:
            raise QueueUnavailable("the queue was closed")
        if self._thread is None or not self._thread.is_alive():
            self._ioloop, self._session, self._error = IOLoop(), None, None
            self._thread = threading.Thread(target=self._run, args=(self._ioloop,), name="rabbitmq", daemon=True)
            self._thread.start()

    def _run(self, ioloop: IOLoop) -> None:
        try:
            self._connect(())
            ioloop.start()
        finally:
            with self._changed:
                self._session, self._error, self._ioloop = None, QueueUnavailable("the queue was closed"), None
                self._changed.notify_all()
            ioloop.close()

    def _connect(self, suspects: Collection[str]) -> None:
        pika.SelectConnection.create_connection(
            [self._parameters], on_done=partial(self._connected, suspects), custom_ioloop=self._ioloop
        )

    def _connected(self, suspects: Collection[str], result: Any) -> None:
        if isinstance(result, BaseException):
            self._lost(as_error(result), ())
        elif self._closed:
            result.close()
        else:
            Session(result, self._topology, suspects=suspects, on_ready=self._ready, on_lost=self._lost)

    def _ready(self, session: Session) -> None:
        self._failures = 0
        log.info("broker_connected", host=self._parameters.host, queues=self._topology.prefix)
        with self._changed:
            self._session, self._error = session, None
            self._changed.notify_all()

    def _lost(self, error: TransientError, suspects: Collection[str]) -> None:
        with self._changed:
            said = str(self._error)
            self._session, self._error = None, error
            self._changed.notify_all()
        if self._closed or self._ioloop is None:
            return
        if str(error) != said:
            event = "broker_refuses" if isinstance(error, QueueRefused) else "broker_lost"
            log.warning(event, host=self._parameters.host, error=str(error))
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._failures) * random.uniform(0.5, 1)  # noqa: S311
        self._failures = min(self._failures + 1, 10)
        # suspicion holds for the next connection only: had that failed, the broker was silent and not the queue
        self._ioloop.call_later(pause_s, partial(self._connect, suspects))

    def _end(self) -> None:
        ioloop = self._ioloop
        if ioloop is None:
            return
        ioloop.call_later(CLOSE_S, ioloop.stop)
        if self._session is None:
            ioloop.stop()
        else:
            self._session.end(ioloop.stop)
