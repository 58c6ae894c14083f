"""JobQueue: embedded in the SQLite file, or RabbitMQ."""
