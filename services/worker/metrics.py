"""What one worker has done since it started (`services.exposition`)."""

from prometheus_client import Counter, Gauge, Histogram

from services.exposition import REGISTRY
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
STAGES = Histogram(
    "vigie_worker_stage_duration_seconds",
    "Time of each stage of an analysis. If load grows look at the disk, if segment grows at Triton or the CPU.",
    ("stage",),
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
    registry=REGISTRY,
)


def observe(result: Result) -> None:
    """The stages of a finished analysis."""
    for stage, seconds in result.timings_s.items():
        if stage in _STAGES:
            STAGES.labels(stage).observe(seconds)
