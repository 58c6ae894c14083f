"""The contract of `JobQueue`: at least once, in the order of arrival, nothing forgotten unless acknowledged."""

import time
from datetime import timedelta
from itertools import chain

from services.triage.errors import Reason
from services.triage.job import JobMessage, OrderPriority
from services.triage.ports import JobQueue, QueueDepth, ReceivedMessage
from tests.support.other_process import at_once, hold_a_message, killed_after, take_all
from tests.support.peers import wait_until
from tests.support.queues import queue_at

SOON = timedelta(seconds=1)
NOW = timedelta(0)


def message(number: int, priority: OrderPriority = OrderPriority.ROUTINE) -> JobMessage:
    return JobMessage(job_id=f"job-{number}", priority=priority, attempt=number)


def take(queue: JobQueue, timeout: timedelta = SOON) -> ReceivedMessage:
    received = queue.receive(timeout=timeout)
    assert received is not None
    return received


def test_a_message_arrives_as_it_was_published(queue: JobQueue) -> None:
    queue.publish(message(3, OrderPriority.STAT))
    assert take(queue).message == message(3, OrderPriority.STAT)


def test_an_empty_queue_answers_none_in_time(queue: JobQueue) -> None:
    begin = time.monotonic()
    assert queue.receive(timeout=timedelta(seconds=0.5)) is None
    assert 0.4 < time.monotonic() - begin < 2


def test_an_acknowledged_message_is_gone(queue: JobQueue, queue_url: str) -> None:
    queue.publish(message(1))
    take(queue).ack()
    queue.close()
    assert queue_at(queue_url).receive(timeout=NOW) is None


def test_a_message_in_hand_is_not_given_to_another(queue: JobQueue, queue_url: str) -> None:
    queue.publish(message(1))
    take(queue)
    assert queue_at(queue_url).receive(timeout=NOW) is None


def test_a_message_comes_again_after_its_delay(queue: JobQueue) -> None:
    queue.publish(message(1))
    take(queue).retry(delay=timedelta(seconds=0.6))
    assert queue.receive(timeout=timedelta(seconds=0.2)) is None
    assert take(queue, timedelta(seconds=2)).message == message(1)


def test_a_delayed_message_holds_up_no_other(queue: JobQueue) -> None:
    queue.publish(message(1, OrderPriority.STAT))
    take(queue).retry(delay=timedelta(minutes=1))
    queue.publish(message(2))
    assert take(queue).message == message(2)


def test_a_dead_letter_is_kept_for_a_person_and_never_comes_again(queue: JobQueue) -> None:
    queue.publish(message(1))
    take(queue).dead_letter(Reason(code="unknown_job", text="nobody knows this job"))
    assert queue.receive(timeout=NOW) is None
    (letter,) = queue.dead_letters()
    assert letter.message == message(1)
    assert letter.reason == Reason(code="unknown_job", text="nobody knows this job")


def test_dead_letters_can_be_looked_at_again_and_put_back(queue: JobQueue) -> None:
    queue.publish(message(1))
    take(queue).dead_letter(Reason(code="unknown_job", text="nobody knows this job"))
    assert queue.dead_letters() == queue.dead_letters()
    assert queue.requeue() == 1
    assert queue.dead_letters() == []
    assert take(queue).message == message(1)


def test_the_depth_tells_what_waits_where(queue: JobQueue) -> None:
    for number in range(1, 5):
        queue.publish(message(number))
    take(queue).dead_letter(Reason(code="unknown_job", text="nobody knows this job"))
    take(queue).retry(delay=timedelta(minutes=1))
    wait_until(lambda: queue.depth() == QueueDepth(ready=2, delayed=1, dead=1), what="the depth")


def test_messages_come_in_the_order_of_their_arrival(queue: JobQueue) -> None:
    for number in (1, 2, 3):
        queue.publish(message(number, OrderPriority(3 - number)))
    for number in (1, 2, 3):
        received = take(queue)
        assert received.message.attempt == number
        received.ack()


def test_closing_gives_messages_in_hand_back(queue: JobQueue, queue_url: str) -> None:
    queue.publish(message(1))
    queue.publish(message(2))
    take(queue).ack()
    take(queue)
    queue.close()
    assert take(queue_at(queue_url)).message == message(2)


def test_a_message_in_the_hand_of_a_killed_process_comes_back(queue: JobQueue, queue_url: str) -> None:
    queue.publish(message(1))
    assert killed_after(hold_a_message, queue_url, acknowledged=1) == ["job-1"]
    assert take(queue, timedelta(seconds=5)).message == message(1)


def test_every_message_goes_to_one_of_the_workers(queue: JobQueue, queue_url: str) -> None:
    for number in range(1, 41):
        queue.publish(message(number))
    taken = at_once(take_all, [(queue_url,)] * 3)
    assert sorted(chain.from_iterable(taken)) == sorted(f"job-{number}" for number in range(1, 41))


def test_a_message_published_twice_comes_twice(queue: JobQueue) -> None:
    queue.publish(message(1))
    queue.publish(message(1))
    assert [take(queue).message, take(queue).message] == [message(1), message(1)]
