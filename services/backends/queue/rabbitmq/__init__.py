"""The queue on RabbitMQ: publishing and listening on a connection each, for a broker in need stops reading publishers.

Every call returns or raises QueueUnavailable (QueueRefused where a person must act) within CALL_S, or at once while the
broker is known to be away; the first one may also wait for the connection (link.CONNECT_S + session.DECLARE_S).
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from queue import Empty
from typing import Any, TypeVar

import pika

from services.backends.queue.message import VERSION, decode, encode
from services.backends.queue.rabbitmq.link import Link
from services.backends.queue.rabbitmq.session import ANSWER_S, Delivery, Session
from services.backends.queue.rabbitmq.topology import Topology
from services.triage.errors import DeadLetterError, QueueUnavailable, Reason, TransientError
from services.triage.job import JobMessage
from services.triage.ports import DeadLetter, QueueDepth

CALL_S = ANSWER_S + 2.0
_LEAST_WAIT_S = 0.2  # to the broker and back: with no timeout at all, what is there is still received
_GIVE_BACK_S = 2.0
_RETRIES, _REASON_CODE, _REASON_TEXT = "retries", "reason_code", "reason_text"
T = TypeVar("T")


class RabbitJobQueue:
    """`JobQueue` on RabbitMQ; for several threads to publish and one to receive. Raises QueueUnavailable."""

    def __init__(self, parameters: pika.ConnectionParameters, *, prefix: str = "vigie") -> None:
        self._topology = Topology(prefix=prefix)
        self._outgoing = Link(parameters, self._topology)
        self._incoming = Link(parameters, self._topology)

    def publish(self, message: JobMessage) -> None:
        """Returns once the broker has confirmed it (written to disk by a majority of the queue's replicas)."""
        headers = {} if message.traceparent is None else {"traceparent": message.traceparent}
        self._put(self._topology.jobs, encode(message).encode(), headers, message_id=message.job_id)

    def receive(self, *, timeout: timedelta) -> "RabbitMessage | None":
        """The next message, or None when none came in time. One that cannot be read becomes a dead letter."""
        deadline = time.monotonic() + max(timeout.total_seconds(), _LEAST_WAIT_S)
        session = self._incoming.session()
        while True:
            self._incoming.call(session.listen)
            try:
                delivery = session.deliveries.get(timeout=max(deadline - time.monotonic(), 0))
            except Empty:
                return None
            if delivery is None:
                raise QueueUnavailable(str(session.error))
            try:
                return RabbitMessage(self, delivery, _message(delivery))
            except DeadLetterError as error:
                self.bury(delivery, Reason(code="unreadable_message", text=str(error)))

    def depth(self) -> QueueDepth:
        """What waits in the queues now."""
        jobs, dead, *delays = (
            self._ask(lambda session, done, queue=queue: session.count(queue, done))  # type: ignore[misc]
            for queue in (self._topology.jobs, self._topology.dead, *self._topology.delays)
        )
        return QueueDepth(ready=jobs, delayed=sum(delays), dead=dead)

    def dead_letters(self, *, limit: int = 1000) -> list[DeadLetter]:
        """Dead letters, oldest first; they stay."""
        fetched = self._fetch_dead(limit)
        self._give_back(fetched)
        return [_dead_letter(each) for each in fetched]

    def requeue(self, *, limit: int = 1000) -> int:
        """Put the oldest dead letters that can be read back; answers how many."""
        unreadable, moved = [], 0
        for each in self._fetch_dead(limit):
            message = _dead_letter(each).message
            if message is None:
                unreadable.append(each)
                continue
            self.publish(message)
            self._outgoing.call(partial(each.session.acknowledge, each.tag))
            moved += 1
        self._give_back(unreadable)
        return moved

    def close(self) -> None:
        """Messages in hand go back to the queue."""
        self._incoming.close()
        self._outgoing.close()

    def delay(self, delivery: Delivery, delay: timedelta) -> None:
        """Have a message in hand come again after a delay."""
        headers = dict(delivery.properties.headers or {})
        retries = headers.get(_RETRIES, 0)
        queue = self._topology.delay(delay.total_seconds(), retries=retries)
        try:
            self._move(delivery, queue, headers | {_RETRIES: retries + 1})
        except TransientError:
            # it comes back by itself if the connection goes, and else from our own hand
            give_back = delivery.session.give_back
            self._incoming.call(lambda: give_back(delivery.tag, delay_s=delay.total_seconds()))

    def bury(self, delivery: Delivery, reason: Reason) -> None:
        """Have a message in hand kept for a person."""
        headers = dict(delivery.properties.headers or {})
        self._move(delivery, self._topology.dead, headers | {_REASON_CODE: reason.code, _REASON_TEXT: reason.text})

    def end(self, delivery: Delivery) -> None:
        """Forget a message in hand."""
        if delivery.session.error is not None:
            raise QueueUnavailable("the connection that brought this message is gone: it comes again")
        self._incoming.call(lambda: delivery.session.acknowledge(delivery.tag))

    def _move(self, delivery: Delivery, queue: str, headers: dict[str, Any]) -> None:
        # in this order: killed in between, the message is there twice, which is harmless
        self._put(queue, delivery.body, headers, message_id=delivery.properties.message_id)
        self.end(delivery)

    def _put(self, queue: str, body: bytes, headers: dict[str, Any], *, message_id: str | None) -> None:
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent.value,
            message_id=message_id,
            type="vigie.job",
            headers=headers | {"version": VERSION},
        )
        self._ask(lambda session, done: session.publish(queue, body, properties, done))

    def _fetch_dead(self, limit: int) -> list[Delivery]:
        fetched: list[Delivery] = []
        while len(fetched) < limit:
            delivery = self._ask(lambda session, done: session.fetch(self._topology.dead, done))
            if delivery is None:
                break
            fetched.append(delivery)
        return fetched

    def _give_back(self, fetched: Sequence[Delivery]) -> None:
        """Put what was looked at back, and wait a moment for it to be there: the broker does not confirm it."""
        for each in fetched:
            self._outgoing.call(partial(each.session.give_back, each.tag))
        deadline = time.monotonic() + _GIVE_BACK_S
        while self.depth().dead < len(fetched) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _ask(self, work: Callable[[Session, "Future[Any]"], None]) -> Any:
        session, done = self._outgoing.session(), Future[Any]()
        self._outgoing.call(lambda: work(session, done))
        try:
            return done.result(CALL_S)
        except TimeoutError:
            raise QueueUnavailable("RabbitMQ did not answer in time") from None


class RabbitMessage:
    """`ReceivedMessage`; ending it after its connection was lost raises QueueUnavailable: it comes again."""

    def __init__(self, queue: RabbitJobQueue, delivery: Delivery, message: JobMessage) -> None:
        self.message = message
        self._queue = queue
        self._delivery = delivery

    def ack(self) -> None:
        """Forget the message."""
        self._queue.end(self._delivery)

    def retry(self, *, delay: timedelta) -> None:
        """Bring the message again after a delay, rounded up to the next one there is, longer with each retry."""
        self._queue.delay(self._delivery, delay)

    def dead_letter(self, reason: Reason) -> None:
        """Keep the message for a person."""
        self._queue.bury(self._delivery, reason)


def _message(delivery: Delivery) -> JobMessage:
    """Raises DeadLetterError."""
    return decode(delivery.body, traceparent=(delivery.properties.headers or {}).get("traceparent"))


def _dead_letter(delivery: Delivery) -> DeadLetter:
    headers = delivery.properties.headers or {}
    # without a reason of ours it was the broker that put it there, at the delivery limit
    reason = Reason(
        code=str(headers.get(_REASON_CODE, "delivered_too_often")),
        text=str(headers.get(_REASON_TEXT, "no process that took it acknowledged it")),
    )
    try:
        message = _message(delivery)
    except DeadLetterError:
        message = None
    return DeadLetter(body=delivery.body.decode(errors="replace"), message=message, reason=reason)
