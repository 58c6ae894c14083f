"""What a queue message is made of, on every queue."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from services.backends.queue import EmbeddedJobQueue
from services.backends.queue.message import decode, encode
from services.backends.store.engine import connect, writing
from services.triage.errors import DeadLetterError
from services.triage.job import JobMessage, OrderPriority


@given(st.uuids(), st.sampled_from(OrderPriority), st.integers(1, 10_000))
def test_a_message_survives_its_bytes(job: object, priority: OrderPriority, attempt: int) -> None:
    message = JobMessage(job_id=str(job), priority=priority, attempt=attempt)
    assert decode(encode(message)) == message


def test_a_message_carries_identifiers_only() -> None:
    assert json.loads(encode(JobMessage(job_id="j"))) == {"v": 1, "job_id": "j", "priority": 2, "attempt": 1}


def test_a_field_that_a_newer_version_adds_is_ignored() -> None:
    assert decode('{"v":1,"job_id":"j","priority":0,"attempt":1,"site":"x"}').job_id == "j"


def test_a_trace_context_that_is_none_is_ignored() -> None:
    body = encode(JobMessage(job_id="j"))
    traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert decode(body, traceparent=traced).traceparent == traced
    assert decode(body, traceparent="Doe^Jane").traceparent is None
    assert decode(body, traceparent=7).traceparent is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "junk",
        "[]",
        '{"v":2,"job_id":"j","priority":0,"attempt":1}',
        '{"v":1,"job_id":"","priority":0,"attempt":1}',
        '{"v":1,"job_id":"j","priority":7,"attempt":1}',
        '{"v":1,"job_id":"j","priority":0,"attempt":0}',
        '{"v":1,"job_id":5,"priority":0,"attempt":1}',
    ],
)
def test_a_message_that_nobody_can_read_is_a_dead_letter(body: str) -> None:
    with pytest.raises(DeadLetterError):
        decode(body)


def test_an_unreadable_message_in_the_queue_becomes_a_dead_letter_and_the_next_one_comes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'vigie.sqlite'}"
    queue = EmbeddedJobQueue(url)
    with writing(connect(url)) as connection:
        connection.execute(sa.text("INSERT INTO queue_bell (body, visible_at) VALUES ('junk', 0)"))
    queue.publish(JobMessage(job_id="good"))
    received = queue.receive(timeout=timedelta(seconds=5))
    assert received is not None
    assert received.message.job_id == "good"
    (letter,) = queue.dead_letters()
    assert (letter.body, letter.message, letter.reason.code) == ("junk", None, "unreadable_message")
    assert queue.requeue() == 0
