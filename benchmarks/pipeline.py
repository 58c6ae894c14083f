"""The pipeline without its model: everything but the runner, beside decoding the slices and highdicom's SEG writing.

    .venv/bin/python -m benchmarks.pipeline [--rounds N] [--write docs/measurements/pipeline.md]

The runner is replaced by an answer that is known beforehand, so that what is measured is ours. In the same run the
shipped model is timed once on the same study, the runner included.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
from services.triage.result import Result
from services.triage.study import VersionKey
from services.triage.volume import Segmentation, Volume
from services.worker.pipeline import analyse

SHAPE = (134, 512, 512)
SPACING_MM = (2.5, 0.7, 0.7)
BALLS = (((40, 200, 150), 8.0), ((70, 300, 350), 15.0), ((100, 256, 160), 30.0))  # centre index, radius in mm
MOST_S = 1.5  # the target: this much over the floor


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


def make_study(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Write a CT of lung-like noise with soft-tissue balls; answers its files and the balls' mask."""
    grid = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    labels = np.zeros(SHAPE, np.uint8)
    for centre, radius_mm in BALLS:
        squares = [((axis - c) * mm) ** 2 for axis, c, mm in zip(grid, centre, SPACING_MM, strict=True)]
        labels |= (sum(squares) <= radius_mm**2).astype(np.uint8)
    noise = np.random.default_rng(1).normal(-850, 30, SHAPE)
    voxels = np.where(labels, 40, noise).clip(-1000, 1000).astype(np.int16)
    affine = np.array(
        [[0, 0, SPACING_MM[2], -180], [0, SPACING_MM[1], 0, -180], [SPACING_MM[0], 0, 0, 0], [0, 0, 0, 1]]
    )
    series = CtSeries(
        voxels=voxels, affine=affine.astype(float), name="bench", patient_name="Bench^Mark", patient_id="B1",
        study_date="20240101", study_time="120000", source="bench", source_version="1", series_description="chest",
    )  # fmt: skip
    return write_ct_series(series, folder), labels


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


def run(paths: Sequence[Path], model: Model, segmenter: Segmenter) -> Result:
    """Analyse the study as the worker does, from files to objects."""
    instances = tuple(read_instance(path) for path in paths)
    header = instances[0].header
    path_of = {instance.digest: path for instance, path in zip(instances, paths, strict=True)}
    job = Job(
        job_id="bench", version=VersionKey(study_instance_uid=header.study_instance_uid, number=1),
        plan=JobPlan(model_name=model.identity.name, series_instance_uid=header.series_instance_uid),
        priority=OrderPriority.ROUTINE, attempt=1, study=instances[0].study, instances=instances,
    )  # fmt: skip
    return analyse(
        job, model, path_of=path_of.__getitem__, segmenter=segmenter, now=datetime.now(UTC), progress=lambda _: None
    )


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


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
    with tempfile.TemporaryDirectory() as folder:
        paths, labels = make_study(Path(folder) / "ct")
        known = KnownAnswer(model, labels)
        ours, theirs = [], []
        for _ in track(range(arguments.rounds), "without the runner", console=console):
            theirs.append(seconds(lambda: floor(paths, labels)))
            ours.append(seconds(lambda: run(paths, model, known)))
        last = run(paths, model, known)
        console.print("once with the shipped model")
        whole = run(paths, model, EmbeddedSegmenter(catalogue, threads=settings.threads))
    text = report(ours, theirs, last, whole, settings.threads)
    arguments.write.parent.mkdir(parents=True, exist_ok=True)
    arguments.write.write_text(text)
    Console().print(text, highlight=False, markup=False, soft_wrap=True)


def report(ours: list[float], theirs: list[float], last: Result, whole: Result, threads: int) -> str:
    """The measurement as Markdown."""
    over = statistics.median(own - other for own, other in zip(ours, theirs, strict=True))
    stages = ", ".join(f"{stage} {value:.2f}" for stage, value in last.timings_s.items())
    runner = ", ".join(f"{stage} {value:.1f}" for stage, value in whole.timings_s.items())
    memory = f"{whole.peak_memory_mb:.0f} MB" if whole.peak_memory_mb else "unknown"
    return f"""# The pipeline without its model: a CT of {SHAPE[0]} slices of {SHAPE[1]} x {SHAPE[2]}

Made again by `make bench`. {len(ours)} interleaved rounds on one machine shared with other work
({datetime.now(UTC):%Y-%m-%d}): trust the difference, not the seconds.

Ours: reading headers, loading, finding and measuring {len(BALLS)} lesions, writing SEG and SR.
The floor: decoding the slices with pydicom, writing the mask with highdicom.

| what | median s | min s |
|---|---|---|
| ours | {statistics.median(ours):.2f} | {min(ours):.2f} |
| floor | {statistics.median(theirs):.2f} | {min(theirs):.2f} |

- {"met" if over <= MOST_S else "NOT met"}: {over:.2f} s over the floor (at most {MOST_S} s)
- seconds per stage, last round: {stages}
- with the shipped model, {threads} threads, in seconds: {runner}; peak memory {memory}
"""


if __name__ == "__main__":
    main()
