"""A job: one study version analysed by one model version. Its states, its lease, its message."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from services.triage.errors import Reason
from services.triage.study import Instance, StudyAttributes, VersionKey


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


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesRefusal:
    """Why one series of a claimed study was not chosen."""

    series_instance_uid: str
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPlan:
    """What routing decided for one model: a series to analyse, or the reason why none will do."""

    model_name: str
    series_instance_uid: str | None
    refusal: Reason | None = None
    refused_series: tuple[SeriesRefusal, ...] = ()

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
    """The bell: identifiers only. `attempt` counts from 1 and grows with each publication."""

    job_id: str
    priority: OrderPriority = OrderPriority.ROUTINE
    attempt: int = 1


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
    """

    job_id: str
    version: VersionKey
    plan: JobPlan
    priority: OrderPriority
    attempt: int
    study: StudyAttributes
    instances: tuple[Instance, ...]
    predecessors: tuple[str, ...] = ()
