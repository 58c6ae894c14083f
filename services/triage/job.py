"""A job: one study version analysed by one model version. Its kind, its states, its lease, its message."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from services.triage.errors import Reason
from services.triage.lesion import Lesion
from services.triage.result import FrozenResult
from services.triage.study import Instance, StudyAttributes, VersionKey
from services.triage.tenant import NO_TENANT


class JobKind(StrEnum):
    """What a worker does: ask a model, or write an earlier result again under corrected patient or order data."""

    ANALYSE = "analyse"
    RECONCILE = "reconcile"


class JobState(StrEnum):
    """The one axis of a job."""

    QUEUED = "queued"
    ANALYSING = "analysing"
    FROZEN = "frozen"
    CANCELLED = "cancelled"


ALLOWED: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.ANALYSING, JobState.CANCELLED}),
    # back to queued: the lease ran out, or the error asked for a retry
    JobState.ANALYSING: frozenset({JobState.FROZEN, JobState.QUEUED, JobState.CANCELLED}),
    JobState.FROZEN: frozenset(),
    JobState.CANCELLED: frozenset(),
}


def may_become(current: JobState, wanted: JobState) -> bool:
    """Whether a job may go from one state to the other."""
    return wanted in ALLOWED[current]


class OrderPriority(IntEnum):
    """Priority of the imaging order (request, rule or calling AE), never of the AI; lower comes first."""

    STAT = 0
    HIGH = 1
    ROUTINE = 2


AGEING = timedelta(minutes=30)
"""So long a wait counts as one step of priority: STAT overtakes routine work, and routine work never starves."""


def rank(priority: OrderPriority, queued_at: datetime) -> float:
    """The place in the order of work, in seconds; of the jobs that are due, the one with the smallest is next."""
    return (queued_at + priority * AGEING).timestamp()


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesRefusal:
    """Why one series of a claimed study was not chosen."""

    series_instance_uid: str
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPlan:
    """What routing decided for one model: a series to analyse, or the reason why none will do.

    input_series: of a model that looks at several, in the order of its inputs, that series among them
    (`triage.inputs`); the worker tells them, who knows the model.
    """

    model_name: str
    series_instance_uid: str | None
    refusal: Reason | None = None
    refused_series: tuple[SeriesRefusal, ...] = ()
    input_series: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.series_instance_uid is None) == (self.refusal is None):
            raise ValueError("a plan names either a series or a refusal")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What routing decided for a study: jobs, or the reason why it is out of scope."""

    jobs: tuple[JobPlan, ...]
    out_of_scope: Reason | None = None

    def __post_init__(self) -> None:
        if bool(self.jobs) == (self.out_of_scope is not None):
            raise ValueError("a plan has either jobs or a reason for being out of scope")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobMessage:
    """The bell: identifiers only. It wakes a worker; which job is next, the store decides.

    job_id, attempt (from 1: every lease, a stopped one, too): for whom it was rung. traceparent: W3C trace context.
    """

    job_id: str
    priority: OrderPriority = OrderPriority.ROUTINE
    attempt: int = 1
    traceparent: str | None = None


OWED_TOO_LONG = timedelta(seconds=30)
UNTAKEN_TOO_LONG = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """What waits for others. None: nothing does.

    owed_since: since when the oldest message waits for the broker. untaken_since: since when the oldest job that is due
    waits while no worker holds a lease.
    """

    owed_since: datetime | None
    untaken_since: datetime | None

    def is_owed_too_long(self, now: datetime) -> bool:
        """Whether the broker must be away: a message is published within a second."""
        return self.owed_since is not None and now - self.owed_since > OWED_TOO_LONG

    def is_untaken_too_long(self, now: datetime) -> bool:
        """Whether no worker can be there: an idle one takes a job within two seconds."""
        return self.untaken_since is not None and now - self.untaken_since > UNTAKEN_TOO_LONG


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to work on a job until `expires_at`. Every write is guarded by `token`, which only grows."""

    job_id: str
    token: int
    worker: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that a worker needs to begin.

    instances: of the whole study version; the series to analyse is `plan.series_instance_uid`.
    predecessors: the SR documents of the earlier result that this one replaces, by SHA-256 (`StudyFiles.result_path`).
    earlier_lesions: every lesion that earlier results of the model told of, as the last of them measured it.
    reconciles: the result of the same images to be written again, None where the model is to look.
    traceparent: the W3C trace context in which the study was completed. tenant: whose study it is.
    switched_off: the versions of the model that were so for this tenant when the job was leased (`triage.switch`).
    model_version: which version looks, as of then (`triage.rollout`); None: the catalogue's standing one.
    """

    job_id: str
    version: VersionKey
    plan: JobPlan
    priority: OrderPriority
    attempt: int
    study: StudyAttributes
    instances: tuple[Instance, ...]
    predecessors: tuple[str, ...] = ()
    earlier_lesions: tuple[Lesion, ...] = ()
    reconciles: FrozenResult | None = None
    traceparent: str | None = None
    tenant: str = NO_TENANT
    switched_off: frozenset[str] = frozenset()
    model_version: str | None = None
