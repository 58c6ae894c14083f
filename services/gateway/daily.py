"""The daily reconciliation with one PACS, once for all processes."""

import threading
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import structlog

from services.backends.pacs import Pacs
from services.backends.store import SqlStudyStore
from services.gateway.reconciliation import Busy, Reconciliation
from services.logs import Conditions, where
from services.triage.errors import StoreUnavailable

log = structlog.get_logger(__name__)

POLL_S = 20.0
RETRY_S = 600.0  # after one that could not be done


@dataclass(frozen=True, kw_only=True)
class Daily:
    """Reconciles with `pacs` after its time of day, local to this process, and at once when that was slept through."""

    store: SqlStudyStore
    pacs: Pacs
    work: Reconciliation
    _conditions: Conditions = field(default_factory=lambda: Conditions(log), init=False)

    def run(self, stop: threading.Event) -> None:
        """Look at the clock until a stop is asked."""
        while not stop.is_set():
            try:
                pause_s = self.turn(datetime.now().astimezone())
            except StoreUnavailable:
                self._conditions.begins("reconciliation_postponed", self.pacs.name, pacs=self.pacs.name)
                pause_s = POLL_S
            else:
                self._conditions.ends("reconciliation_postponed", self.pacs.name, pacs=self.pacs.name)
            stop.wait(pause_s)

    def turn(self, now: datetime) -> float:
        """Do today's when it is due; answers after how many seconds to look again. Raises StoreUnavailable."""
        today = now.date()
        if self.pacs.reconcile_at is None or now.time() < self.pacs.reconcile_at:
            return POLL_S
        if not self.store.reconciliations.is_due(self.pacs.name, today):
            return POLL_S
        try:
            report = self.work.run(self.pacs, days_before(today, self.pacs.reconcile_days), daily=today)
        except Busy:
            return POLL_S
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - the border: an odd answer of this PACS must not stop the questions
            log.error("reconciliation_broke", pacs=self.pacs.name, **where(error))  # noqa: TRY400 - no values
            return RETRY_S
        return RETRY_S if report.error else POLL_S


def days_before(today: date, count: int) -> list[date]:
    """So many days, oldest first, the last being yesterday: today's studies still arrive."""
    return [today - timedelta(days=back) for back in range(count, 0, -1)]
