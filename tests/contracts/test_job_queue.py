"""The contract of `JobQueue`: at least once, by priority and age, and nothing is forgotten unless acknowledged."""

import time
from datetime import timedelta
from itertools import chain

from services.backends.queue import EmbeddedJobQueue
from services.triage.errors import Reason
from services.triage.job import JobMessage, OrderPriority
from services.triage.ports import ReceivedMessage
from tests.support.other_process import at_once, hold_a_message, killed_after, take_all

SOON = timedelta(seconds=1)
NOW = timedelta(0)


def message(number: int, priority: OrderPriority = OrderPriority.ROUTINE) -> JobMessage:
    return JobMessage(job_id=f"job-{number}", priority=priority, attempt=number)


def take(queue: EmbeddedJobQueue, timeout: timedelta = SOON) -> ReceivedMessage:
    received = queue.receive(timeout=timeout)
    assert received is not None
    return received


def test_a_message_arrives_as_it_was_published(queue: EmbeddedJobQueue) -> None:
    queue.publish(message(3, OrderPriority.STAT))
    assert take(queue).message == message(3, OrderPriority.STAT)


def test_an_empty_queue_answers_none_in_time(queue: EmbeddedJobQueue) -> None:
    begin = time.monotonic()
    assert queue.receive(timeout=timedelta(seconds=0.5)) is None
    assert 0.4 < time.monotonic() - begin < 2


def test_an_acknowledged_message_is_gone(queue: EmbeddedJobQueue, queue_url: str) -> None:
    queue.publish(message(1))
    take(queue).ack()
    queue.close()
    assert EmbeddedJobQueue(queue_url).receive(timeout=NOW) is None


def test_a_message_in_hand_is_not_given_to_another(queue: EmbeddedJobQueue, queue_url: str) -> None:
    queue.publish(message(1))
    take(queue)
    assert EmbeddedJobQueue(queue_url).receive(timeout=NOW) is None


def test_messages_come_by_order_priority_then_age(queue: EmbeddedJobQueue) -> None:
    for number, priority in enumerate((2, 0, 1, 0, 2), start=1):
        queue.publish(message(number, OrderPriority(priority)))
    assert [take(queue).message.attempt for _ in range(5)] == [2, 4, 3, 1, 5]


def test_a_message_comes_again_after_its_delay(queue: EmbeddedJobQueue) -> None:
    queue.publish(message(1))
    take(queue).retry(delay=timedelta(seconds=0.6))
    assert queue.receive(timeout=timedelta(seconds=0.2)) is None
    assert take(queue, timedelta(seconds=2)).message == message(1)


def test_a_delayed_message_holds_up_no_other(queue: EmbeddedJobQueue) -> None:
    queue.publish(message(1, OrderPriority.STAT))
    take(queue).retry(delay=timedelta(minutes=1))
    queue.publish(message(2))
    assert take(queue).message == message(2)


def test_a_dead_letter_is_kept_for_a_person_and_never_comes_again(queue: EmbeddedJobQueue) -> None:
    queue.publish(message(1))
    take(queue).dead_letter(Reason(code="unknown_job", text="nobody knows this job"))
    assert queue.receive(timeout=NOW) is None
    ((body, reason),) = queue.dead_letters()
    assert "job-1" in body
    assert reason.code == "unknown_job"


def test_closing_gives_messages_in_hand_back(queue: EmbeddedJobQueue, queue_url: str) -> None:
    queue.publish(message(1))
    queue.publish(message(2))
    take(queue).ack()
    take(queue)
    queue.close()
    assert take(EmbeddedJobQueue(queue_url)).message == message(2)


def test_a_message_in_the_hand_of_a_killed_process_comes_back(queue: EmbeddedJobQueue, queue_url: str) -> None:
    queue.publish(message(1))
    assert killed_after(hold_a_message, queue_url, acknowledged=1) == ["job-1"]
    assert take(queue, timedelta(seconds=5)).message == message(1)


def test_every_message_goes_to_one_of_the_workers(queue: EmbeddedJobQueue, queue_url: str) -> None:
    for number in range(1, 41):
        queue.publish(message(number))
    taken = at_once(take_all, [(queue_url,)] * 3)
    assert sorted(chain.from_iterable(taken)) == sorted(f"job-{number}" for number in range(1, 41))


def test_a_message_published_twice_comes_twice(queue: EmbeddedJobQueue) -> None:
    queue.publish(message(1))
    queue.publish(message(1))
    assert [take(queue).message, take(queue).message] == [message(1), message(1)]
