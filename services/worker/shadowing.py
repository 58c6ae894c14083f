"""Shadow runs, one at a time, by a worker that has no job: one that comes interrupts, for nobody waits for a shadow."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import structlog

from services import tracing
from services.logs import where
from services.triage.errors import (
    AnalysisCancelled,
    LeaseLost,
    Reason,
    RejectedError,
    StoreUnavailable,
    TransientError,
)
from services.triage.job import Lease
from services.triage.ports import Segmenter, ShadowRuns, StudyFiles
from services.triage.retention import IMAGES_GONE
from services.triage.shadow import MAX_ATTEMPTS, RETRY_AFTER, ShadowResult, ShadowTask
from services.triage.switch import MODEL_SWITCHED_OFF
from services.triage.volume import MAX_VOXELS
from services.worker import metrics
from services.worker.energy import EnergyMeter
from services.worker.shadow import run_shadow

log = structlog.get_logger(__name__)

LOOK_FOR_JOBS_S = 1.0

_OUR_DOING = frozenset({IMAGES_GONE.code, MODEL_SWITCHED_OFF.code})
"""Why a version did not look that is nothing it says of the study."""


class End(StrEnum):
    """How a shadow run ends. interrupted: for a job, or a stop. postponed: tried again later."""

    KEPT = "kept"
    INTERRUPTED = "interrupted"
    POSTPONED = "postponed"
    FAILED = "failed"


class _Left(Exception):
    """The run is waited for no longer, and its thread goes on: it cannot be ended from outside."""


@dataclass(frozen=True, kw_only=True)
class Shadowing:
    """Takes shadow runs. analysis_limit_s, grace_s, max_volume_voxels: as of `Attempts`."""

    shadows: ShadowRuns
    files: StudyFiles
    segmenter: Segmenter
    stop: threading.Event
    lease_s: float
    analysis_limit_s: float = 1800.0
    max_volume_voxels: int = MAX_VOXELS
    grace_s: float = 20.0
    energy: EnergyMeter = field(default_factory=EnergyMeter)
    # beside the thread that renews the lease and looks for jobs
    _pipeline: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), init=False)

    def make(self, worker: str) -> bool | None:
        """Make one run, if one is owed and no job is due; None: nothing was to be done.

        False: the pipeline still runs, and only the end of this process can end it.
        """
        try:
            taken = self.shadows.lease(worker=worker, now=_now(), duration=self._lease)
        except TransientError as error:
            log.warning("shadow_not_leased", error=type(error).__name__)
            return None
        if taken is None:
            return None
        lease, task = taken
        job = task.job
        with tracing.span(
            "shadow",
            parent=job.traceparent,
            model=job.plan.model_name,
            model_version=job.model_version or "",
            study_instance_uid=job.version.study_instance_uid,
            attempt=job.attempt,
        ) as span:
            interrupted = threading.Event()
            pipeline = self._pipeline.submit(copy_context().run, self._look, task, interrupted)
            ended = True
            try:
                self._attend(pipeline, lease, interrupted)
            except _Left:
                ended = False
            try:
                end = self._conclude(pipeline, lease, task, interrupted) if ended else self._leave(lease)
            except LeaseLost:
                end = End.INTERRUPTED
            except TransientError as error:
                # nothing is lost: the lease runs out, and another takes the run
                log.warning("shadow_not_given_back", error=type(error).__name__)
                end = End.POSTPONED
            metrics.SHADOWS.labels(end.value).inc()
            span.tell(end=end.value)
        log.info("shadow_ended", end=end.value, model=job.plan.model_name, version=job.model_version)
        return ended

    @property
    def _lease(self) -> timedelta:
        return timedelta(seconds=self.lease_s)

    def _look(self, task: ShadowTask, interrupted: threading.Event) -> ShadowResult:
        def progress(stage: str) -> None:
            if interrupted.is_set():
                raise AnalysisCancelled(f"before {stage}")

        return run_shadow(
            task,
            self.segmenter.model(task.job.plan.model_name, task.job.model_version),
            path_of=self.files.path,
            result_path=self.files.result_path,
            segmenter=self.segmenter,
            max_volume_voxels=self.max_volume_voxels,
            energy=self.energy,
            progress=progress,
            cancelled=interrupted.is_set,
        )

    def _attend(self, pipeline: Future[ShadowResult], lease: Lease, interrupted: threading.Event) -> None:
        """Renew the lease and look for jobs until the pipeline ends. Raises _Left."""
        began_at = renewed_at = looked_at = time.monotonic()
        stopped_at = None
        while not wait([pipeline], timeout=min(0.2, self.lease_s / 3)).done:
            now = time.monotonic()
            if self.stop.is_set():
                interrupted.set()
                stopped_at = stopped_at or now
            if now - began_at >= self.analysis_limit_s or (stopped_at and now - stopped_at >= self.grace_s):
                interrupted.set()
                raise _Left
            try:
                if now - renewed_at >= self.lease_s / 3:
                    renewed_at = now
                    self.shadows.renew(lease, now=_now(), duration=self._lease)
                if now - looked_at >= LOOK_FOR_JOBS_S:
                    looked_at = now
                    if self.shadows.must_yield(now=_now()):
                        interrupted.set()
            except LeaseLost:
                interrupted.set()
            except StoreUnavailable:
                log.warning("shadow_not_renewed")

    def _leave(self, lease: Lease) -> End:
        if self.stop.is_set():
            self.shadows.give_back(lease)
            return End.INTERRUPTED
        text = f"the analysis did not come to an end within {self.analysis_limit_s:.0f} s"
        self.shadows.fail(lease, Reason(code="time_limit", text=text), now=_now())
        return End.FAILED

    def _conclude(
        self, pipeline: Future[ShadowResult], lease: Lease, task: ShadowTask, interrupted: threading.Event
    ) -> End:
        try:
            said = pipeline.result()
        except RejectedError as refusal:
            return self._fail(lease, refusal.reason)
        except TransientError as error:
            if interrupted.is_set():
                self.shadows.give_back(lease)
                return End.INTERRUPTED
            return self._again(lease, task, error.reason)
        except MemoryError:
            return self._fail(lease, Reason(code="out_of_memory", text="the analysis needs more memory than there is"))
        except Exception as error:  # noqa: BLE001 - the border: what nobody foresaw is tried again, then said aloud
            found = where(error)
            log.error("unforeseen_error", shadow=lease.job_id, **found)  # noqa: TRY400 - no values
            return self._again(lease, task, Reason(code="internal_error", text=f"unforeseen {found['error']}"))
        if (reason := said.finding.reason) and reason.code in _OUR_DOING:
            return self._fail(lease, reason)
        self.shadows.keep(lease, said, now=_now())
        return End.KEPT

    def _again(self, lease: Lease, task: ShadowTask, reason: Reason) -> End:
        if task.job.attempt >= MAX_ATTEMPTS:
            return self._fail(lease, reason)
        self.shadows.give_back(lease, until=_now() + RETRY_AFTER)
        return End.POSTPONED

    def _fail(self, lease: Lease, reason: Reason) -> End:
        log.error("shadow_failed", shadow=lease.job_id, reason=reason.code)
        self.shadows.fail(lease, reason, now=_now())
        return End.FAILED


def _now() -> datetime:
    return datetime.now(UTC)
