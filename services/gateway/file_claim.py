"""The claim of the one process that deletes or copies files, while its work goes on."""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.backends.store import SqlStudyStore
from services.triage.errors import BackupRefused


@dataclass(frozen=True, kw_only=True)
class FileClaim:
    """As `Retaining.claim` gave it. Who was away for longer than it lasts may have lost it to another."""

    store: SqlStudyStore
    claim: str
    lasts: timedelta
    lost: threading.Event = field(default_factory=threading.Event, init=False)

    def renew(self) -> None:
        """Keep it, where it is ours still. Raises StoreUnavailable."""
        if not self.store.retaining.renew(self.claim, now=datetime.now(UTC), duration=self.lasts):
            self.lost.set()

    def require(self) -> None:
        """Raises BackupRefused (claim_lost), as far as the last renewal knows."""
        if self.lost.is_set():
            text = "this one was held up, and another process that deletes or copies files has taken over: try again"
            raise BackupRefused("claim_lost", text)

    def confirm(self) -> None:
        """Renew it just before what only its holder may do. Raises BackupRefused (claim_lost), StoreUnavailable."""
        self.renew()
        self.require()
