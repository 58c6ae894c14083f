"""JobQueue: embedded in the SQLite file, or RabbitMQ."""

from services.backends.queue.embedded import EmbeddedJobQueue

__all__ = ["EmbeddedJobQueue"]
