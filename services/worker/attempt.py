"""One attempt at a job: keep its lease while the pipeline runs, then freeze the result, or give the job back."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import cache, partial
from pathlib import Path

import structlog

from services import tracing
from services.logs import where
from services.tracing import Kind
from services.triage.blind import NOT_BLIND, BlindPolicy
from services.triage.errors import LeaseLost, Reason, RejectedError, StoreUnavailable, TransientError
from services.triage.finding import Outcome, without_analysis
from services.triage.job import Job, Lease
from services.triage.model import Model, ModelIdentity
from services.triage.ports import Segmenter, StudyFiles, StudyStore
from services.triage.result import FALLBACKS, Destination, Result, segmentations_for
from services.triage.volume import MAX_VOXELS
from services.worker import metrics
from services.worker.energy import EnergyMeter
from services.worker.pipeline import analyse, failed_result
from services.worker.reconcile import reconcile

log = structlog.get_logger(__name__)

_ModelOfJob = Callable[[], Model]


class _End(Enum):
    """How waiting for a pipeline ends. In the two latter cases its thread goes on: it cannot be ended from outside."""

    CAME = auto()
    STOPPED = auto()
    OVERDUE = auto()


MOST_STOPS = 20
"""Leases of one job from which on a stop counts as an attempt."""


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Makes attempts at jobs, one at a time.

    analysis_limit_s: an analysis that runs longer is given up. max_volume_voxels: a larger series is refused.
    grace_s: after a stop is asked, an analysis may go on for so long before its job is given back.
    retry_s, retry_max_s: first and longest pause before the next attempt after a failure; it doubles.
    energy: meters the analyses. blind: which results are withheld until a reader has assessed the study.
    """

    store: StudyStore
    files: StudyFiles
    segmenter: Segmenter
    destinations: Sequence[Destination]
    stop: threading.Event
    lease_s: float
    max_attempts: int
    analysis_limit_s: float = 1800.0
    max_volume_voxels: int = MAX_VOXELS
    grace_s: float = 20.0
    retry_s: float = 10.0
    retry_max_s: float = 600.0
    energy: EnergyMeter = field(default_factory=EnergyMeter)
    blind: BlindPolicy = NOT_BLIND
    # the pipeline runs beside the thread that renews the lease and hears signals
    _pipeline: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), init=False)

    def make(self, lease: Lease, job: Job, *, rung_by: str | None = None) -> bool:
        """Make one attempt. False: the pipeline still runs, and only the end of this process can end it.

        Then a stop was asked and the job was given back, or the job took too long and was given up.
        rung_by: the traceparent of the message that led to it.
        """
        with tracing.span(
            "analyse" if job.reconciles is None else "write again",
            parent=job.traceparent,
            links=[rung_by],
            kind=Kind.CONSUMER,
            job=job.job_id,
            attempt=job.attempt,
            model=job.plan.model_name,
            study_instance_uid=job.version.study_instance_uid,
            version=job.version.number,
        ) as span:
            with metrics.BUSY.track_inprogress():
                end = self._make(lease, job)
            metrics.ATTEMPTS.labels(end.name.lower()).inc()
            span.tell(end=end.name.lower())
        return end is _End.CAME

    def _make(self, lease: Lease, job: Job) -> _End:
        lost = threading.Event()
        # read when it is first needed, and once: the report of a failure names the model that was tried
        model_of_job = cache(partial(self.segmenter.model, job.plan.model_name, job.model_version))
        # in a copy of this context: what it logs belongs to the same trace
        pipeline = self._pipeline.submit(copy_context().run, self._analyse, job, model_of_job, lost)
        end = self._attend(pipeline, lease, lost)
        lost.set()  # whatever still runs has nothing more to say
        try:
            match end:
                case _End.CAME:
                    self._conclude(pipeline, lease, job, model_of_job)
                case _End.STOPPED:
                    now = _now()
                    reason = Reason(code="worker_stopped", text="the worker was stopped during the analysis")
                    # no update takes so many workers away from one job: it may be what makes them stop
                    counts = lease.token > MOST_STOPS
                    self.store.postpone(lease, reason, now=now, until=now, counts=counts)
                case _End.OVERDUE:
                    text = f"the analysis did not come to an end within {self.analysis_limit_s:.0f} s"
                    self._give_up(lease, job, model_of_job, Reason(code="time_limit", text=text))
        except LeaseLost:
            log.info("lease_lost", job=job.job_id, token=lease.token)
        except TransientError as error:
            # nothing is lost: the lease runs out, and the job is published again
            log.warning("job_not_given_back", job=job.job_id, error=type(error).__name__)
        return end

    def _attend(self, pipeline: Future[Result], lease: Lease, lost: threading.Event) -> _End:
        """Renew the lease until the pipeline ends, or is waited for no longer."""
        began_at = renewed_at = time.monotonic()
        stopped_at = None
        while not wait([pipeline], timeout=min(0.2, self.lease_s / 3)).done:
            now = time.monotonic()
            if self.stop.is_set():
                stopped_at = stopped_at or now
                if now - stopped_at >= self.grace_s:
                    return _End.STOPPED
            if now - began_at >= self.analysis_limit_s:
                return _End.OVERDUE
            if now - renewed_at >= self.lease_s / 3 and not lost.is_set():
                renewed_at = now
                self._renew(lease, lost)
        return _End.CAME

    def _renew(self, lease: Lease, lost: threading.Event) -> None:
        try:
            self.store.renew(lease, now=_now(), duration=timedelta(seconds=self.lease_s))
        except LeaseLost:
            lost.set()
        except StoreUnavailable:
            # the next beat tries again; whether the lease survived is decided when the result is frozen
            log.warning("lease_not_renewed", job=lease.job_id)

    def _analyse(self, job: Job, model_of_job: _ModelOfJob, lost: threading.Event) -> Result:
        if job.attempt > self.max_attempts:
            text = f"none of {self.max_attempts} attempts came to an end: the worker died or was lost each time"
            return self._failed(job, model_of_job(), Reason(code="worker_died", text=text))

        def progress(stage: str) -> None:
            if lost.is_set():
                raise LeaseLost(f"job {job.job_id}: before {stage}")
            log.info("stage", job=job.job_id, stage=stage)

        predecessors = self._predecessors(job)
        if job.reconciles is not None:
            return reconcile(
                job,
                job.reconciles,
                path_of=self.files.path,
                result_path=self.files.result_path,
                predecessors=predecessors,
                now=_now(),
                progress=progress,
            )
        theirs = [one for one in self.destinations if job.tenant in one.tenants]
        spent = self.energy.begin()
        model = model_of_job()
        result = analyse(
            job,
            model,
            path_of=self.files.path,
            predecessors=predecessors,
            segmenter=self.segmenter,
            max_volume_voxels=self.max_volume_voxels,
            segmentations=segmentations_for(theirs),
            fallbacks={kind for each in theirs for kind in each.objects.intersection(FALLBACKS)},
            now=_now(),
            progress=progress,
            cancelled=lost.is_set,
        )
        metrics.observe(result)
        return replace(result, energy=spent(result), thresholds=model.thresholds)

    def _conclude(self, pipeline: Future[Result], lease: Lease, job: Job, model_of_job: _ModelOfJob) -> None:
        """Give the verdict on an ended pipeline. Raises LeaseLost, TransientError (the store does not answer)."""
        try:
            self._freeze(lease, pipeline.result())
        except LeaseLost:
            raise
        except TransientError as error:
            self._try_again(lease, job, model_of_job, error.reason)
        except RejectedError as error:
            self._give_up(lease, job, model_of_job, error.reason)
        except MemoryError:
            reason = Reason(code="out_of_memory", text="the analysis needs more memory than there is")
            self._give_up(lease, job, model_of_job, reason)
        except Exception as error:  # noqa: BLE001 - the border: what nobody foresaw is tried again, then said aloud
            found = where(error)
            log.error("unforeseen_error", job=job.job_id, attempt=job.attempt, **found)  # noqa: TRY400 - no values
            reason = Reason(code="internal_error", text=f"unforeseen {found['error']}")
            self._try_again(lease, job, model_of_job, reason)

    def _try_again(self, lease: Lease, job: Job, model_of_job: _ModelOfJob, reason: Reason) -> None:
        if job.attempt >= self.max_attempts:
            self._give_up(lease, job, model_of_job, reason)
            return
        now = _now()
        pause = timedelta(seconds=min(self.retry_max_s, self.retry_s * 2 ** (job.attempt - 1)))
        log.warning("attempt_failed", job=job.job_id, attempt=job.attempt, reason=reason.code, retry_in_s=pause.seconds)
        self.store.postpone(lease, reason, now=now, until=now + pause)

    def _give_up(self, lease: Lease, job: Job, model_of_job: _ModelOfJob, reason: Reason) -> None:
        log.error("job_failed", job=job.job_id, attempt=job.attempt, reason=reason.code)
        try:
            result = self._failed(job, model_of_job(), reason)
        except Exception as error:  # noqa: BLE001 - the border: even without a report the failure is recorded
            log.error("report_not_written", job=job.job_id, **where(error))  # noqa: TRY400 - no values
            result = _without_objects(job, reason)
        self._freeze(lease, result)

    def _freeze(self, lease: Lease, result: Result) -> None:
        sha256s = [self.files.keep_result(each.content) for each in result.objects]
        destinations = [one for one in self.destinations if result.objects or one.told_of]
        outcome = result.finding.outcome.value
        with tracing.span("freeze", outcome=outcome, objects=len(sha256s)) as span:
            self.store.freeze(
                lease,
                result,
                sha256s=sha256s,
                destinations=destinations,
                now=_now(),
                blind=self.blind,
                traceparent=span.traceparent,
            )
        log.info("frozen", job=lease.job_id, outcome=outcome, objects=len(sha256s))

    def _failed(self, job: Job, model: Model, reason: Reason) -> Result:
        predecessors = self._predecessors(job)
        return failed_result(job, model, reason, path_of=self.files.path, predecessors=predecessors, now=_now())

    def _predecessors(self, job: Job) -> list[Path]:
        return [self.files.result_path(sha256) for sha256 in job.predecessors]


def _without_objects(job: Job, reason: Reason) -> Result:
    """The record of a failure that no report can carry to the PACS; the work list shows it."""
    return Result(
        model=ModelIdentity(name=job.plan.model_name, version=job.model_version or "unknown", weights_sha256=""),
        series_instance_uid=job.plan.series_instance_uid,
        finding=without_analysis(Outcome.FAILED, reason),
        objects=(),
        timings_s={},
    )


def _now() -> datetime:
    return datetime.now(UTC)
