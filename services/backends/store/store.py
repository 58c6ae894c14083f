"""`StudyStore` on a relational database: each method one transaction, told in the module it calls."""
# ruff: noqa: D102  # the contracts are told in services.triage.ports

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Engine

from services.backends.store import (
    announcements,
    arrivals,
    audit_pruning,
    commitments,
    deliveries,
    frozen,
    inquiries,
    jobs,
    notifications,
    patients,
    recalls,
    requests,
    results,
    tenancy,
    traces,
    versions,
)
from services.backends.store.announcements import Announcements
from services.backends.store.archive import Archive
from services.backends.store.audit import Audit
from services.backends.store.audit_feed import AuditFeeds
from services.backends.store.backlog import backlog
from services.backends.store.blind import Holds
from services.backends.store.campaigns import Campaigns
from services.backends.store.clock import Offset, database_offset
from services.backends.store.desk import Board
from services.backends.store.engine import reading, writing
from services.backends.store.erasing import Erasing
from services.backends.store.inquiries import Inquiries
from services.backends.store.migrate import require_usable
from services.backends.store.observations import Observations
from services.backends.store.readings import Readings
from services.backends.store.reconciliations import Reconciliations
from services.backends.store.refusals import Refusals
from services.backends.store.research import Research
from services.backends.store.restored import Restored
from services.backends.store.retaining import Retaining
from services.backends.store.rollouts import Rollouts
from services.backends.store.scrub import Scrub
from services.backends.store.service_levels import flags
from services.backends.store.sessions import Sessions
from services.backends.store.shadows import Shadows
from services.backends.store.sight import Sight
from services.backends.store.signed_in import SignedIn
from services.backends.store.switches import Switches
from services.backends.store.tables import instance
from services.backends.store.training import Training
from services.backends.store.verdict_documents import VerdictDocuments
from services.backends.store.verdicts import Verdicts
from services.backends.store.views import SavedViews
from services.backends.store.workitems import Workitems
from services.triage.audit import AuditAnchor
from services.triage.blind import NOT_BLIND, BlindPolicy
from services.triage.commitment import CommitmentReport
from services.triage.completeness import Evidence
from services.triage.errors import Reason
from services.triage.job import Backlog, Job, JobMessage, Lease, OrderPriority, Plan
from services.triage.notification import Notification
from services.triage.patient import AdtMessage, AdtOutcome
from services.triage.ports import DeliveryLine, DueCommitment, DueDelivery, Reconciled, Recorded
from services.triage.result import DeliveryState, Destination, FrozenResult, Recall, Result, ResultObject
from services.triage.study import Instance, VersionKey
from services.triage.tenant import Tenant
from services.triage.trace import VersionTrace

# Whether two kept contents of one instance, by digest, show the same: then the second opens no version.
SamePixels = Callable[[str, str], bool]

Clock = Callable[[], datetime]
"""Answers the time in UTC."""


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def never_the_same(_kept: str, _arrived: str) -> bool:
    """The safe answer of who cannot look at pixels."""
    return False


class SqlStudyStore:
    """`services.triage.ports.StudyStore`, and what only one caller needs.

    `board` and `archive`: the reads of the desk and of DICOMweb. `inquiries`, `reconciliations`: for who asks a PACS.
    `announcements`: what the door hears of MPPS and IAN. `workitems`: what UPS-RS asks and changes.
    `requests`: `services.triage.ports.CommitmentRequests`. `readings`: who has taken and read which study. `views`: the
    filters of the work list that people keep. `verdicts`: what readers answered; `verdict_documents`: as documents.
    `observations`: for the observatory. `training`: what learners are shown and answer. `holds`: what is withheld until
    a reader has assessed the study; `clock` tells the reads whether it still is. `research`: what is exported.
    `switches`, `campaigns`: models that are switched off, recalls of a period. `rollouts`: which version of a model has
    which part; `shadows`: what versions say that are tried out. `sessions`: of who signed in;
    `signed_in`: at the identity provider.
    `audit`: `services.triage.ports.AuditTrail`; `audit_feeds`: how far who gets it has come. `retaining`: images that
    go by rule. `erasing`: a patient's data. `restored`: a database that was put back from a copy. `refusals`: how many
    callers the doors turned away.
    """

    def __init__(
        self, engine: Engine, *, same_pixels: SamePixels, default_issuer: str = "", clock: Clock = utc_now
    ) -> None:
        self._engine = engine
        self._same_pixels = same_pixels
        self._default_issuer = default_issuer
        self._clock = clock
        self.board = Board(engine, clock)
        self.archive = Archive(engine, clock)
        self.workitems = Workitems(engine, clock)
        self.holds = Holds(engine, clock)
        self.training = Training(engine, clock)
        self.research = Research(engine, clock)
        self.verdicts = Verdicts(engine)
        self.readings = Readings(engine)
        self.views = SavedViews(engine)
        self.verdict_documents = VerdictDocuments(engine)
        self.observations = Observations(engine, clock)
        self.switches = Switches(engine, clock)
        self.campaigns = Campaigns(engine)
        self.rollouts = Rollouts(engine)
        self.shadows = Shadows(engine)
        self.sessions = Sessions(engine)
        self.signed_in = SignedIn(engine)
        self.audit = Audit(engine)
        self.audit_feeds = AuditFeeds(engine)
        self.retaining = Retaining(engine)
        self.erasing = Erasing(engine)
        self.restored = Restored(engine)
        self.refusals = Refusals(engine)
        self.inquiries = Inquiries(engine)
        self.announcements = Announcements(engine)
        self.reconciliations = Reconciliations(engine)
        self.requests = requests.Requests(engine)
        self.scrub = Scrub(engine)

    def seen_by(self, sight: Sight) -> "SqlStudyStore":
        """The same store, of which `board`, `archive` and `workitems` show no more than this."""
        seen = copy(self)
        seen.board = Board(self._engine, self._clock, sight)
        seen.archive = Archive(self._engine, self._clock, sight)
        seen.workitems = Workitems(self._engine, self._clock, sight)
        return seen

    def record(
        self,
        instances: Sequence[tuple[Instance, str]],
        *,
        now: datetime,
        tenant: Tenant | None = None,
        traceparent: str | None = None,
    ) -> list[Recorded]:
        if not instances:
            return []
        # pixels are compared before the transaction: decoding them would hold up every other writer
        with reading(self._engine) as connection:
            doubtful = arrivals.doubtful(connection, [one for one, _ in instances])
        same_pixels = {pair for pair in doubtful if self._look_the_same(*pair)}
        with writing(self._engine) as connection:
            return arrivals.record(
                connection,
                instances,
                now=now,
                tenant=tenant,
                same_pixels=same_pixels,
                default_issuer=self._default_issuer,
                traceparent=traceparent,
            )

    def _look_the_same(self, kept: str, arrived: str) -> bool:
        try:
            return self._same_pixels(kept, arrived)
        except FileNotFoundError:  # the earlier one is not kept here any more
            return False

    def reconcile_patients(self, message: AdtMessage, *, now: datetime) -> Reconciled:
        with writing(self._engine) as connection:
            return patients.reconcile(connection, message, default_issuer=self._default_issuer, now=now)

    def count_message(self, trigger_event: str, outcome: AdtOutcome) -> None:
        with writing(self._engine) as connection:
            patients.count(connection, trigger_event, outcome)

    def tenant(self, study_instance_uid: str) -> str:
        with reading(self._engine) as connection:
            return tenancy.tenant_of(connection, study_instance_uid)

    def adopt(self, tenant: Tenant) -> int:
        with writing(self._engine) as connection:
            return tenancy.adopt(connection, tenant)

    def move(self, study_instance_uid: str, tenant: Tenant, *, actor: str, now: datetime) -> bool:
        with writing(self._engine) as connection:
            return tenancy.move(connection, study_instance_uid, tenant, actor=actor, now=now)

    def quiet_versions(self, *, now: datetime, quiet_period: timedelta) -> list[VersionKey]:
        with reading(self._engine) as connection:
            return versions.quiet(connection, now=now, quiet_period=quiet_period)

    def announced_versions(self) -> list[VersionKey]:
        with reading(self._engine) as connection:
            return announcements.receiving(connection)

    def traced(self, version: VersionKey) -> VersionTrace:
        with reading(self._engine) as connection:
            return traces.of_version(connection, version)

    def evidence(self, version: VersionKey) -> Evidence | None:
        with reading(self._engine) as connection:
            return inquiries.evidence(connection, version)

    def instances(self, version: VersionKey) -> tuple[Instance, ...]:
        with reading(self._engine) as connection:
            return versions.instances(connection, version)

    def senders(self, version: VersionKey) -> set[str]:
        with reading(self._engine) as connection:
            return versions.senders(connection, version)

    def ask_completion(
        self, study_instance_uid: str, *, actor: str, now: datetime, priority: OrderPriority = OrderPriority.ROUTINE
    ) -> bool:
        with writing(self._engine) as connection:
            return versions.ask_completion(connection, study_instance_uid, actor=actor, now=now, priority=priority)

    def ask_analysis(self, study_instance_uid: str, *, actor: str, now: datetime) -> bool:
        with writing(self._engine) as connection:
            return versions.ask_analysis(connection, study_instance_uid, actor=actor, now=now)

    def complete(
        self,
        version: VersionKey,
        plan: Plan,
        *,
        priority: OrderPriority,
        seen: int,
        now: datetime,
        traceparent: str | None = None,
        said: Reason | None = None,
        priority_from: str = "",
    ) -> bool:
        with writing(self._engine) as connection:
            return versions.complete(
                connection,
                version,
                plan,
                priority=priority,
                priority_from=priority_from,
                seen=seen,
                now=now,
                traceparent=traceparent,
                said=said,
            )

    def prune_audit(self, *, before: datetime, actor: str, now: datetime) -> AuditAnchor | None:
        """See `audit_pruning.prune`."""
        return audit_pruning.prune(self._engine, before=before, actor=actor, now=now)

    def unpublished(self, *, limit: int) -> list[JobMessage]:
        with reading(self._engine) as connection:
            return jobs.unpublished(connection, limit=limit)

    def published(self, messages: Sequence[JobMessage]) -> None:
        if messages:
            with writing(self._engine) as connection:
                jobs.published(connection, messages)

    def reissue(self, *, now: datetime) -> int:
        # a look without the write lock first: an idle dispatcher disturbs nobody
        with reading(self._engine) as connection:
            if not jobs.overdue(connection, now=now):
                return 0
        with writing(self._engine) as connection:
            return jobs.reissue(connection, now=now)

    def backlog(self, *, now: datetime) -> Backlog:
        with reading(self._engine) as connection:
            return backlog(connection, now=now)

    def lease_next(self, *, worker: str, now: datetime, duration: timedelta) -> tuple[Lease, Job] | None:
        with writing(self._engine) as connection:
            return jobs.lease_next(connection, worker=worker, now=now, duration=duration)

    def renew(self, lease: Lease, *, now: datetime, duration: timedelta) -> Lease:
        with writing(self._engine) as connection:
            return jobs.renew(connection, lease, now=now, duration=duration)

    def freeze(
        self,
        lease: Lease,
        result: Result,
        *,
        sha256s: Sequence[str],
        destinations: Sequence[Destination],
        now: datetime,
        blind: BlindPolicy = NOT_BLIND,
        traceparent: str | None = None,
    ) -> str:
        with writing(self._engine) as connection:
            return results.freeze(
                connection,
                lease,
                result,
                sha256s=sha256s,
                destinations=destinations,
                now=now,
                blind=blind,
                traceparent=traceparent,
            )

    def postpone(self, lease: Lease, reason: Reason, *, now: datetime, until: datetime, counts: bool = True) -> None:
        with writing(self._engine) as connection:
            jobs.postpone(connection, lease, reason, now=now, until=until, counts=counts)

    def frozen_result(self, result_id: str) -> FrozenResult | None:
        with reading(self._engine) as connection:
            return frozen.frozen_result(connection, result_id)

    def recall(
        self, result_id: str, *, reason: str, actor: str, now: datetime, note: tuple[ResultObject, str] | None = None
    ) -> Recall | None:
        with writing(self._engine) as connection:
            return recalls.enter(connection, result_id, reason=reason, actor=actor, now=now, note=note)

    def claim_delivery(self, destination_name: str, *, now: datetime, duration: timedelta) -> DueDelivery | None:
        # a look without the write lock first: an idle process disturbs nobody
        with reading(self._engine) as connection:
            if not deliveries.is_due(connection, destination_name, DeliveryState.PENDING, now=now):
                return None
        with writing(self._engine) as connection:
            return deliveries.claim(connection, destination_name, DeliveryState.PENDING, now=now, duration=duration)

    def notification(self, delivery_id: str) -> Notification:
        with reading(self._engine) as connection:
            return notifications.notification(connection, delivery_id)

    def renew_claim(self, claimed: DueDelivery, *, now: datetime, duration: timedelta) -> None:
        with writing(self._engine) as connection:
            deliveries.renew(connection, claimed, now=now, duration=duration)

    def delivered(self, delivery_id: str, *, now: datetime, ask_commitment: bool = False) -> None:
        with writing(self._engine) as connection:
            deliveries.delivered(connection, delivery_id, now=now, ask_commitment=ask_commitment)

    def delivery_failed(
        self,
        claimed: DueDelivery,
        reason: Reason,
        *,
        now: datetime,
        retry_at: datetime | None,
        taken: Sequence[str] = (),
    ) -> None:
        with writing(self._engine) as connection:
            deliveries.failed(connection, claimed, reason, now=now, retry_at=retry_at, taken=taken)

    def destination_back(self, destination_name: str, *, now: datetime) -> int:
        with writing(self._engine) as connection:
            return deliveries.bring_forward(connection, destination_name, now=now)

    def claim_commitment(self, destination_name: str, *, now: datetime, duration: timedelta) -> DueCommitment | None:
        with reading(self._engine) as connection:
            if not deliveries.is_due(connection, destination_name, DeliveryState.SENT, now=now):
                return None
        with writing(self._engine) as connection:
            return commitments.claim_due(connection, destination_name, now=now, duration=duration)

    def commitment_asked(self, due: DueCommitment, transaction_uid: str, *, now: datetime, again_at: datetime) -> None:
        with writing(self._engine) as connection:
            commitments.asked(connection, due, transaction_uid, now=now, again_at=again_at)

    def trace_of_transaction(self, transaction_uid: str) -> str | None:
        with reading(self._engine) as connection:
            return traces.of_transaction(connection, transaction_uid)

    def commitment_reported(self, report: CommitmentReport, *, now: datetime) -> bool:
        with writing(self._engine) as connection:
            known = commitments.reported(connection, report, now=now)
            return known or requests.answered(connection, report, now=now)

    def not_committed(
        self,
        claimed: DueDelivery,
        reason: Reason,
        *,
        state: DeliveryState,
        now: datetime,
        next_at: datetime | None,
    ) -> None:
        with writing(self._engine) as connection:
            commitments.not_committed(connection, claimed, reason, state=state, now=now, next_at=next_at)

    def deliveries(
        self, states: Collection[DeliveryState], *, destination_name: str | None = None, limit: int = 1000
    ) -> list[DeliveryLine]:
        with reading(self._engine) as connection:
            return deliveries.listed(connection, states, destination_name=destination_name, limit=limit)

    def resend(self, delivery_ids: Sequence[str], *, actor: str, now: datetime) -> list[str]:
        with writing(self._engine) as connection:
            return deliveries.resend(connection, delivery_ids, actor=actor, now=now)

    def give_up(self, destination_name: str, reason: str, *, actor: str, now: datetime) -> int:
        with writing(self._engine) as connection:
            return deliveries.give_up(connection, destination_name, reason, actor=actor, now=now)

    def end_holds(self, *, now: datetime, switched_off: bool) -> int:
        return self.holds.switch_off(now=now) if switched_off else self.holds.expire(now=now)

    def flags_in_time(
        self, windows: Sequence[timedelta], *, target: timedelta, now: datetime
    ) -> Mapping[timedelta, tuple[int, int]]:
        """(in time, late) of each window: see `service_levels.flags`."""
        with reading(self._engine) as connection:
            return flags(connection, windows, target=target, now=now)

    def instances_recorded(self) -> int:
        """The highest serial of an instance."""
        with reading(self._engine) as connection:
            return connection.scalar(sa.select(sa.func.max(instance.c.id))) or 0

    def require_usable(self) -> None:
        """Raises StoreUnavailable, SchemaBehind or SchemaRefused while this program cannot work on the database."""
        require_usable(self._engine)

    def clock_offset(self) -> Offset:
        """How far the database's clock is ahead of ours. Raises StoreUnavailable."""
        return database_offset(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
