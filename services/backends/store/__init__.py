"""StudyStore by SQLAlchemy: SQLite or PostgreSQL, by URL."""
