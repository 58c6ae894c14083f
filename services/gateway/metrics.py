"""Prometheus metrics of the desk: counts come from the store at a scrape, so that a restart loses none."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.backends.audit_spool import AuditSpool
from services.backends.store import SqlStudyStore
from services.backends.store.audit_feed import ANCHORS, SYSLOG
from services.backends.store.board import Counts, FlagTimes, ShownState
from services.backends.store.reconciliations import Reconciled
from services.clocks import ClockCollector
from services.exposition import build_info
from services.gateway.adt.patients import COUNTED
from services.gateway.audit.gauges import AuditCollector
from services.gateway.desk import Desk
from services.gateway.observatory.gauges import ObservatoryCollector
from services.gateway.observatory.rollout_gauges import RolloutCollector
from services.gateway.readiness import checks
from services.gateway.refusals import RefusedFor
from services.gateway.retention_gauges import RetentionCollector
from services.gateway.service_levels import DoorCollector, ServiceLevelCollector
from services.gateway.tls_files import tls_files
from services.settings import Settings
from services.tls_gauges import TlsCollector
from services.triage.errors import StoreUnavailable
from services.triage.job import JobState
from services.triage.patient import AdtOutcome
from services.triage.switch import Switch

FLAG_WINDOW = timedelta(hours=24)
FLAG_PERCENTS = (50, 95)

router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    summary="Prometheus metrics; no patient data",
    response_class=Response,
    responses={200: {"description": "Prometheus text format.", "content": {"text/plain": {}}}},
)
def metrics(request: Request) -> Response:
    """Answers while the store does not: vigie_store_up is 0 then, and the counts are absent."""
    return Response(request.app.state.told.get(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def request_durations(registry: CollectorRegistry) -> Histogram:
    """The histogram that `edge.RequestDurations` fills."""
    return Histogram(
        "vigie_http_request_duration_seconds",
        "Time to answer an HTTP request. If it grows, look at the database's load and at the disk.",
        ("method", "route", "status"),
        buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60),
        registry=registry,
    )


def new_registry(desk: Desk) -> CollectorRegistry:
    """A registry of its own for each application."""
    registry = CollectorRegistry()
    build_info(registry, desk.role.value)
    ProcessCollector(registry=registry)
    registry.register(CheckCollector(desk))
    registry.register(StoreCollector(desk.store, desk.settings, desk.clock))
    registry.register(DiskCollector(desk.settings.data))
    receivers = [ANCHORS, SYSLOG] if desk.settings.audit_syslog else [ANCHORS]
    registry.register(AuditCollector(desk.store, AuditSpool(desk.settings.data), desk.clock, receivers=receivers))
    registry.register(ObservatoryCollector(desk.store.observations))
    registry.register(RolloutCollector(desk.store))
    registry.register(RetentionCollector(desk.store.retaining, is_on=desk.settings.retention().is_on))
    registry.register(ServiceLevelCollector(desk.store, desk.settings, desk.clock))
    registry.register(ClockCollector(desk.store, desk.settings.ntp))
    registry.register(TlsCollector(tuple(tls_files(desk.settings, desk.role))))
    if desk.role.is_door:
        registry.register(DoorCollector(desk.settings))
    return registry


class CheckCollector(Collector):
    """What /readyz tells, made anew at each scrape."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would ask the store when it is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One gauge per check; those that ask the store are absent while it is away."""
        yield _labelled(
            GaugeMetricFamily,
            "vigie_check_ok",
            "1 while a check of /readyz holds. At 0 open /readyz: it says what is wrong and what to do.",
            ["check"],
            {(check.name,): int(check.ok) for check in checks(self.desk)}.items(),
        )


class StoreCollector(Collector):
    """Asks the store for its counts at each scrape; where HL7 is taken its messages are counted, from 0 on."""

    def __init__(self, store: SqlStudyStore, settings: Settings, clock: Callable[[], datetime]) -> None:
        self.store = store
        self.clock = clock
        self.no_adt = dict.fromkeys(product(sorted(COUNTED), AdtOutcome), 0) if settings.hl7 else {}
        # whoever is asked and whatever they say: so long after its last image a study is complete (triage.completeness)
        complete_within_s = max(settings.longest_wait_s, settings.quiet_period_s + settings.pacs_grace_s)
        self.complete_within = timedelta(seconds=complete_within_s)

    def describe(self) -> list[Metric]:
        """Nothing: else the registry would ask the store when it is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families, or vigie_store_up 0 alone."""
        help_text = (
            "1 when the database answers, in time, all that is counted. At 0 see vigie_check_ok of store: is that 0, "
            "too, it is away: studies wait on disk, none is lost."
        )
        try:
            now = self.clock()
            counts = self.store.board.counts()
            off, recalls = self.store.switches.off(), self.store.campaigns.unfinished()
            reconciled = self.store.reconciliations.last()
            times = self.store.board.times_to_flag(since=now - FLAG_WINDOW, percents=FLAG_PERCENTS)
            holds = self.store.holds.counts()
            refusals = self.store.refusals.totals()
        except StoreUnavailable:
            yield GaugeMetricFamily("vigie_store_up", help_text, value=0)
            return
        yield GaugeMetricFamily("vigie_store_up", help_text, value=1)
        yield from _families(replace(counts, adt=self.no_adt | counts.adt))
        yield GaugeMetricFamily(
            "vigie_completion_overdue_seconds",
            "By how much the oldest study at receiving should have been complete, whatever a PACS says of it; 0 when "
            "none. If it grows, look for completion_postponed and step_broke in the log of the dispatcher.",
            value=_age_s(counts.oldest_receiving_image_at, now - self.complete_within),
        )
        yield from _ages(counts, now)
        yield from _asked(counts, reconciled)
        yield from _times_to_flag(times)
        yield _labelled(
            GaugeMetricFamily,
            "vigie_blind_holds",
            "Results withheld for blind reading: held now, and ended by a read, by time, or by switching it off. If "
            "expired grows beside read, studies are not read in time: look at blind_max_hold_min and at the work list.",
            ["state"],
            {(state,): count for state, count in holds.items()}.items(),
        )
        yield _labelled(
            CounterMetricFamily,
            "vigie_callers_refused",
            "Callers of the DICOM port that were turned away. If it grows, the audit trail says who: a sender that is "
            "not in VIGIE_PEERS, or a stranger; for too_many and quota, the log says who has too much at once.",
            ["reason"],
            # each from 0 on: of a series that begins at its first burst Prometheus sees no increase
            {(reason.value,): refusals.get(reason, 0) for reason in RefusedFor}.items(),
        )
        yield from _switched_off(off, kept_back=counts.kept_back, recalls=recalls)


class DiskCollector(Collector):
    """Free space where the studies are kept."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def describe(self) -> list[Metric]:
        """Nothing: the folder need not exist when the registry is built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One gauge; NaN when the folder is not there."""
        try:
            free = float(shutil.disk_usage(self.data).free)
        except OSError:
            free = float("nan")
        yield GaugeMetricFamily(
            "vigie_data_free_bytes",
            "Free space of the data folder. Before it is used up, free or add space: senders are refused when it is.",
            value=free,
        )


def _families(counts: Counts) -> Iterator[Metric]:
    yield _labelled(
        GaugeMetricFamily,
        "vigie_studies",
        "Studies by the state a person sees. For failed and not_analysed, read the reasons in the work list.",
        ["state"],
        {(state.value,): counts.studies.get(state, 0) for state in ShownState}.items(),
    )
    yield _labelled(
        GaugeMetricFamily,
        "vigie_jobs",
        "Jobs by state. If queued grows while analysing does not, add workers or look at their log.",
        ["state"],
        {(state.value,): counts.jobs.get(state, 0) for state in JobState}.items(),
    )
    yield _labelled(
        CounterMetricFamily,
        "vigie_results",
        "Frozen results by model, outcome and flag. A sudden change of a share asks for a look at scanner and model.",
        ["model", "outcome", "flag"],
        counts.outcomes.items(),
    )
    yield _labelled(
        CounterMetricFamily,
        "vigie_adt_messages",
        "HL7 ADT messages by event and outcome. If refused grows, read the reasons in the quarantine folder.",
        ["event", "outcome"],
        # each from 0 on where HL7 is taken, as callers refused are: one refused message is an increase
        counts.adt.items(),
    )
    yield _labelled(
        GaugeMetricFamily,
        "vigie_deliveries",
        "Results and notifications by destination and state. If pending grows it is down; given_up needs a person, "
        "withdrawn (by a person, recalled, corrected, overtaken, moved) nobody.",
        ["destination", "state"],
        counts.deliveries.items(),
    )
    yield _labelled(
        GaugeMetricFamily,
        "vigie_commitment_requests",
        "Storage commitment asked of us, by AE and state. If asked grows, see the archive; given_up needs a person.",
        ["calling_ae_title", "state"],
        counts.commitments.items(),
    )


def _switched_off(off: Sequence[Switch], *, kept_back: int, recalls: int) -> Iterator[Metric]:
    yield _labelled(
        GaugeMetricFamily,
        "vigie_model_switched_off",
        "1 while a model is switched off; * is every version or tenant. The page of models says who did it and why.",
        ["model", "version", "tenant"],
        {(each.scope.model_name, each.scope.version, each.scope.tenant): 1 for each in off}.items(),
    )
    yield GaugeMetricFamily(
        "vigie_deliveries_kept_back",
        "Pending deliveries that may not leave: their model is switched off, or their result is to be recalled.",
        value=kept_back,
    )
    yield GaugeMetricFamily(
        "vigie_recalls_unfinished",
        "Recalls of periods that are not done. If it stays above 0, see on the page of models what they met.",
        value=recalls,
    )


def _asked(counts: Counts, reconciled: Mapping[str, tuple[datetime, Reconciled]]) -> Iterator[Metric]:
    """What PACS, MPPS and IAN said; empty where none is heard."""
    yield _labelled(
        CounterMetricFamily,
        "vigie_completions",
        "Studies complete on more than the quiet period. If pacs_unreachable grows look at the PACS; if pacs_has_more "
        "or instances_missing, at what it sends us.",
        ["on"],
        {(code,): count for code, count in counts.completions.items()}.items(),
    )
    yield GaugeMetricFamily(
        "vigie_studies_waiting_for_pacs",
        "Quiet studies of which the PACS has more than came. If it stays above 0, look at what the PACS sends us.",
        value=counts.waiting_for_pacs,
    )
    yield _labelled(
        GaugeMetricFamily,
        "vigie_reconciliation_studies",
        "Last reconciliation: studies of the PACS that never came (missing) or lack images (incomplete), and fetched "
        "of them. Above 0: 'vigie reconcile' names them.",
        ["pacs", "state"],
        {
            (pacs, state): getattr(found, state)
            for pacs, (_, found) in reconciled.items()
            for state in ("missing", "incomplete", "fetched")
        }.items(),
    )
    yield _labelled(
        GaugeMetricFamily,
        "vigie_reconciliation_timestamp_seconds",
        "When the last reconciliation was finished. Older than a day: look for reconciliation_failed in the log.",
        ["pacs"],
        {(pacs,): int(at.timestamp()) for pacs, (at, _) in reconciled.items()}.items(),
    )


def _ages(counts: Counts, now: datetime) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "vigie_oldest_queued_job_age_seconds",
        "Age of the oldest job no worker has taken, 0 when none. If it grows, add workers or look at the queue.",
        value=_age_s(counts.oldest_queued_at, now),
    )
    yield GaugeMetricFamily(
        "vigie_oldest_unfinished_job_age_seconds",
        "Age of the oldest job without a result, 0 when none. If it grows, look at the workers' log.",
        value=_age_s(counts.oldest_unfinished_at, now),
    )
    yield GaugeMetricFamily(
        "vigie_oldest_pending_delivery_age_seconds",
        "Age of the oldest result not yet sent, 0 when none. If it grows, see whether the destination is up.",
        value=_age_s(counts.oldest_pending_delivery_at, now),
    )
    yield GaugeMetricFamily(
        "vigie_oldest_uncommitted_delivery_age_seconds",
        "Age of the oldest result that was sent and that its destination has not committed, 0 when none. If it grows, "
        "see whether the destination can be asked.",
        value=_age_s(counts.oldest_uncommitted_delivery_at, now),
    )
    yield GaugeMetricFamily(
        "vigie_oldest_open_commitment_request_age_seconds",
        "Age of the oldest storage commitment asked of us and not yet reported, 0 when none: is archive or AE down?",
        value=_age_s(counts.oldest_open_commitment_at, now),
    )


def _times_to_flag(times: FlagTimes) -> Iterator[Metric]:
    """Median and 95th percentile over the window; absent while it holds no study."""
    window = f"{FLAG_WINDOW // timedelta(hours=1)} hours"
    yield GaugeMetricFamily(
        "vigie_time_to_flag_studies",
        f"Studies flagged in the last {window}. At 0 while studies come in, look at the queue and at the workers.",
        value=times.studies,
    )
    family = GaugeMetricFamily(
        "vigie_time_to_flag_seconds",
        f"Until a study's flag, since the first or last image of its version came, over the last {window}. "
        "If it grows, look at the queued jobs; from first_instance alone: at slow senders.",
        labels=["from", "quantile"],
    )
    for since, values_s in (
        ("first_instance", times.from_first_instance_s),
        ("last_instance", times.from_last_instance_s),
    ):
        for percent, value_s in values_s.items():
            family.add_metric([since, str(percent / 100)], value_s)
    yield family


def _labelled(
    family: type[GaugeMetricFamily | CounterMetricFamily],
    name: str,
    help_text: str,
    labels: list[str],
    values: Iterable[tuple[Sequence[str], int]],
) -> Metric:
    metric = family(name, help_text, labels=labels)
    for key, value in values:
        metric.add_metric(key, value)
    return metric


def _age_s(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0
