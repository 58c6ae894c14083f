"""What only a broker can do to the queue: die, pause, refuse, lose a queue, deliver too often."""

import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pika
import pytest

from services.backends.queue.rabbitmq import CALL_S, RabbitJobQueue
from services.backends.queue.rabbitmq.parameters import connection_parameters
from services.backends.queue.rabbitmq.topology import DELIVERY_LIMIT, Topology
from services.triage.errors import QueueRefused, QueueUnavailable, TransientError
from services.triage.job import JobMessage
from services.triage.ports import ReceivedMessage
from tests.support.other_process import hold_a_message, killed_after
from tests.support.peers import wait_until
from tests.support.queues import queue_at
from tests.support.rabbitmq import RabbitMQ, rabbitmq

SOON = timedelta(seconds=2)
TRACED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def url(broker: RabbitMQ) -> str:
    return f"{broker.url}#{uuid4().hex}"


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A broker for the tests that kill or pause it."""
    with rabbitmq(tmp_path_factory.mktemp("mortal") / "broker") as server:
        yield server


def received(queue: RabbitJobQueue, *, within_s: float = 40) -> ReceivedMessage:
    """The next message, however often the queue is not there meanwhile."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            message = queue.receive(timeout=SOON)
        except QueueUnavailable:
            time.sleep(0.1)
            continue
        if message is not None:
            return message
    raise TimeoutError


def published(queue: RabbitJobQueue, message: JobMessage) -> bool:
    try:
        queue.publish(message)
    except QueueUnavailable:
        return False
    return True


def test_a_message_on_the_wire_is_durable_json_with_its_trace_in_the_headers(broker: RabbitMQ, url: str) -> None:
    queue = queue_at(url)
    queue.publish(JobMessage(job_id="job-1", traceparent=TRACED))
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        _, properties, body = connection.channel().basic_get(Topology(prefix=url.partition("#")[2]).jobs)
    assert (properties.content_type, properties.delivery_mode, properties.message_id) == (
        "application/json",
        2,
        "job-1",
    )
    assert properties.headers.items() >= {"traceparent": TRACED, "version": 1}.items()
    assert body == b'{"v":1,"job_id":"job-1","priority":2,"attempt":1}'
    queue.close()


def test_what_was_confirmed_outlives_kill_9_of_the_broker_and_both_sides_reconnect(mortal: RabbitMQ) -> None:
    sender, receiver = queue_at(f"{mortal.url}#kill"), queue_at(f"{mortal.url}#kill")
    for number in (1, 2):
        sender.publish(JobMessage(job_id=f"job-{number}"))
    mortal.kill()
    with pytest.raises(QueueUnavailable):
        sender.publish(JobMessage(job_id="never confirmed"))
    mortal.start()
    for number in (1, 2):
        message = received(receiver)
        assert message.message.job_id == f"job-{number}"
        message.ack()
    wait_until(lambda: published(sender, JobMessage(job_id="job-3")), timeout_s=30, what="publishing again")
    assert received(receiver).message.job_id == "job-3"
    sender.close()
    receiver.close()


def test_a_paused_broker_is_unavailable_within_the_bound_and_works_again_when_it_goes_on(mortal: RabbitMQ) -> None:
    queue = queue_at(f"{mortal.url}#pause")
    queue.publish(JobMessage(job_id="job-1"))
    mortal.pause()
    begin = time.monotonic()
    try:
        with pytest.raises(QueueUnavailable):
            queue.publish(JobMessage(job_id="job-2"))
        assert time.monotonic() - begin < CALL_S + 1
    finally:
        mortal.resume()
    wait_until(lambda: published(queue, JobMessage(job_id="job-3")), timeout_s=40, what="publishing again")
    assert received(queue).message.job_id == "job-1"
    queue.close()


def test_a_queue_that_was_killed_at_its_birth_is_made_anew(mortal: RabbitMQ) -> None:
    """A quorum queue killed within 0.3 s of its declaration may never elect a leader."""
    for attempt in range(3):
        queue = queue_at(f"{mortal.url}#birth{attempt}")
        threading.Thread(target=published, args=(queue, JobMessage(job_id="lost")), daemon=True).start()
        time.sleep(0.15)
        mortal.kill()
        mortal.start()
        wait_until(lambda queue=queue: published(queue, JobMessage(job_id="new")), timeout_s=60, what="publishing")
        assert received(queue).message.job_id in {"lost", "new"}
        queue.close()


def test_a_deleted_queue_is_declared_again(broker: RabbitMQ, url: str) -> None:
    queue = queue_at(url)
    queue.publish(JobMessage(job_id="job-1"))
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        connection.channel().queue_delete(Topology(prefix=url.partition("#")[2]).jobs)
    with pytest.raises(QueueUnavailable, match="unroutable"):
        queue.publish(JobMessage(job_id="job-2"))
    wait_until(lambda: published(queue, JobMessage(job_id="job-3")), timeout_s=10, what="publishing again")
    assert received(queue).message.job_id == "job-3"
    queue.close()


def test_a_message_that_kills_whoever_takes_it_ends_as_a_dead_letter_and_can_be_put_back(
    broker: RabbitMQ, url: str
) -> None:
    queue = queue_at(url)
    queue.publish(JobMessage(job_id="poison"))
    jobs = Topology(prefix=url.partition("#")[2]).jobs
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        taken = 0
        while (method := channel.basic_get(jobs)[0]) is not None:
            channel.basic_nack(method.delivery_tag)  # as the broker does for a process that died
            taken += 1
    assert taken == DELIVERY_LIMIT + 1
    wait_until(lambda: queue.depth().dead == 1, what="the dead letter")
    (letter,) = queue.dead_letters()
    assert letter.message == JobMessage(job_id="poison")
    assert letter.reason.code == "delivered_too_often"
    assert queue.requeue() == 1
    assert received(queue).message.job_id == "poison"
    queue.close()


def test_a_message_in_the_hand_of_a_killed_process_is_free_at_once(url: str) -> None:
    queue = queue_at(url)
    queue.publish(JobMessage(job_id="job-1"))
    killed_after(hold_a_message, url, acknowledged=1)
    begin = time.monotonic()
    assert received(queue).message.job_id == "job-1"
    assert time.monotonic() - begin < 5
    queue.close()


def test_a_long_analysis_costs_no_heartbeat(broker: RabbitMQ, url: str) -> None:
    address, _, prefix = url.partition("#")
    queue = RabbitJobQueue(connection_parameters(f"{address}?heartbeat=1"), prefix=prefix)
    queue.publish(JobMessage(job_id="job-1"))
    message = received(queue)
    time.sleep(5)  # five heartbeats: the broker gives up after two
    message.ack()
    wait_until(lambda: queue.depth().ready == 0, what="the acknowledgement")
    assert broker.log.read_text(errors="replace").count("missed heartbeats") == 0
    queue.close()
    assert queue_at(url).receive(timeout=timedelta(0)) is None


def test_a_wrong_password_is_refused_with_the_way_out_and_without_the_password(broker: RabbitMQ) -> None:
    queue = RabbitJobQueue(connection_parameters(f"amqp://guest:s3cret@127.0.0.1:{broker.port}/"))
    with pytest.raises(QueueRefused, match="VIGIE_BROKER_URL") as caught:
        queue.publish(JobMessage(job_id="job-1"))
    assert "s3cret" not in str(caught.value)
    queue.close()


def test_a_virtual_host_that_is_not_there_is_named_as_the_cause(broker: RabbitMQ) -> None:
    queue = RabbitJobQueue(connection_parameters(f"{broker.url}nowhere"))
    with pytest.raises(QueueRefused, match="virtual host"):
        queue.publish(JobMessage(job_id="job-1"))
    queue.close()


def test_a_url_that_cannot_be_read_is_refused_without_quoting_it() -> None:
    with pytest.raises(QueueRefused, match="amqp") as caught:
        connection_parameters("amqp://vigie:s3/cret@broker:5672/")
    assert "s3" not in str(caught.value)


def test_a_queue_with_other_properties_is_named_with_the_way_out(broker: RabbitMQ, url: str) -> None:
    jobs = Topology(prefix=url.partition("#")[2]).jobs
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        connection.channel().queue_declare(jobs, durable=True)
    queue = queue_at(url)
    with pytest.raises(QueueRefused, match=f"delete_queue.*|{jobs}"):
        queue.publish(JobMessage(job_id="job-1"))
    queue.close()


def test_tls_with_a_client_certificate(tmp_path: Path) -> None:
    _certificates(tmp_path)
    options = {
        "listeners.tcp": "none",
        "ssl_options.cacertfile": tmp_path / "ca.pem",
        "ssl_options.certfile": tmp_path / "server.pem",
        "ssl_options.keyfile": tmp_path / "server.key",
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
    }
    with rabbitmq(tmp_path / "broker", options, tls=True) as server:
        trusted = {"ca": tmp_path / "ca.pem", "certificate": tmp_path / "client.pem", "key": tmp_path / "client.key"}
        queue = RabbitJobQueue(connection_parameters(server.url, **trusted))
        queue.publish(JobMessage(job_id="job-1"))
        assert received(queue).message.job_id == "job-1"
        queue.close()
        stranger = RabbitJobQueue(connection_parameters(server.url))
        with pytest.raises(QueueRefused, match="TLS"):
            stranger.publish(JobMessage(job_id="job-2"))
        stranger.close()


def test_certificates_without_tls_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QueueRefused, match="amqps"):
        connection_parameters("amqp://guest:guest@localhost/", ca=tmp_path / "ca.pem")
    with pytest.raises(QueueRefused, match="cannot be used"):
        connection_parameters("amqps://guest:guest@localhost/", ca=tmp_path / "missing.pem")


def test_refusals_are_transient_for_the_jobs_wait_in_the_database() -> None:
    assert issubclass(QueueRefused, TransientError)


def _certificates(folder: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA", "-days", "1")
    for name in ("server", "client"):
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-extfile", "san")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
