"""JobQueue: embedded in the SQLite file, or RabbitMQ."""

from services.backends.queue.embedded import EmbeddedJobQueue
from services.settings import Settings
from services.triage.ports import JobQueue

__all__ = ["EmbeddedJobQueue", "open_queue"]


def open_queue(settings: Settings) -> JobQueue:
    """The queue that the settings name. Raises QueueRefused: its URL or certificates cannot be used."""
    if settings.broker_url is None:
        return EmbeddedJobQueue(settings.store_url())
    # only here: who runs all embedded need not load it
    from services.backends.queue.rabbitmq import RabbitJobQueue
    from services.backends.queue.rabbitmq.parameters import connection_parameters

    parameters = connection_parameters(
        settings.broker_url.get_secret_value(),
        ca=settings.broker_ca,
        certificate=settings.broker_certificate,
        key=settings.broker_key,
    )
    return RabbitJobQueue(parameters, prefix=settings.broker_prefix)
