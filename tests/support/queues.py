"""Queues by URL: `sqlite:///...`, or `amqp://...#PREFIX`."""

from services.backends.queue import EmbeddedJobQueue
from services.backends.queue.rabbitmq import RabbitJobQueue
from services.backends.queue.rabbitmq.parameters import connection_parameters
from services.triage.ports import JobQueue


def queue_at(url: str, **options: object) -> JobQueue:
    """Another connection to a queue. options: of the embedded one."""
    if url.startswith("sqlite"):
        return EmbeddedJobQueue(url, **options)  # type: ignore[arg-type]
    address, _, prefix = url.partition("#")
    return RabbitJobQueue(connection_parameters(address), prefix=prefix)
