"""One connection with one channel: declares the queues, publishes with confirms, hears one bell at a time.

All of it runs in the thread of its `Link`; only `deliveries` and futures reach over to another thread. A session that
has failed is dropped, never mended: the link opens the next one.

A quorum queue may be declared and have no leader, for ever (the broker was killed a moment after its declaration): it
takes publications and consumers and answers none. A queue that has not answered for ANSWER_S is suspected; the session
ends, and the next one deletes the queue if it reports no message and no consumer, and declares it again. What may have
been in it is published again from the database.
"""

from collections.abc import Callable, Collection, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

import structlog
from pika.channel import Channel
from pika.connection import Connection
from pika.spec import Basic, BasicProperties

from services.backends.queue.rabbitmq.faults import as_error, is_internal
from services.backends.queue.rabbitmq.topology import Topology
from services.triage.errors import QueueUnavailable, TransientError

log = structlog.get_logger(__name__)

ANSWER_S = 8.0
"""Longest wait for the answer of a queue: a confirm, a consumer registered, a message fetched."""

DECLARE_S = 20.0
"""Longest wait for all queues to be declared; deleting one without a leader takes the broker five seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message as it came, in the hand of this session."""

    session: "Session"
    tag: int
    properties: BasicProperties
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class _Awaited:
    """An answer that a queue owes us."""

    queue: str
    done: "Future[Any]"
    timer: Any


class Session:
    """Calls `on_ready` once the queues are declared, and `on_lost` once, with the error and the suspected queues."""

    def __init__(
        self,
        connection: Connection,
        topology: Topology,
        *,
        suspects: Collection[str],
        on_ready: Callable[["Session"], None],
        on_lost: Callable[[TransientError, Collection[str]], None],
    ) -> None:
        self.deliveries: SimpleQueue[Delivery | None] = SimpleQueue()  # None: the session has ended
        self.error: TransientError | None = None
        self._connection = connection
        self._topology = topology
        self._suspects = set(suspects)
        self._on_ready, self._on_lost = on_ready, on_lost
        self._undeclared = iter(topology.queues().items())
        self._published = 0
        self._awaited: dict[Hashable, _Awaited] = {}  # publications by their number
        self._consumer: str | None = None
        self._alarm: str | None = None
        self._overdue = self._later(DECLARE_S, partial(self._fail_with, "RabbitMQ does not get the queues declared"))
        connection.add_on_close_callback(lambda _, reason: self._lost(reason))
        connection.add_on_connection_blocked_callback(lambda _, frame: self._blocked(str(frame.method.reason)))
        connection.add_on_connection_unblocked_callback(lambda *_: self._blocked(None))
        self._channel: Channel = connection.channel(on_open_callback=self._opened)

    def publish(self, queue: str, body: bytes, properties: BasicProperties, done: "Future[None]") -> None:
        """Publish; `done` is set once the broker has the message safe, or raises."""
        if self.error or self._alarm:
            done.set_exception(self.error or _blocked_by(self._alarm))
            return
        self._published += 1
        self._await(self._published, queue, done)
        self._channel.basic_publish("", queue, body, properties, mandatory=True)

    def listen(self) -> None:
        """Have the next bell put into `deliveries`.

        A consumer hears one bell and is cancelled before that bell is acknowledged: else the broker would hand the next
        one to a worker that is busy for minutes while another is idle.
        """
        if self.error or self._consumer:
            return
        self._await("consume", self._topology.jobs, Future())
        registered = lambda _: self._answered("consume")  # noqa: E731
        self._consumer = self._channel.basic_consume(self._topology.jobs, self._delivered, callback=registered)

    def fetch(self, queue: str, done: "Future[Delivery | None]") -> None:
        """Take the next message of a queue in hand; None when it is empty. One at a time."""
        if self.error:
            done.set_exception(self.error)
            return
        self._await("get", queue, done)

        def fetched(_channel: Channel, method: Basic.GetOk, properties: BasicProperties, body: bytes) -> None:
            delivery = Delivery(session=self, tag=method.delivery_tag, properties=properties, body=body)
            self._answered("get", delivery)

        self._channel.basic_get(queue, fetched)
        self._channel.add_callback(lambda _: self._answered("get"), [Basic.GetEmpty])

    def count(self, queue: str, done: "Future[int]") -> None:
        """How many messages of a queue are in nobody's hand."""
        if self.error:
            done.set_exception(self.error)
            return
        self._await(("count", queue), queue, done)
        counted = lambda frame: self._answered(("count", queue), frame.method.message_count)  # noqa: E731
        self._channel.queue_declare(queue, passive=True, callback=counted)

    def acknowledge(self, tag: int) -> None:
        """Forget a message in hand."""
        if not self.error:
            self._channel.basic_ack(tag)

    def give_back(self, tag: int, *, delay_s: float = 0.0) -> None:
        """Keep a message in hand for a while, then give it back to its queue."""
        if not self.error:
            self._later(delay_s, lambda: None if self.error else self._channel.basic_nack(tag, requeue=True))

    def end(self, then: Callable[[], None]) -> None:
        """Close in good order."""
        self._connection.add_on_close_callback(lambda *_: then())
        self._fail_with("the queue was closed")

    def _opened(self, channel: Channel) -> None:
        if self.error:
            return
        channel.add_on_close_callback(lambda _, reason: self._lost(reason))
        channel.add_on_cancel_callback(lambda _: self._fail_with("RabbitMQ has deleted a queue of ours"))
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed)
        channel.basic_qos(prefetch_count=1)
        self._declare_next()

    def _declare_next(self) -> None:
        declared = next(self._undeclared, None)
        if declared is not None:
            self._declare(*declared)
        elif not self.error:
            self._connection.ioloop.remove_timeout(self._overdue)
            self._on_ready(self)

    def _declare(self, name: str, arguments: dict[str, Any]) -> None:
        def declared(frame: Any) -> None:
            suspected = name in self._suspects
            self._suspects.discard(name)
            if suspected and frame.method.message_count == frame.method.consumer_count == 0 and not self.error:
                log.warning("silent_queue_made_anew", queue=name)
                self._channel.queue_delete(name, callback=lambda _: self._declare(name, arguments))
            else:
                self._declare_next()

        if not self.error:
            self._channel.queue_declare(name, durable=True, arguments=arguments, callback=declared)

    def _confirmed(self, frame: Any) -> None:
        last = frame.method.delivery_tag
        all_until = [each for each in self._awaited if isinstance(each, int) and each <= last]
        for number in all_until if frame.method.multiple else [last]:
            if isinstance(frame.method, Basic.Ack):
                self._answered(number)
            elif number in self._awaited:  # refused: so does a queue whose process has died
                queue = self._awaited[number].queue
                self._fail(QueueUnavailable(f"the queue {queue} did not take a message"), {queue})

    def _returned(self, _channel: Channel, method: Basic.Return, *_: object) -> None:
        # with it fail all that are not confirmed: which of them it was does not matter, each is published again
        self._fail_with(f"no queue {method.routing_key} on RabbitMQ (unroutable); the next connection declares it")

    def _delivered(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        if self.error:
            return
        self._consumer = None
        channel.basic_cancel(method.consumer_tag, callback=lambda _: None)
        self.deliveries.put(Delivery(session=self, tag=method.delivery_tag, properties=properties, body=body))

    def _blocked(self, alarm: str | None) -> None:
        self._alarm = alarm
        for number in [each for each in self._awaited if alarm is not None and isinstance(each, int)]:
            self._answered(number, error=_blocked_by(alarm))

    def _lost(self, reason: BaseException) -> None:
        suspects = {each.queue for each in self._awaited.values()} if is_internal(reason) else set()
        self._fail(as_error(reason), suspects)

    def _fail_with(self, text: str) -> None:
        self._fail(QueueUnavailable(text))

    def _fail(self, error: TransientError, suspects: Collection[str] = ()) -> None:
        """End the session: whoever waits is told. Messages in hand go back to the queue."""
        if self.error:
            return
        self.error = error
        self._connection.ioloop.remove_timeout(self._overdue)
        for key in list(self._awaited):
            self._answered(key, error=error)
        self.deliveries.put(None)
        if self._connection.is_open:
            self._connection.close()
        self._on_lost(error, suspects)

    def _await(self, key: Hashable, queue: str, done: "Future[Any]") -> None:
        silent = QueueUnavailable(f"the queue {queue} did not answer in {ANSWER_S:g} s")
        timer = self._later(ANSWER_S, partial(self._fail, silent, {queue}))
        self._awaited[key] = _Awaited(queue=queue, done=done, timer=timer)

    def _answered(self, key: Hashable, answer: object = None, *, error: TransientError | None = None) -> None:
        awaited = self._awaited.pop(key, None)
        if awaited is None:
            return
        self._connection.ioloop.remove_timeout(awaited.timer)
        if error is None:
            awaited.done.set_result(answer)
        else:
            awaited.done.set_exception(error)

    def _later(self, seconds: float, callback: Callable[[], object]) -> Any:
        return self._connection.ioloop.call_later(seconds, callback)


def _blocked_by(alarm: str | None) -> QueueUnavailable:
    return QueueUnavailable(f"RabbitMQ takes no messages now: {alarm}")
