"""The ports: what the pipeline needs of the world. Each has an embedded and a production implementation.

One contract suite per port (tests/contracts) runs over every implementation, over real connections.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from services.triage.errors import Reason
from services.triage.job import Job, JobMessage, Lease, OrderPriority, Plan
from services.triage.model import Model
from services.triage.result import DeliveryState, Destination, Result
from services.triage.study import Instance, VersionKey
from services.triage.volume import Segmentation, Volume


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptFile:
    """A Part 10 file that is on disk and will be found again. `digest`: SHA-256 (hex) of its data set after group 2."""

    digest: str
    size_bytes: int
    received_from: str


class StudyFiles(Protocol):
    """Keeps received instances and result objects, by digest. File names are digests, never words from the wire."""

    def keep(self, content: bytes, *, digest: str, received_from: str) -> KeptFile:
        """Keep one Part 10 file; when this returns, file and directory entry are on disk (fsync).

        A digest already kept is stored once. Raises OutOfResources; then nothing is left behind.
        """

    def pending(self) -> Iterator[KeptFile]:
        """Files kept but not yet settled (recorded in the store), oldest first; a kill at any moment loses none."""

    def settle(self, digests: Iterable[str]) -> None:
        """The store knows these now: they leave `pending`, and stay found by `path`. Idempotent."""

    def path(self, digest: str) -> Path:
        """A local file with these bytes, pending or settled. Raises FileNotFoundError."""

    def quarantine(self, content: bytes, *, reason: Reason, received_from: str) -> Path:
        """Keep bytes that could not be understood, with the reason beside them, for a person to look at."""

    def keep_result(self, content: bytes) -> str:
        """Keep a result object (fsync); answers its SHA-256 (hex) over all bytes, the name for `result_path`."""

    def result_path(self, sha256: str) -> Path:
        """A local file with the bytes of a result object. Raises FileNotFoundError."""


class Arrival(StrEnum):
    """What the store makes of one recorded instance."""

    NEW = "new"
    RESEND = "resend"
    """the same SOP Instance UID with the same content: nothing changes"""
    CONFLICT = "conflict"
    """the same SOP Instance UID with other content: both are kept, the newest is analysed, and it is said so"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What became of one instance, and the version it belongs to or opened (None: it changes no version)."""

    arrival: Arrival
    version: VersionKey | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DueDelivery:
    """One result that is due at one destination now. `objects`: (SOP Class UID, SOP Instance UID, sha256) each."""

    delivery_id: str
    destination: Destination
    attempt: int
    objects: tuple[tuple[str, str, str], ...]


class StudyStore(Protocol):
    """The truth: studies, versions, jobs, leases, results, deliveries, each with its history.

    Every method is one transaction. `now` is always an argument (timezone-aware UTC). Raises StoreUnavailable.
    """

    def record(self, instances: Sequence[tuple[Instance, str]], *, now: datetime) -> list[Recorded]:
        """Record kept instances, each with the AE title or address it came from. Recording again changes nothing.

        An image that adds or changes a routable series (triage.completeness.is_routable) joins the receiving
        version, or opens the next one if the last is complete, cancelling that version's queued and analysing jobs.
        Any other instance is recorded with the study and opens nothing.
        """

    def quiet_versions(self, *, now: datetime, quiet_period: timedelta) -> list[VersionKey]:
        """Receiving versions in which no routable image arrived for the quiet period, or whose completion was asked."""

    def instances(self, version: VersionKey) -> tuple[Instance, ...]:
        """The instances of a version: all of the study so far, the newest where one UID has two contents."""

    def ask_completion(self, study_instance_uid: str, *, actor: str, now: datetime) -> bool:
        """Have the receiving version completed at the next turn. False: no such study, or nothing is receiving."""

    def complete(self, version: VersionKey, plan: Plan, *, priority: OrderPriority, seen: int, now: datetime) -> bool:
        """Close a version with its plan; its jobs are queued in the same transaction (outbox).

        `seen`: how many instances the plan was made from. False, and nothing changes, when another gateway was
        first or an instance has arrived since.
        """

    def unpublished(self, *, limit: int) -> list[JobMessage]:
        """Queued jobs whose message is not yet (or no longer) in the queue, by priority, then age."""

    def published(self, messages: Sequence[JobMessage]) -> None:
        """The queue has confirmed these."""

    def reissue(self, *, now: datetime) -> int:
        """Put jobs whose lease has run out back to queued and unpublished; answers how many."""

    def lease(self, job_id: str, *, worker: str, now: datetime, duration: timedelta) -> tuple[Lease, Job] | None:
        """Take a queued job. None: it is taken, done, cancelled or unknown (acknowledge the message, do nothing)."""

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
    ) -> str:
        """Commit a result once, with one pending delivery per destination. Answers the result id.

        The objects' bytes are already kept; `sha256s` names them, in their order.
        Raises LeaseLost when the token is no longer the job's, or the job was cancelled.
        """

    def postpone(self, lease: Lease, reason: Reason, *, now: datetime, until: datetime) -> None:
        """Give a job back after a transient error, to be published again not before `until`. Raises LeaseLost."""

    def due_deliveries(self, destination_name: str, *, now: datetime, limit: int) -> list[DueDelivery]:
        """Pending deliveries of a destination whose time has come, by order priority, then age."""

    def delivered(self, delivery_id: str, state: DeliveryState, *, now: datetime) -> None:
        """A delivery reached `sent` (or later `committed`)."""

    def delivery_failed(self, delivery_id: str, reason: Reason, *, now: datetime, retry_at: datetime | None) -> None:
        """A try failed; with no `retry_at` the delivery is given up."""


class ReceivedMessage(Protocol):
    """One message in hand: it must be ended by exactly one of the three; if the process dies, it comes back."""

    message: JobMessage

    def ack(self) -> None:
        """The work is safe (its lease is committed): forget the message."""

    def retry(self, *, delay: timedelta) -> None:
        """Bring the message again after a delay."""

    def dead_letter(self, reason: Reason) -> None:
        """Nobody can act on this message: keep it for a person."""


class JobQueue(Protocol):
    """The bell between gateway and workers. At-least-once; order by priority, then by age."""

    def publish(self, message: JobMessage) -> None:
        """Returns once the queue has it safe (publisher confirm). Raises TransientError."""

    def receive(self, *, timeout: timedelta) -> ReceivedMessage | None:
        """The next message, or None when none came in time. Raises TransientError."""

    def close(self) -> None:
        """Messages in hand go back to the queue."""


class Segmenter(Protocol):
    """Runs a model over a whole volume."""

    def models(self) -> tuple[Model, ...]:
        """The models that can be asked for. Raises SegmenterUnavailable."""

    def segment(self, volume: Volume, model: Model) -> Segmentation:
        """Raises SegmenterUnavailable (retry), AnalysisFailed (out of memory, broken model: coded reason)."""


class ResultSender(Protocol):
    """Brings the frozen objects of one result to one destination."""

    def send(self, files: Sequence[tuple[str, str, Path]]) -> None:
        """Send (SOP Class UID, SOP Instance UID, file) each; returns when the destination has said success to all.

        Sending again is harmless: the bytes are the same. Raises DestinationUnavailable (retry) or
        DestinationRefused (it answered that it will not take an object).
        """
