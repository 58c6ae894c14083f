"""`vigie queue`, as an operator uses it."""

from datetime import timedelta

import pytest
from typer.testing import CliRunner

from services.backends.queue import open_queue
from services.cli import app
from services.settings import Settings
from services.triage.errors import Reason
from services.triage.job import JobMessage


def vigie(*words):
    return CliRunner().invoke(app, ["queue", *words])


@pytest.fixture(params=["embedded", "rabbitmq"])
def queue(request, tmp_path, monkeypatch):
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    if request.param == "rabbitmq":
        monkeypatch.setenv("VIGIE_BROKER_URL", request.getfixturevalue("broker").url)
        monkeypatch.setenv("VIGIE_BROKER_PREFIX", tmp_path.name)
    opened = open_queue(Settings())
    yield opened
    opened.close()


def test_a_dead_letter_is_counted_shown_and_put_back(queue):
    queue.publish(JobMessage(job_id="job-1"))
    queue.receive(timeout=timedelta(seconds=5)).dead_letter(Reason(code="unknown_job", text="nobody knows this job"))
    assert vigie("status").stdout == "ready 0\ndelayed 0\ndead 1\n"
    shown = vigie("dead-letters").stdout
    assert "job-1" in shown
    assert "nobody knows this job (unknown_job)" in shown
    assert vigie("requeue").stdout == "1 put back\n"
    assert "There is none." in vigie("dead-letters").stdout


def test_a_broker_that_is_not_there_is_said_without_the_password(monkeypatch):
    monkeypatch.setenv("VIGIE_BROKER_URL", "amqp://vigie:s3cret@127.0.0.1:1/")
    answer = vigie("status")
    assert answer.exit_code == 1
    assert "RabbitMQ" in answer.output
    assert "s3cret" not in answer.output
