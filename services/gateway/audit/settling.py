"""Events that were kept as files enter the trail: a turn of the dispatcher."""

from dataclasses import dataclass
from datetime import datetime

import structlog

from services.backends.audit_spool import AuditSpool
from services.backends.store.audit import Audit
from services.logs import Conditions

log = structlog.get_logger(__name__)

EVENTS_PER_TURN = 100


@dataclass(frozen=True)
class Settling:
    """Every key enters the trail once, so that a kill between trail and file doubles nothing."""

    spool: AuditSpool
    trail: Audit
    conditions: Conditions

    def turn(self, now: datetime) -> int:
        """Settle the oldest; answers how many. Raises StoreUnavailable, and nothing is lost."""
        waiting = list(self.spool.pending(limit=EVENTS_PER_TURN))
        if waiting:
            self.trail.record_all([each.event for each in waiting], now=now)
            self.spool.settled(waiting)
        if damaged := self.spool.damaged():
            self.conditions.begins("audit_events_damaged", events=damaged)
        return len(waiting)


def settling(spool: AuditSpool, trail: Audit) -> Settling:
    """Of a spool into a trail."""
    spool.sweep()
    return Settling(spool, trail, Conditions(log))
