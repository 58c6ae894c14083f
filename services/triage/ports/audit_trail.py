"""Who did what."""

from datetime import datetime
from typing import Protocol

from services.triage.audit import AuditEvent


class AuditTrail(Protocol):
    """Who did what (PS3.15 A.5), in an order that cannot be altered unseen."""

    def record(self, event: AuditEvent, *, now: datetime) -> None:
        """Add an event. Raises StoreUnavailable."""
        ...
