"""Writing a Segmentation: ours beside highdicom's own label map, for one mask, and what memory ours takes.

    .venv/bin/python -m benchmarks.seg [--rounds N] [--write docs/measurements/seg.md]

Ours are BINARY, which viewers show, and the label map that a destination may ask for, both with one segment per lesion
and its coded facts; highdicom is given the same label map and the same headers, and writes a LABELMAP (Supplement 243)
and, for comparison, a BINARY of its own.
"""

import argparse
import multiprocessing
import statistics
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian
from rich.console import Console
from rich.progress import track

from benchmarks.pipeline import seconds
from services.triage.finding import assess
from services.triage.result import ObjectKind
from services.triage.volume import SliceSource, Volume
from services.worker.lesions import Labels, find_candidates
from services.worker.report.seg import write_seg
from tests.support.ct import ct_series
from tests.support.lesion_case import a_model, ellipsoid, segmentation_of, volume_of_series

SHAPE = (600, 512, 512)
SPACING_MM = (0.6, 0.7, 0.7)
BALLS = (
    ((60, 200, 150), 4.0),
    ((150, 300, 350), 8.0),
    ((260, 256, 160), 15.0),
    ((400, 350, 200), 30.0),
    ((520, 150, 300), 50.0),
)
OURS = {"ours, BINARY": ObjectKind.SEG, "ours, LABELMAP": ObjectKind.LABELMAP}
MOST_TIMES, MOST_MB = 1.2, 300
NOW = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)


class Case:
    """A CT of 512 x 512 x 600 and five lesions of 8 to 100 mm: headers, volume, finding and label map."""

    def __init__(self) -> None:
        few = ct_series(slices=2, rows=SHAPE[1], columns=SHAPE[2], spacing_mm=SPACING_MM)
        geometry = volume_of_series(few)
        del few[0].PixelData
        self.headers = [_header(few[0], index) for index in range(SHAPE[0])]
        self.volume = _volume(geometry, self.headers)
        mask = np.zeros(SHAPE, np.uint8)
        for centre, radius_mm in BALLS:
            mask[ellipsoid(self.volume, centre, [radius_mm] * 3)] = 1
        self.model = a_model()
        candidates = find_candidates(segmentation_of(mask, mask * 240), self.volume, self.model)
        self.finding = assess(candidates.lesions, self.model.thresholds, calibrated=False)
        self.label_map: Labels = candidates.label_map_of(self.finding.lesions)

    def ours(self, form: ObjectKind) -> int:
        """Write as the worker does; answers the bytes."""
        seg = write_seg(
            self.finding,
            model=self.model,
            headers=self.headers,
            volume=self.volume,
            label_map=self.label_map,
            now=NOW,
            form=form,
        )
        return _saved(seg)

    def highdicom(self, kind: str) -> int:
        """Have highdicom write the same label map; answers the bytes."""
        identification = hd.AlgorithmIdentificationSequence(
            name="bench", version="1", family=codes.cid7162.ArtificialIntelligence
        )
        descriptions = [
            hd.seg.SegmentDescription(
                segment_number=number, segment_label=f"lesion {number}", algorithm_type="AUTOMATIC",
                algorithm_identification=identification,
                segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
                segmented_property_type=codes.SCT.Lesion,
            )
            for number in range(1, len(BALLS) + 1)
        ]  # fmt: skip
        seg = hd.seg.Segmentation(
            self.headers, self.label_map, kind, descriptions, series_instance_uid=hd.UID(), series_number=1,
            sop_instance_uid=hd.UID(), instance_number=1, manufacturer="bench", manufacturer_model_name="bench",
            software_versions="1", device_serial_number="1", transfer_syntax_uid=ExplicitVRLittleEndian,
        )  # fmt: skip
        return _saved(seg)


def _header(template: Dataset, index: int) -> Dataset:
    header = deepcopy(template)
    header.SOPInstanceUID, header.InstanceNumber = hd.UID(), index + 1
    x, y, z = template.ImagePositionPatient
    header.ImagePositionPatient = [x, y, round(z + index * SPACING_MM[0], 4)]
    return header


def _volume(geometry: Volume, headers: list[Dataset]) -> Volume:
    """The geometry of two slices, carried on over all; the voxels are never looked at."""
    sources = tuple(SliceSource(sop_class_uid=h.SOPClassUID, sop_instance_uid=h.SOPInstanceUID) for h in headers)
    return replace(geometry, voxels=np.zeros(SHAPE, np.int16), sources=sources)


def _saved(seg: Dataset) -> int:
    content = BytesIO()
    seg.save_as(content, enforce_file_format=True)
    return len(content.getvalue())


def additional_mb(form: ObjectKind, answer: Any) -> None:
    """In a process of its own: by how much writing raises the peak of resident memory."""
    case = Case()
    case.ours(form)  # what is imported and cached on first use is not the writing's
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew from here (proc(5))
    before = _status_kb("VmRSS")
    case.ours(form)
    answer.put((_status_kb("VmHWM") - before) / 1024)


def _status_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def measure(rounds: int) -> tuple[dict[str, list[float]], dict[str, int], dict[str, float]]:
    """Seconds of each round, bytes of each object, and the additional memory of ours in MB."""
    case = Case()
    writers: dict[str, Callable[[], int]] = {
        **{name: partial(case.ours, form) for name, form in OURS.items()},
        "highdicom, LABELMAP": lambda: case.highdicom("LABELMAP"),
        "highdicom, BINARY": lambda: case.highdicom("BINARY"),
    }
    sizes = {name: write() for name, write in writers.items()}
    times: dict[str, list[float]] = {name: [] for name in writers}
    for _ in track(range(rounds), "writing", console=Console(stderr=True)):
        for name, write in writers.items():
            times[name].append(seconds(write))
    context = multiprocessing.get_context("spawn")
    memory_mb = {}
    for name, form in OURS.items():
        answer = context.Queue()
        process = context.Process(target=additional_mb, args=(form, answer))
        process.start()
        memory_mb[name] = answer.get(timeout=300)
        process.join()
    return times, sizes, memory_mb


def report(times: dict[str, list[float]], sizes: dict[str, int], memory_mb: dict[str, float]) -> str:
    """The measurement as Markdown."""
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {name: medians[name] / medians["highdicom, LABELMAP"] for name in OURS}
    rows = "\n".join(
        f"| {name} | {medians[name]:.2f} | {min(times[name]):.2f} | {sizes[name] / 1e6:.1f} |" for name in times
    )
    met = {True: "met", False: "NOT met"}
    limits = [
        line
        for name in OURS
        for line in (
            f"- {met[ratios[name] <= MOST_TIMES]}: {name}: {ratios[name]:.2f} times the label map of highdicom",
            f"- {met[memory_mb[name] < MOST_MB]}: {name}: {memory_mb[name]:.0f} MB of additional memory",
        )
    ]
    told = "\n".join(limits)
    return f"""# Writing a Segmentation: {SHAPE[1]} x {SHAPE[2]} x {SHAPE[0]}, {len(BALLS)} lesions of 8 to 100 mm

Made again by `python -m benchmarks.seg --write docs/measurements/seg.md`. {len(next(iter(times.values())))} interleaved
rounds on one machine of 2 cores shared with other work ({datetime.now(UTC):%Y-%m-%d}): trust the ratio, not the
seconds. All are given the same headers and the same label map; all objects are Explicit VR Little
Endian, uncompressed. Ours hold only the slices with lesions.

| who writes what | median s | min s | MB |
|---|---|---|---|
{rows}

At most {MOST_TIMES} times highdicom's own label map, and less than {MOST_MB} MB:

{told}
"""


def main() -> None:
    """Measure, print, and write the page of the documentation if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    text = report(*measure(arguments.rounds))
    if arguments.write:
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        arguments.write.write_text(text)
    Console().print(text, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
