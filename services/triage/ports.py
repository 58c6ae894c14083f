"""The ports: what the pipeline needs of the world. Each has an embedded and a production implementation.

One contract suite per port (tests/contracts) runs over every implementation, over real connections.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from services.triage.audit import AuditEvent
from services.triage.blind import NOT_BLIND, BlindPolicy
from services.triage.commitment import (
    CommitmentReport,
    CommitmentRequest,
    DueRequest,
    RequestLine,
    RequestState,
)
from services.triage.completeness import Evidence
from services.triage.errors import Reason
from services.triage.job import Backlog, Job, JobMessage, Lease, OrderPriority, Plan
from services.triage.model import Model
from services.triage.notification import Notification
from services.triage.pacs import SeriesAtPacs, StudyAtPacs
from services.triage.patient import AdtMessage, AdtOutcome
from services.triage.result import DeliveryState, Destination, FrozenResult, ObjectKind, Recall, Result, ResultObject
from services.triage.shadow import ShadowResult, ShadowTask
from services.triage.study import Instance, VersionKey
from services.triage.tenant import NO_TENANT, Tenant
from services.triage.trace import VersionTrace
from services.triage.volume import Segmentation, Volume


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptFile:
    """A Part 10 file that is on disk and will be found again. `digest`: SHA-256 (hex) of its data set after group 2.

    traceparent: W3C trace context of the association or request that brought it; None where the door told none.
    """

    digest: str
    size_bytes: int
    received_from: str
    tenant: str = NO_TENANT
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleted:
    """What became of files that were to go. came_again: those that stay, by digest, with the time when they came."""

    size_bytes: int
    came_again: Mapping[str, datetime]


class StudyFiles(Protocol):
    """Keeps received instances and result objects, by digest. File names are digests, never words from the wire."""

    def claim(self, study_instance_uid: str, tenant: str) -> str:
        """Have a study for a tenant, durably, unless another has it; answers whose it is. Raises OutOfResources."""

    def assign(self, study_instance_uid: str, tenant: str) -> None:
        """Have a study for a tenant, whoever had it: the store says so. Raises OutOfResources."""

    def keep(
        self,
        content: bytes,
        *,
        digest: str,
        received_from: str,
        tenant: str = NO_TENANT,
        traceparent: str | None = None,
    ) -> KeptFile:
        """Keep one Part 10 file; when this returns, file and directory entry are on disk (fsync).

        A digest already kept is stored once, and counts as kept now. Of a tenant it is pending again: what the store
        has it may not have of this tenant. Raises OutOfResources; then nothing is left behind.
        """

    def pending(self) -> Iterator[KeptFile]:
        """Files kept but not yet settled (recorded in the store), oldest first; a kill at any moment loses none."""

    def settle(self, digests: Iterable[str], *, tenant: str = NO_TENANT) -> None:
        """The store knows these of a tenant now: they leave `pending`, and stay found by `path`. Idempotent."""

    def refuse(self, file: KeptFile, reason: Reason) -> None:
        """The store will not have this: it leaves `pending` for quarantine. Idempotent. Raises OutOfResources."""

    def path(self, digest: str) -> Path:
        """A local file with these bytes, pending or settled. Raises FileNotFoundError."""

    def quarantine(self, content: bytes, *, reason: Reason, received_from: str) -> Path:
        """Keep bytes that could not be understood, with the reason beside them, for a person to look at."""

    def require_room(self) -> None:
        """Raises OutOfResources while there is no room for the objects of a result."""

    def keep_result(self, content: bytes) -> str:
        """Keep a result object (fsync); answers its SHA-256 (hex) over all bytes, the name for `result_path`."""

    def result_path(self, sha256: str) -> Path:
        """A local file with the bytes of a result object. Raises FileNotFoundError."""

    def delete(self, digests: Iterable[str], *, not_newer_than: datetime) -> Deleted:
        """Delete settled files; those that came after that time, or were sent again after it, stay. Idempotent.

        Whoever is answered that an instance is kept (`keep`) while it is deleted finds it kept. Durable on return.
        """

    def erase(self, digests: Iterable[str]) -> int:
        """Delete these, pending or settled, whenever they came; answers how many bytes they had. Idempotent."""

    def erase_results(self, sha256s: Iterable[str]) -> int:
        """Delete result objects; answers how many bytes they had. Idempotent."""

    def size(self, digest: str) -> int:
        """Bytes of a kept file, 0 where it is not there."""

    def settled(self) -> Iterator[str]:
        """Digests of all settled files."""

    def unsettle(self, digests: Iterable[str], *, received_from: str) -> None:
        """The store does not know these settled files: they are `pending`, of the tenant that has their study."""

    def results(self, *, not_newer_than: datetime) -> Iterator[str]:
        """SHA-256 of each result object that was kept no later than that."""

    def quarantined(self) -> Iterator[Path]:
        """What lies in quarantine; beside each file lies the reason, as JSON."""

    def erase_quarantined(self, paths: Iterable[Path]) -> int:
        """Delete some of it, with the reasons; answers how many bytes. Idempotent."""

    def disown(self, study_instance_uid: str) -> None:
        """The study is nobody's: the next that sends of it has it."""


class Arrival(StrEnum):
    """What the store makes of one recorded instance."""

    NEW = "new"
    RESEND = "resend"
    """the same SOP Instance UID with the same content: nothing changes"""
    CONFLICT = "conflict"
    """the same SOP Instance UID with other content: both are kept, the newest is analysed, and it is said so"""
    OTHER_TENANT = "other_tenant"
    """the study belongs to another tenant: nothing of it is recorded"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What became of one instance, and the version it belongs to or opened (None: it changes no version).

    traceparent: of that version.
    """

    arrival: Arrival
    version: VersionKey | None
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """What became of an ADT message. studies: so many have images that are of another patient now, or named otherwise.

    retired: it speaks of an ID that has become another one, whose patient data hold.
    """

    outcome: AdtOutcome
    studies: int
    retired: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class DueDelivery:
    """One result that this process may send to one destination now, and nobody else while the claim lasts.

    objects: (SOP Class UID, SOP Instance UID, sha256) each, of those that the destination takes and has not committed,
    nor taken in a try that ended halfway.
    attempt: counts this try. claim: who holds it. traceparent: where the result was frozen.
    """

    delivery_id: str
    destination: Destination
    attempt: int
    objects: tuple[tuple[str, str, str], ...]
    claim: str
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DueCommitment:
    """One delivery that was sent, whose Storage Commitment this process may ask for now.

    requests: how often it was asked for. failed: what the last answer said, None without one.
    """

    delivery: DueDelivery
    requests: int
    failed: Reason | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryLine:
    """One delivery as an operator sees it. attempt: failed tries; `reason`: of the last.

    objects: what goes, nothing in a notification. note: it takes a result back. verdicts: it is what a reader answered.
    """

    delivery_id: str
    study_instance_uid: str
    destination_name: str
    objects: tuple[ObjectKind, ...]
    note: bool
    state: DeliveryState
    attempt: int
    created_at: datetime
    reason: Reason | None
    verdicts: bool = False


class ShadowRuns(Protocol):
    """Looks of a version that is tried out, at what a model has answered; no other part of the store knows of them.

    Every method is one transaction. Raises StoreUnavailable; with a lease that was overtaken, LeaseLost.
    """

    def lease(self, *, worker: str, now: datetime, duration: timedelta) -> tuple[Lease, ShadowTask] | None:
        """Take the run that is owed longest. None: none is, or a job is due, which goes first.

        Each lease is an attempt; a run that has had its last is given up (`worker_died`).
        """

    def must_yield(self, *, now: datetime) -> bool:
        """Whether a job is due, so that a run in work is to be given back."""

    def renew(self, lease: Lease, *, now: datetime, duration: timedelta) -> Lease:
        """Extend a lease."""

    def give_back(self, lease: Lease, *, until: datetime | None = None) -> None:
        """Owe the run again, not before `until`; without, it was interrupted, and the attempt does not count."""

    def keep(self, lease: Lease, said: ShadowResult, *, now: datetime) -> None:
        """Keep what the shadow says, once."""

    def fail(self, lease: Lease, reason: Reason, *, now: datetime) -> None:
        """Give the run up."""


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

    def postpone(self, lease: Lease, reason: Reason, *, now: datetime, until: datetime) -> None:
        """Give a job back after a transient error, to be published again not before `until`. Raises LeaseLost."""

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


class ReceivedMessage(Protocol):
    """One message in hand: it must be ended by exactly one of the three; if the process dies, it comes back."""

    message: JobMessage

    def ack(self) -> None:
        """The work is safe (its lease is committed): forget the message. Raises TransientError; then it comes back."""

    def retry(self, *, delay: timedelta) -> None:
        """Bring the message again after a delay, which an implementation may round up, and lengthen each time."""

    def dead_letter(self, reason: Reason) -> None:
        """Nobody can act on this message: keep it for a person. Raises TransientError; then it comes back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueDepth:
    """How many messages wait for a worker, wait out a delay, and lie dead. Those in a worker's hand are in none."""

    ready: int
    delayed: int
    dead: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLetter:
    """A message that nobody could act on. `message` is None when it cannot be read; `body` is what came."""

    body: str
    message: JobMessage | None
    reason: Reason


class JobQueue(Protocol):
    """The bell between gateway and workers, at least once. In which order jobs are worked on, the store decides."""

    def publish(self, message: JobMessage) -> None:
        """Returns once the queue has it safe (publisher confirm). Raises TransientError."""

    def receive(self, *, timeout: timedelta) -> ReceivedMessage | None:
        """The next message, or None when none came in time. Raises TransientError.

        For one receiver at a time, which ends one message before it asks for the next.
        """

    def depth(self) -> QueueDepth:
        """What waits in the queue now. Raises TransientError."""

    def dead_letters(self, *, limit: int = 1000) -> list[DeadLetter]:
        """Dead letters, oldest first; they stay. Raises TransientError."""

    def requeue(self, *, limit: int = 1000) -> int:
        """Put the oldest dead letters that can be read back to where workers find them; answers how many."""

    def close(self) -> None:
        """Messages in hand go back to the queue."""


class Segmenter(Protocol):
    """Runs a model over a whole volume."""

    def model(self, name: str, version: str | None = None) -> Model:
        """The model of that version; without one (None or ''), of the standing version. As it is now, at each call.

        Raises ModelRefused (there is no such model, or its bundle cannot be read), VersionNotHere (there is, and not in
        this version, or not yet), SegmenterUnavailable.
        """

    def require_ready(self) -> None:
        """Raises SegmenterUnavailable while no volume at all could be segmented, whatever the model."""

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        """Run the model over the volume.

        `cancelled` is asked again and again while the model runs (between sliding windows, or several times a
        second): once it says True, the work ends within seconds. It is called in the caller's thread.
        Raises SegmenterUnavailable (retry), VersionNotHere (retry with the model as it is then: the bundle was
        exchanged since `model` read it), AnalysisFailed (out of memory, broken model: coded reason), ModelRefused (the
        bundle cannot be used, or another one is served under its name), AnalysisCancelled.
        """


class CommitmentRequests(Protocol):
    """What others ask of us by Storage Commitment, until they have the report. Each method is one transaction.

    An instance is decided when it failed for good, or when the archive has committed it to us
    (`StudyStore.commitment_reported`); with the last one the request is. Raises StoreUnavailable.
    """

    def enter(self, request: CommitmentRequest, *, now: datetime) -> bool:
        """Keep a request. False, and nothing changes: its Transaction UID was used before."""

    def claim(
        self, calling_ae_title: str, *, now: datetime, duration: timedelta, tenant: str = NO_TENANT
    ) -> DueRequest | None:
        """Take the oldest request of this AE with which something is due and that nobody has. None: none is due.

        A claim that ran out is free again. What others than the AE's tenant have is not held.
        """

    def renew(self, due: DueRequest, *, now: datetime, duration: timedelta) -> None:
        """Keep a claim for longer, or with no duration let go; one that another process has is left to it."""

    def decide(self, due: DueRequest, failed: Mapping[tuple[str, str], int], *, now: datetime) -> None:
        """These (SOP Class UID, SOP Instance UID) fail, for this Failure Reason. Nothing changes without the claim."""

    def archive_asked(
        self, due: DueRequest, transaction_uid: str, *, now: datetime, again_at: datetime, retry_at: datetime
    ) -> None:
        """Keep a transaction of ours for all that is undecided, before the archive hears of it.

        Without an answer the request is due again at `again_at`; if the archive does not commit all, at `retry_at`.
        Raises LeaseLost when the claim is another's now.
        """

    def put_off(self, due: DueRequest, reason: Reason | None, *, next_at: datetime) -> None:
        """Nothing could be done now; a `reason` makes it a failed try. Nothing changes without the claim."""

    def reported(self, due: DueRequest, *, now: datetime) -> None:
        """The requester has taken the report."""

    def give_up(self, due: DueRequest, reason: Reason, *, now: datetime) -> None:
        """The requester is told no more. Nothing changes without the claim."""

    def lines(
        self, states: Collection[RequestState], *, calling_ae_title: str | None = None, limit: int = 1000
    ) -> list[RequestLine]:
        """Requests in these states, oldest first."""

    def report_again(self, transaction_uids: Sequence[str], *, actor: str, now: datetime) -> list[str]:
        """Report once more what was given up, with a line in the studies' histories. Answers which will be."""

    def awaited(self, sop_instance_uids: Collection[str]) -> set[str]:
        """Which of these someone waits for a decision on: whatever deletes instances must keep them until then."""


class AuditTrail(Protocol):
    """Who did what (PS3.15 A.5), in an order that cannot be altered unseen."""

    def record(self, event: AuditEvent, *, now: datetime) -> None:
        """Add an event. Raises StoreUnavailable."""
        ...


class CommitmentReporter(Protocol):
    """Tells one AE what became of its request for Storage Commitment."""

    def report(self, due: DueRequest) -> None:
        """Report what is decided (N-EVENT-REPORT, PS3.4 J.3.3); returns when the AE has taken it.

        Raises DestinationUnavailable (also: it cannot record it now), DestinationRefused: context_rejected (it does not
        have the service), report_refused (its status says that it will not take it).
        """


class CommitmentUser(Protocol):
    """Asks one destination to promise that it keeps what it took (Storage Commitment, PS3.4 annex J)."""

    def ask(
        self,
        objects: Sequence[tuple[str, str]],
        *,
        begin: Callable[[], str],
        record: Callable[[CommitmentReport], bool],
    ) -> None:
        """Ask for (SOP Class UID, SOP Instance UID) each, in one transaction.

        `begin` keeps the transaction and answers its UID; it is called once the destination is there, and before that
        is asked. `record` keeps an answer that comes at once (`StudyStore.commitment_reported`); most come later, to
        the door. Raises DestinationUnavailable, DestinationRefused: context_rejected (it does not have the service),
        commitment_refused; and what `begin` raises.
        """


class Notifier(Protocol):
    """Tells one receiver of results, in messages."""

    def notify(self, notification: Notification) -> None:
        """Returns when the receiver has said that it has it. Saying it again is harmless: it has the same identifier.

        Raises DestinationUnavailable (retry) or DestinationRefused (it answered that it will not take it, or it must
        not be said).
        """


class ResultSender(Protocol):
    """Brings the frozen objects of one result to one destination."""

    def send(self, files: Sequence[tuple[str, str, Path]]) -> None:
        """Send (SOP Class UID, SOP Instance UID, file) each; returns when the destination has said success to all.

        Sending again is harmless: the bytes are the same. Raises DestinationUnavailable (retry) or
        DestinationRefused (it answered that it will not take an object).
        """


class PacsQuestions(Protocol):
    """What a PACS is asked, by C-FIND or QIDO-RS. Each raises DestinationUnavailable or DestinationRefused."""

    def study(self, study_instance_uid: str) -> StudyAtPacs | None:
        """A study, None if the PACS does not have it."""

    def studies(self, day: date, modality: str) -> list[StudyAtPacs]:
        """The studies of a StudyDate with a series of a modality; with others too, where the PACS ignores that key."""

    def series(self, study_instance_uid: str) -> list[SeriesAtPacs]:
        """The series of a study; where the PACS does not count the instances of one, they were listed and counted."""

    def sop_classes(self, study_instance_uid: str, series_instance_uids: Sequence[str]) -> frozenset[str]:
        """The SOP Class UIDs of the instances of some series; empty where the PACS does not tell them."""
