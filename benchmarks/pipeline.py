"""The pipeline without its model: everything but the runner, beside decoding the slices and highdicom's SEG writing.

    .venv/bin/python -m benchmarks.pipeline [--rounds N] [--write docs/measurements/pipeline.md]

The runner is replaced by an answer that is known beforehand, so that what is measured is ours. In the same run the
shipped model is timed once on the smaller study, the runner included.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import highdicom as hd
import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian
from rich.console import Console
from rich.progress import track

from dicom_samples.ct_writer import CtSeries, write_ct_series
from services.backends.headers import read_instance
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.embedded import EmbeddedSegmenter
from services.settings import Settings
from services.triage.job import Job, JobPlan, OrderPriority
from services.triage.model import Model
from services.triage.ports import Segmenter
from services.triage.result import FALLBACKS, ObjectKind, Result
from services.triage.study import VersionKey
from services.triage.volume import Segmentation, Volume
from services.worker.pipeline import analyse
from services.worker.report import write

PIXELS, PIXEL_MM = 512, 0.7
BALLS = (((100, 140, 105), 8.0), ((175, 210, 245), 15.0), ((250, 179, 112), 30.0))  # centre and radius in mm
MOST_TIMES = 1.3  # everything that is not inference, beside the floor
MOST_S = 1.5  # and another target: this much over the floor

DIGESTS, LOAD, FIND, SEG, SR, REST, FURTHER = (
    "headers and digests of all files", "load", "find and measure", "SEG", "SR", "the rest of the report",
    "GSPS, SC and KOS",
)  # fmt: skip
# What each stage has for a counterpart in the floor.
STAGES = {
    DIGESTS: "none",
    LOAD: "reading and decoding the slices",
    FIND: "none",
    SEG: "highdicom's SEG, saved",
    SR: "none",
    REST: "reading the slices' headers",
}
IN_FLOOR = (LOAD, SEG, REST)
# Where the time of a report goes, by the function of `write` that takes it.
WRITERS = {
    "write_seg": SEG, "write_sr": SR,
    "write_presentation_states": FURTHER, "write_key_images": FURTHER, "write_key_objects": FURTHER,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """A CT of 512 x 512 x slices."""

    slices: int
    slice_mm: float

    def __str__(self) -> str:
        return f"{PIXELS} x {PIXELS} x {self.slices}"


CASES = (Case(slices=134, slice_mm=2.5), Case(slices=300, slice_mm=1.0))


class KnownAnswer:
    """A Segmenter that answers with the balls at once."""

    def __init__(self, model: Model, labels: np.ndarray) -> None:
        self._model = model
        self._segmentation = Segmentation(labels=labels, tumour_probability=labels * 240, timings_s={})

    def model(self, name: str, version: str | None = None) -> Model:  # noqa: ARG002
        """The one model."""
        return self._model

    def require_ready(self) -> None:
        """See Segmenter."""

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:  # noqa: ARG002
        """The known answer."""
        return self._segmentation


def make_study(case: Case, folder: Path) -> tuple[list[Path], np.ndarray]:
    """Write a CT of a chest with balls in its lungs; answers its files and the balls' mask."""
    labels = np.zeros((case.slices, PIXELS, PIXELS), np.uint8)
    for centre, radius_mm in BALLS:
        labels |= _ellipsoid(labels.shape, (case.slice_mm, PIXEL_MM, PIXEL_MM), centre, [radius_mm] * 3)
    noise, chest = np.random.default_rng(1), _chest()
    voxels = np.empty(labels.shape, np.int16)
    for plane, balls in zip(voxels, labels, strict=True):
        plane[:] = (np.where(balls, 40, chest) + noise.normal(0, 20, chest.shape)).clip(-1024, 1000)
    affine = np.array([[0, 0, PIXEL_MM, -180], [0, PIXEL_MM, 0, -180], [case.slice_mm, 0, 0, 0], [0, 0, 0, 1]])
    series = CtSeries(
        voxels=voxels, affine=affine.astype(float), name="bench", patient_name="Bench^Mark", patient_id="B1",
        study_date="20240101", study_time="120000", source="bench", source_version="1", series_description="chest",
    )  # fmt: skip
    return write_ct_series(series, folder), labels


def _chest() -> np.ndarray:
    """One slice in HU: what no model refuses as far from a chest."""
    slice_hu = np.full((PIXELS, PIXELS), -1000)
    for hu, centre, radii in (
        (40, (179, 179), (105, 160)),  # the trunk, then its lungs and its spine
        (-850, (179, 104), (75, 55)),
        (-850, (179, 254), (75, 55)),
        (400, (255, 179), (25, 18)),
    ):
        slice_hu[_ellipsoid(slice_hu.shape, (PIXEL_MM, PIXEL_MM), centre, radii)] = hu
    return slice_hu


def _ellipsoid(
    shape: Sequence[int], spacing_mm: Sequence[float], centre_mm: Sequence[float], radii_mm: Sequence[float]
) -> np.ndarray:
    grid = np.ogrid[tuple(slice(0, size) for size in shape)]
    axes = zip(grid, spacing_mm, centre_mm, radii_mm, strict=True)
    return sum(((axis * mm - centre) / radius) ** 2 for axis, mm, centre, radius in axes) <= 1


def floor(paths: Sequence[Path], labels: np.ndarray) -> None:
    """Decode every slice with pydicom, and have highdicom write the mask as a binary SEG."""
    headers = []
    for path in paths:
        dataset = pydicom.dcmread(path)
        _ = dataset.pixel_array
        del dataset.PixelData
        headers.append(dataset)
    identification = hd.AlgorithmIdentificationSequence(
        name="bench", version="1", family=codes.cid7162.ArtificialIntelligence
    )
    description = hd.seg.SegmentDescription(
        segment_number=1, segment_label="lesion", algorithm_type="AUTOMATIC", algorithm_identification=identification,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
    )  # fmt: skip
    seg = hd.seg.Segmentation(
        headers, labels, "BINARY", [description], series_instance_uid=hd.UID(), series_number=1,
        sop_instance_uid=hd.UID(), instance_number=1, manufacturer="bench", manufacturer_model_name="bench",
        software_versions="1", device_serial_number="1", transfer_syntax_uid=ExplicitVRLittleEndian,
    )  # fmt: skip
    seg.save_as(paths[0].parent.parent / "floor.dcm")


def run(
    paths: Sequence[Path], model: Model, segmenter: Segmenter, *, fallbacks: Collection[ObjectKind] = ()
) -> tuple[Result, dict[str, float]]:
    """Analyse the study as the worker does, from files to objects; answers also the seconds of each stage."""
    spent: dict[str, float] = defaultdict(float)
    with clocked(spent, DIGESTS):
        instances = tuple(read_instance(path) for path in paths)
    header = instances[0].header
    path_of = {instance.digest: path for instance, path in zip(instances, paths, strict=True)}
    job = Job(
        job_id="bench", version=VersionKey(study_instance_uid=header.study_instance_uid, number=1),
        plan=JobPlan(model_name=model.identity.name, series_instance_uid=header.series_instance_uid),
        priority=OrderPriority.ROUTINE, attempt=1, study=instances[0].study, instances=instances,
    )  # fmt: skip
    with clocked_writers(spent):
        result = analyse(
            job, model, path_of=path_of.__getitem__, segmenter=segmenter, fallbacks=fallbacks, now=datetime.now(UTC),
            progress=lambda _: None,
        )  # fmt: skip
    spent[REST] = result.timings_s["report"] - sum(spent[stage] for stage in (SEG, SR, FURTHER))
    spent[LOAD], spent[FIND] = result.timings_s["load"], result.timings_s["find"]
    return result, spent


@contextmanager
def clocked(spent: dict[str, float], stage: str) -> Iterator[None]:
    """Add the wall-clock seconds of what is done within to a stage."""
    begin = time.perf_counter()
    yield
    spent[stage] += time.perf_counter() - begin


@contextmanager
def clocked_writers(spent: dict[str, float]) -> Iterator[None]:
    """Within, each writer of an object counts for its stage, and so does making bytes of what it wrote."""

    def clocked_call(function: Callable[..., Any], stage_of: Callable[..., str]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with clocked(spent, stage_of(*arguments)):
                return function(*arguments, **named)

        return call

    wrapped = {
        name: clocked_call(getattr(write, name), lambda *_, stage=stage: stage) for name, stage in WRITERS.items()
    }
    wrapped["frozen"] = clocked_call(
        write.frozen, lambda document, _: {"SEG": SEG, "SR": SR}.get(document.Modality, FURTHER)
    )
    with ExitStack() as stack:
        for name, function in wrapped.items():
            stack.enter_context(mock.patch.object(write, name, function))
        yield


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


@dataclass(kw_only=True)
class Measured:
    """Of one study: seconds of each round."""

    case: Case
    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    stages: list[Mapping[str, float]] = field(default_factory=list)

    def median_of(self, stage: str) -> float:
        """Median seconds of a stage."""
        return statistics.median(one[stage] for one in self.stages)

    @property
    def times_floor(self) -> float:
        """Everything against the floor: the median of the rounds' ratios."""
        return statistics.median(own / other for own, other in zip(self.ours, self.floor, strict=True))

    @property
    def counterparts_times_floor(self) -> float:
        """The same of what the floor does too."""
        own = [sum(one[stage] for stage in IN_FLOOR) for one in self.stages]
        return statistics.median(one / other for one, other in zip(own, self.floor, strict=True))

    @property
    def over_floor_s(self) -> float:
        """Everything less the floor."""
        return statistics.median(own - other for own, other in zip(self.ours, self.floor, strict=True))


def measure(
    case: Case, model: Model, rounds: int, segmenter: Segmenter | None, console: Console
) -> tuple[Measured, Result | None]:
    """Interleaved rounds on one study; then once with that segmenter."""
    measured = Measured(case=case)
    with tempfile.TemporaryDirectory() as folder:
        paths, labels = make_study(case, Path(folder) / "ct")
        known = KnownAnswer(model, labels)
        for number in track(range(-1, rounds), f"{case} without the runner", console=console):
            other = seconds(lambda: floor(paths, labels))
            begin = time.perf_counter()
            result, stages = run(paths, model, known)
            own = time.perf_counter() - begin
            if len(result.finding.lesions) != len(BALLS):
                raise SystemExit(f"{len(BALLS)} lesions should be found: {result.finding}")
            further = run(paths, model, known, fallbacks=FALLBACKS)[1][FURTHER]
            if number < 0:  # what is imported and cached on first use is not measured
                continue
            measured.floor.append(other)
            measured.ours.append(own)
            measured.stages.append(stages | {FURTHER: further})
        if segmenter is None:
            return measured, None
        console.print("once with the shipped model")
        return measured, run(paths, model, segmenter)[0]


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, default=Path("docs/measurements/pipeline.md"))
    arguments = parser.parse_args()
    console = Console(stderr=True)
    settings = Settings()
    catalogue = Catalogue(settings.models)
    model = catalogue.get("ct_lung_lesion")
    segmenter = EmbeddedSegmenter(catalogue, threads=settings.threads)
    smaller, larger = CASES
    gc.freeze()  # as a worker does
    first, whole = measure(smaller, model, arguments.rounds, segmenter, console)
    second, _ = measure(larger, model, arguments.rounds, None, console)
    text = report([first, second], whole, settings.threads)
    arguments.write.parent.mkdir(parents=True, exist_ok=True)
    arguments.write.write_text(text)
    Console().print(text, highlight=False, markup=False, soft_wrap=True)


def report(studies: Sequence[Measured], whole: Result | None, threads: int) -> str:
    """The measurement as Markdown."""
    text = f"""# The pipeline without its model, beside a floor of decoding the slices and writing the mask

Made again by `make bench`. {len(studies[0].ours)} interleaved rounds on one machine shared with other work
({datetime.now(UTC):%Y-%m-%d}): trust the ratio, not the seconds.

Ours: reading every header and its digest, loading, finding and measuring {len(BALLS)} lesions, writing SEG and SR.
The floor: pydicom decodes the slices, highdicom writes the mask as one binary segment.

Of our stages the floor has no counterpart of headers and digests (which in service the door reads, of each image as it
comes, and no worker again), of finding and measuring, and of the SR. Loading does more than the floor: it refuses what
is no regular volume, and keeps all slices as one volume in Hounsfield units. The SEG refers to the true images and has
a segment for each lesion.
"""
    return "\n".join([text, *(_of_one(one) for one in studies), *([_with_the_model(whole, threads)] if whole else [])])


def _of_one(measured: Measured) -> str:
    ours, theirs = (f"{statistics.median(each):.2f} | {min(each):.2f}" for each in (measured.ours, measured.floor))
    rows = "\n".join(
        f"| {stage} | {counterpart} | {measured.median_of(stage):.3f} |" for stage, counterpart in STAGES.items()
    )
    met = {True: "met", False: "NOT met"}
    times, over = measured.times_floor, measured.over_floor_s
    return f"""## A CT of {measured.case}

| what | median s | min s |
|---|---|---|
| ours | {ours} |
| floor | {theirs} |

- {met[times <= MOST_TIMES]}: everything is {times:.2f} times the floor (at most {MOST_TIMES})
- what the floor does too ({", ".join(IN_FLOOR)}) is {measured.counterparts_times_floor:.2f} times the floor
- {met[over <= MOST_S]}: {over:.2f} s over the floor (at most {MOST_S} s)

| stage | counterpart in the floor | median s |
|---|---|---|
{rows}

{FURTHER}, where a destination asks for them, take {measured.median_of(FURTHER):.2f} s more.
"""


def _with_the_model(whole: Result, threads: int) -> str:
    runner = ", ".join(f"{stage} {value:.1f}" for stage, value in whole.timings_s.items())
    memory = f"{whole.peak_memory_mb:.0f} MB" if whole.peak_memory_mb else "unknown"
    return f"""## Once with the shipped model

- {CASES[0]} with the shipped model, {threads} threads, in seconds: {runner}; peak memory {memory}
"""


if __name__ == "__main__":
    main()
