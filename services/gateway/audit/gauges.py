"""Metrics of the audit trail: its length, what waits to enter it, and what waits to leave it."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.backends.audit_spool import AuditSpool
from services.backends.store import SqlStudyStore
from services.triage.errors import StoreUnavailable


class AuditCollector(Collector):
    """Asks the store and the data folder at each scrape."""

    def __init__(
        self, store: SqlStudyStore, spool: AuditSpool, clock: Callable[[], datetime], *, receivers: Sequence[str]
    ) -> None:
        self.receivers = receivers
        self.store = store
        self.spool = spool
        self.clock = clock

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would ask the store when it is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What the data folder tells, and what the store does while it answers."""
        yield GaugeMetricFamily(
            "vigie_audit_spooled",
            "Audit events that wait as files for the dispatcher. If it grows, look at dispatcher and database.",
            value=self.spool.count(),
        )
        try:
            head, feeds = self.store.audit.head(), [self.store.audit_feeds.state(name) for name in self.receivers]
        except StoreUnavailable:
            return
        yield GaugeMetricFamily(
            "vigie_audit_records",
            "Number of the last record of the audit trail. It never falls: if it does, run 'vigie audit verify'.",
            value=head.sequence if head else 0,
        )
        backlog = GaugeMetricFamily(
            "vigie_audit_backlog_records",
            "Records that a receiver of the audit trail lacks. If it grows, look at the syslog server.",
            labels=["receiver"],
        )
        age = GaugeMetricFamily(
            "vigie_audit_backlog_age_seconds",
            "Age of the oldest of them; 0 where there is none.",
            labels=["receiver"],
        )
        for each in feeds:
            backlog.add_metric([each.name], each.backlog)
            waited = (self.clock() - each.oldest_at).total_seconds() if each.oldest_at else 0
            age.add_metric([each.name], max(0.0, waited))
        yield backlog
        yield age
