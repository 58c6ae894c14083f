"""The truth about studies and jobs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from services.triage.blind import NOT_BLIND, BlindPolicy
from services.triage.commitment import CommitmentReport
from services.triage.completeness import Evidence
from services.triage.errors import Reason
from services.triage.job import Backlog, Job, JobMessage, Lease, OrderPriority, Plan
from services.triage.notification import Notification
from services.triage.patient import AdtMessage, AdtOutcome
from services.triage.ports.deliveries import DeliveryLine, DueCommitment, DueDelivery
from services.triage.ports.shadow_runs import ShadowRuns
from services.triage.result import DeliveryState, Destination, FrozenResult, Recall, Result, ResultObject
from services.triage.study import Instance, VersionKey
from services.triage.tenant import Tenant
from services.triage.trace import VersionTrace


class Arrival(StrEnum):
    """What the store makes of one recorded instance."""

    NEW = "new"
    RESEND = "resend"
    """the same SOP Instance UID with the same content: nothing changes"""
    OLDER = "older"
    """the same, after a newer content had come, which holds: nothing changes, and it is said so"""
    CONFLICT = "conflict"
    """the same SOP Instance UID with other content: both are kept, the newest is analysed, and it is said so"""
    OTHER_TENANT = "other_tenant"
    """the study belongs to another tenant: nothing of it is recorded"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What became of one instance, and the version it belongs to or opened (None: it changes no version).

    traceparent: of that version. replaced: the digests of the contents of the instance that this one is newer than.
    """

    arrival: Arrival
    version: VersionKey | None
    traceparent: str | None = None
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """What became of an ADT message. studies: so many have images that are of another patient now, or named otherwise.

    retired: it speaks of an ID that has become another one, whose patient data hold.
    """

    outcome: AdtOutcome
    studies: int
    retired: bool


class StudyStore(Protocol):
    """The truth: studies, versions, jobs, leases, results, deliveries, each with its history.

    Every method is one transaction. `now` is always an argument (timezone-aware UTC). Raises StoreUnavailable.
    """

    @property
    def shadows(self) -> ShadowRuns:
        """The runs of shadows."""

    def record(
        self,
        instances: Sequence[tuple[Instance, str]],
        *,
        now: datetime,
        tenant: Tenant | None = None,
        traceparent: str | None = None,
    ) -> list[Recorded]:
        """Record kept instances, each with the AE title or address it came from. Recording again changes nothing.

        A study is its first instance's tenant's; one that has none, the next one's. What another tenant sends of it is
        not recorded (`Arrival.OTHER_TENANT`). Without a tenant all are. Its issuer is that of every PatientID of the
        study that comes without one; `instances` and the rest say so.

        An image that adds or changes a routable series (triage.completeness.is_routable) joins the receiving
        version, or opens the next one if the last is complete, cancelling that version's queued and analysing jobs.
        So does an image that comes again with other patient or order data (triage.identity.identity).
        Any other instance is recorded with the study and opens nothing.
        What a patient registry has said of an image's patient holds over what the image says (triage.patient.Register).
        """

    def reconcile_patients(self, message: AdtMessage, *, now: datetime) -> Reconciled:
        """Take in what a patient registry says, once for all: for images that are here, and for those still to come.

        A study whose images are of another patient now, or named otherwise, is treated as if they had come again with
        these patient data: the next version, for which results are written again. The message is counted.
        """

    def count_message(self, trigger_event: str, outcome: AdtOutcome) -> None:
        """Count an ADT message that was not taken."""

    def tenant(self, study_instance_uid: str) -> str:
        """Whose a study is: NO_TENANT where it has none, or is unknown."""

    def adopt(self, tenant: Tenant) -> int:
        """Give a tenant all studies that have none; answers how many."""

    def move(self, study_instance_uid: str, tenant: Tenant, *, actor: str, now: datetime) -> bool:
        """Give a study to another tenant. What of its results has not gone out is given up. False: it is unknown."""

    def quiet_versions(self, *, now: datetime, quiet_period: timedelta) -> list[VersionKey]:
        """Receiving versions in which no routable image arrived for the quiet period, or whose completion was asked."""

    def announced_versions(self) -> list[VersionKey]:
        """Receiving versions of studies of which MPPS or IAN named instances, quiet or not."""

    def traced(self, version: VersionKey) -> VersionTrace:
        """The trace of a version and of the one before it."""

    def evidence(self, version: VersionKey) -> Evidence | None:
        """What is known of whether a version is complete; None: it is not receiving any more."""

    def instances(self, version: VersionKey) -> tuple[Instance, ...]:
        """The instances of a version: all of the study so far, the newest where one UID has two contents."""

    def senders(self, version: VersionKey) -> set[str]:
        """The AE titles and addresses that sent instances of a version."""

    def ask_completion(
        self, study_instance_uid: str, *, actor: str, now: datetime, priority: OrderPriority = OrderPriority.ROUTINE
    ) -> bool:
        """Have the receiving version completed at the next turn, with this priority at least.

        False: no such study, or nothing is receiving.
        """

    def ask_analysis(self, study_instance_uid: str, *, actor: str, now: datetime) -> bool:
        """Have the models look again at images that did not change: the next version, complete at the next turn.

        False: no such study, or one that is receiving or has a job still open and will be analysed anyway, or images
        of it are not kept here any more.
        """

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
        """Close a version with its plan; its jobs are queued in the same transaction (outbox).

        Where only patient or order data changed since a result, its job is to write that again (`Job.reconciles`), once
        the images agree (triage.identity.agree); until then, and when it was recalled, there is no job and it stands.
        `seen`: how many instances the plan was made from. `priority`: what was asked with the completion wins if it is
        more urgent. `traceparent`: is handed to whoever works on the jobs. `said`: see `Completion`.
        `priority_from`: what gave the priority (`triage.routing.order_priority`).
        False, and nothing changes, when another gateway was first or an instance has arrived since.
        """

    def unpublished(self, *, limit: int) -> list[JobMessage]:
        """The messages that are owed to the queue (outbox), by priority, then age."""

    def published(self, messages: Sequence[JobMessage]) -> None:
        """The queue has confirmed these."""

    def reissue(self, *, now: datetime) -> int:
        """Put jobs whose lease has run out back to queued and into the outbox; answers how many.

        Postponed jobs whose time has come go into the outbox too; they are not counted.
        """

    def backlog(self, *, now: datetime) -> Backlog:
        """What waits for others."""

    def lease_next(self, *, worker: str, now: datetime, duration: timedelta) -> tuple[Lease, Job] | None:
        """Take the first queued job that is due: by order priority, every `AGEING` of waiting being one step up.

        Two workers never take the same job, and none waits for another. None: nothing is due, or nothing that
        nobody else changes at this moment (look again soon).
        """

    def renew(self, lease: Lease, *, now: datetime, duration: timedelta) -> Lease:
        """Extend a lease. Raises LeaseLost when the token is no longer the job's."""

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
        """Commit a result once, with one pending delivery per destination that takes any of its objects.

        Of those alone that get results of the study's tenant. A destination that takes none of the objects is named in
        the job's history, and so is it that there is no destination. Answers the result id.
        A receiver (`Destination.told_of`) is owed a notification when the result is one of its occasions, or replaces
        one that it was told of. A result that is written again under other patient or order data is first withdrawn
        from the receivers that may know it.

        blind: whether the result is withheld is decided here, once: until its hold ends, nothing of it is sent or
        shown.

        The objects' bytes are already kept; `sha256s` names them, in their order.
        Raises LeaseLost when the token is no longer the job's, or the job was cancelled.
        """

    def end_holds(self, *, now: datetime, switched_off: bool) -> int:
        """Write down which holds have ended by themselves, or end all; how many. It withholds nothing longer."""

    def postpone(self, lease: Lease, reason: Reason, *, now: datetime, until: datetime, counts: bool = True) -> None:
        """Give a job back, to be published again not before `until`. Raises LeaseLost.

        counts: whether the attempt was one: after a transient error, not when the worker was stopped.
        """

    def frozen_result(self, result_id: str) -> FrozenResult | None:
        """A result as it was frozen, None if it is unknown."""

    def recall(
        self, result_id: str, *, reason: str, actor: str, now: datetime, note: tuple[ResultObject, str] | None = None
    ) -> Recall | None:
        """Take a result back: it leads no study, is sent no more, and no job writes it again. None: it is unknown.

        `note`: a rejection note and the SHA-256 of its bytes, which are kept already; it is owed to each destination
        that may have something of the result. Receivers that may have been told of it are owed its withdrawal.
        Of a result that was recalled before it answers that recall, and changes nothing.
        """

    def claim_delivery(self, destination_name: str, *, now: datetime, duration: timedelta) -> DueDelivery | None:
        """Take the first due delivery of a destination that nobody has: by order priority, then age. None: none is due.

        A claim that ran out (its process died) is free again. Notifications of one study keep their order: none is
        given out while an earlier one is pending, or on its way.
        """

    def notification(self, delivery_id: str) -> Notification:
        """What a delivery to a receiver tells."""

    def renew_claim(self, claimed: DueDelivery, *, now: datetime, duration: timedelta) -> None:
        """Keep a claim for longer; one that another process has taken meanwhile is left to it."""

    def delivered(self, delivery_id: str, *, now: datetime, ask_commitment: bool = False) -> None:
        """A delivery was sent; with `ask_commitment`, `claim_commitment` gives it out from now on."""

    def delivery_failed(
        self,
        claimed: DueDelivery,
        reason: Reason,
        *,
        now: datetime,
        retry_at: datetime | None,
        taken: Sequence[str] = (),
    ) -> None:
        """A try failed; with no `retry_at` the delivery is given up. Nothing changes if the claim is another's now.

        `taken`: SOP Instance UIDs that the destination has said success to; the next try is for the others.
        """

    def destination_back(self, destination_name: str, *, now: datetime) -> int:
        """A destination answers again: what waited for it is due now, whatever its pause. Answers how many."""

    def claim_commitment(self, destination_name: str, *, now: datetime, duration: timedelta) -> DueCommitment | None:
        """Take the first delivery whose commitment is due to be asked for: never was, failed, or without an answer.

        As with `claim_delivery`: by order priority, then age; a claim that ran out is free again. None: none is due.
        """

    def commitment_asked(self, due: DueCommitment, transaction_uid: str, *, now: datetime, again_at: datetime) -> None:
        """Keep a transaction before the peer hears of it; without an answer it is due again at `again_at`.

        Raises LeaseLost when the claim is another's now.
        """

    def trace_of_transaction(self, transaction_uid: str) -> str | None:
        """The traceparent of the result whose commitment was asked for in this transaction; None: it is unknown."""

    def commitment_reported(self, report: CommitmentReport, *, now: datetime) -> bool:
        """Record what a peer answered, late answers and repetitions too. False: nobody asked in such a transaction.

        The delivery is `committed` once every object is. What fails in its newest transaction makes it due.
        Answers to `CommitmentRequests.archive_asked` are recorded here, too.
        """

    def not_committed(
        self,
        claimed: DueDelivery,
        reason: Reason,
        *,
        state: DeliveryState,
        now: datetime,
        next_at: datetime | None,
    ) -> None:
        """No commitment for now. `state` is what becomes of the delivery; nothing changes if the claim is another's.

        `sent`: asked again at `next_at` (None: never); `pending`: what is not committed is sent again then; `given_up`.
        """

    def deliveries(
        self, states: Collection[DeliveryState], *, destination_name: str | None = None, limit: int = 1000
    ) -> list[DeliveryLine]:
        """Deliveries in these states, oldest first."""

    def resend(self, delivery_ids: Sequence[str], *, actor: str, now: datetime) -> list[str]:
        """Put given-up deliveries back to pending, due now, with a line in their history. Answers which were."""

    def give_up(self, destination_name: str, reason: str, *, actor: str, now: datetime) -> int:
        """Give up what is pending for a destination, but for what is being sent (claimed). Answers how many were."""
