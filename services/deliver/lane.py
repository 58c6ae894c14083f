"""What goes on without end between this process and one destination; several processes may do the same side by side."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import structlog

from services.keeping import keeping
from services.logs import Conditions
from services.patience import pause_after
from services.triage.errors import StoreUnavailable
from services.triage.ports import DueDelivery, StudyStore
from services.triage.result import Destination

log = structlog.get_logger(__name__)

POLL_S = 0.2  # a look takes no lock
STORE_PAUSE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Lane(ABC):
    """Takes turns with what is due for one destination.

    claim_s: another process may take a delivery whose holder was silent for so long.
    retry_s, retry_max_s: first and longest pause after a failure; it doubles.
    """

    work: ClassVar[str]

    store: StudyStore
    destination: Destination
    claim_s: float
    retry_s: float
    retry_max_s: float
    stop: threading.Event
    _conditions: Conditions = field(default_factory=lambda: Conditions(log), init=False)

    def run(self) -> None:
        """Take turns until a stop is asked."""
        log.info(f"{self.work}_started", destination=self.destination.name)
        while not self.stop.is_set():
            try:
                pause_s = self.turn()
            except StoreUnavailable:
                # what went out unrecorded goes out again: the same bytes, the same question
                self._conditions.begins("store_unavailable", destination=self.destination.name)
                pause_s = STORE_PAUSE_S
            else:
                self._conditions.ends("store_unavailable", destination=self.destination.name)
            self.stop.wait(pause_s)

    @abstractmethod
    def turn(self) -> float:
        """Do the first thing that is due; answers after how many seconds to look again."""

    @property
    def claim(self) -> timedelta:
        """How long a claim lasts that is not renewed."""
        return timedelta(seconds=self.claim_s)

    def keeping(self, claimed: DueDelivery) -> AbstractContextManager[None]:
        """Renew the claim on a delivery until the block ends."""
        return self.renewing(lambda: self.store.renew_claim(claimed, now=utc_now(), duration=self.claim))

    def renewing(self, renew: Callable[[], None]) -> AbstractContextManager[None]:
        """Renew a claim, again and again, until the block ends."""
        return keeping(renew, claim_s=self.claim_s, what=self.destination.name)

    def pause(self, attempt: int) -> timedelta:
        """Before the next try, after the given number of them."""
        return timedelta(seconds=pause_after(attempt, first_s=self.retry_s, longest_s=self.retry_max_s))


def utc_now() -> datetime:
    """The clock of delivery."""
    return datetime.now(UTC)
