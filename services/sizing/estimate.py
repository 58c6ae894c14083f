"""From studies an hour to replicas, GPUs, network and disk. Every constant has its source, and can be set."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import ceil

from services.sizing.mix import AN_HOUR, MIX, Kind
from services.triage.uncertainty import UncertaintyMode

GB, TB = 1e3, 1e6  # in MB


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A figure of one machine, and where it is from."""

    value: float
    unit: str
    source: str


CONSTANTS: dict[str, Constant] = {
    "door_mb_s": Constant(
        value=100,
        unit="MB/s of one door on 2 cores, on disk before it answers",
        source="docs/measurements/ingest.md: 152 MB in 1.15 s over one association, 608 MB in 2.12 s over four",
    ),
    "door_instances_s": Constant(
        value=200,
        unit="instances/s of one door on 2 cores",
        source="docs/measurements/ingest.md: 300 in 1.15 s",
    ),
    "worker_s": Constant(
        value=1.0,
        unit="s of a worker for a study of 134 slices, without its model",
        source="docs/measurements/pipeline.md: 0.61 s (headers, load, find, report)",
    ),
    "model_s": Constant(
        value=15.0,
        unit="s of the model for a study of 134 slices, on one Triton replica",
        source="docs/measurements/pipeline.md: 7.8 s on 2 CPU threads. Measure yours on your GPU: docs/triton.md",
    ),
    "flips_times": Constant(
        value=3.9,
        unit="times model_s with mirrored runs (--uncertainty flips)",
        source="docs/measurements/uncertainty.md: 3.7 to 3.9 times the CPU time, of four runs",
    ),
    "busy": Constant(
        value=0.6,
        unit="share of its time that a replica works at the peak",
        source="M/M/1: at 0.6 a study waits 1.5 times as long as it takes, at 0.9 nine times",
    ),
    "day_hours": Constant(
        value=5,
        unit="busiest hours that make a day",
        source="1,500 studies a day at 300 in the busiest hour (MONAI Deploy's workload paper)",
    ),
    "result_mb": Constant(
        value=1.0,
        unit="MB of results of an analysed study (SEG, SR)",
        source="docs/measurements/seg.md; the size of a label map depends on the lesions",
    ),
    "row_kb": Constant(
        value=4.0,
        unit="KB of database for each instance, with indexes",
        source="docs/measurements/load.md",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to size for. mix: studies of each modality, in any proportion. analysed: modalities that a model looks at.

    spare: replicas of each kind that may be away. retention_days: of received images. uncertainty: whether each model
    makes mirrored runs, too.
    """

    studies_per_hour: float = AN_HOUR
    mix: Mapping[str, float]
    analysed: frozenset[str] = frozenset({"CT", "MR", "PT"})
    retention_days: float = 7
    spare: int = 1
    uncertainty: UncertaintyMode = UncertaintyMode.OFF
    constants: Mapping[str, float]

    @classmethod
    def usual(cls, **told: object) -> "Question":
        """The usual mix and constants, but for what is told."""
        usual = {
            "mix": {kind.modality: kind.an_hour for kind in MIX},
            "constants": {name: each.value for name, each in CONSTANTS.items()},
        }
        return cls(**(usual | told))  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is needed. At the peak: studies, instances, network. Replicas with the spare ones. Disk without headroom."""

    studies_per_day: float
    instances_per_hour: float
    analysed_per_hour: float
    network_mbit_s: float
    door_replicas: int
    worker_replicas: int
    triton_replicas: int
    received_gb_per_day: float
    images_tb: float
    results_gb_per_year: float
    database_gb_per_year: float

    def as_dict(self) -> dict[str, float]:
        """By name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def estimate(question: Question) -> Estimate:
    """Size an installation. Raises ValueError: a modality that is not known, or nothing to size for."""
    kinds = {kind.modality: kind for kind in MIX}
    unknown = sorted({*question.mix, *question.analysed} - kinds.keys())
    if unknown:
        raise ValueError(f"no size is known of {', '.join(unknown)}: use {', '.join(kinds)}")
    total = sum(question.mix.values())
    if total <= 0 or question.studies_per_hour <= 0 or min(question.mix.values()) < 0:
        raise ValueError("there must be studies: a mix and a rate above 0")
    an_hour = {kinds[name]: question.studies_per_hour * share / total for name, share in question.mix.items()}
    return _estimate(question, an_hour)


def _estimate(question: Question, an_hour: Mapping[Kind, float]) -> Estimate:
    constants = question.constants
    mb = sum(kind.study_mb * studies for kind, studies in an_hour.items())
    instances = sum(kind.instances_on_average * studies for kind, studies in an_hour.items())
    looked_at = {kind: studies for kind, studies in an_hour.items() if kind.modality in question.analysed}
    # a model's time grows with the slices, and so does the worker's
    slices = sum(kind.instances_on_average * studies for kind, studies in looked_at.items()) / _SLICES
    others = question.studies_per_hour - sum(looked_at.values())
    door_s = max(mb / constants["door_mb_s"], instances / constants["door_instances_s"])
    times = constants["flips_times"] if question.uncertainty is UncertaintyMode.FLIPS else 1
    model_s = slices * constants["model_s"] * times
    worker_s = slices * constants["worker_s"] + others * _OTHERS_S
    hours, days = constants["day_hours"], question.retention_days

    def replicas(seconds: float) -> int:
        return ceil(seconds / 3600 / constants["busy"]) + question.spare if seconds else 0

    return Estimate(
        studies_per_day=question.studies_per_hour * hours,
        instances_per_hour=instances,
        analysed_per_hour=sum(looked_at.values()),
        network_mbit_s=8 * mb / 3600,
        door_replicas=replicas(door_s),
        # a worker waits for its model meanwhile
        worker_replicas=replicas(worker_s + model_s),
        triton_replicas=replicas(model_s),
        received_gb_per_day=mb * hours / GB,
        images_tb=mb * hours * days / TB,
        results_gb_per_year=sum(looked_at.values()) * constants["result_mb"] * hours * 365 / GB,
        database_gb_per_year=instances * constants["row_kb"] / 1e6 * hours * 365,
    )


_SLICES = 134  # of the CT that the constants are of
_OTHERS_S = 0.1  # of a worker for a study that it only says of that it is not analysed: docs/measurements/jobs.md
