"""What one worker has done since it started (`services.exposition`)."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from services.exposition import REGISTRY
from services.triage.expectation import UNEXPECTED_CODES
from services.triage.result import Result

_STAGES = frozenset({"load", "segment", "find", "report"})

BUSY = Gauge(
    "vigie_worker_busy",
    "1 while the worker has a job. If it is 1 on all workers for long, add workers; if 0 while jobs wait, see its log.",
    registry=REGISTRY,
)
ATTEMPTS = Counter(
    "vigie_worker_attempts",
    "Attempts at jobs by how they ended: came (to an end), stopped, overdue. If overdue grows, look at model and host.",
    ("end",),
    registry=REGISTRY,
)
SHADOWS = Counter(
    "vigie_worker_shadow_runs",
    "Looks of a shadow by how they ended: kept, interrupted (a job came), postponed, failed. If failed grows, see log.",
    ("end",),
    registry=REGISTRY,
)
STAGES = Histogram(
    "vigie_worker_stage_duration_seconds",
    "Time of each stage of an analysis. If load grows look at the disk, if segment grows at Triton or the CPU.",
    ("stage",),
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
    registry=REGISTRY,
)
ENERGY_SOURCE = Gauge(
    "vigie_worker_energy_source",
    "1 for what the energy of the last analysis was read from, its CPU's and its GPU's (docs/observatory.md). If that "
    "of a GPU is unreadable, see VigieGpuEnergyUnreadable in the runbook.",
    ("of", "source"),
    registry=REGISTRY,
)
UNEXPECTED = Counter(
    "vigie_worker_unexpected_images",
    "Results whose images were unlike those that the model was made for, by what was unlike, and whether they were "
    "refused or analysed with a caution. If one grows, look at the routing rules and at that model's `expects`.",
    ("model", "expected", "verdict"),
    registry=REGISTRY,
)


def energy_read_from(sources: Mapping[str, str]) -> None:
    """What has a source (cpu, gpu) to that source."""
    ENERGY_SOURCE.clear()
    for of, source in sources.items():
        ENERGY_SOURCE.labels(of, source).set(1)


def observe(result: Result) -> None:
    """The stages of a finished analysis, and what of its images was not as the model expects."""
    finding = result.finding
    told = [(reason, "caution") for reason in finding.cautions]
    told += [(finding.reason, "refused")] if finding.reason else []
    for reason, verdict in told:
        if reason.code in UNEXPECTED_CODES:
            UNEXPECTED.labels(result.model.name, reason.code.removeprefix("unexpected_"), verdict).inc()
    for stage, seconds in result.timings_s.items():
        if stage in _STAGES:
            STAGES.labels(stage).observe(seconds)
