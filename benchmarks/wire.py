"""The cost of the Triton wire on a real chest CT: the runner in this process, behind gRPC, behind shared memory.

    .venv/bin/python -m benchmarks.wire [--rounds N] [--write docs/measurements/wire.md]

All three in one run, their rounds interleaved, with the shipped model and the same number of torch threads. Bytes are
counted between client and server, and every answer is compared with the runner's own.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.counting import CountingProxy, counting
from dicom_samples.real_ct import CACHE, CASES, SampleUnavailable, fetch_archive, read_nrrd
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.embedded import EmbeddedSegmenter
from services.backends.inference.triton import TritonSegmenter
from services.logs import configure_logging
from services.settings import REPOSITORY
from services.triage.model import Model
from services.triage.ports import Segmenter
from services.triage.volume import Segmentation, SliceSource, Volume
from tests.support.triton import THREADS, triton_server

MODEL = "ct_lung_lesion"
IN_PROCESS, GRPC, SHARED = "in process", "gRPC", "shared memory"
DEADLINE_S = 900.0
# the targets: seconds against the runner in this process, bytes against the tensors, probability in steps of 1/255
MOST_TIMES = {GRPC: 1.25, SHARED: 1.10}
MOST_BYTES = 1.05
MOST_STEPS = 1


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One answer. wall_s: as the caller waits for it. runner_s: in the bundle's own stages, as the report tells."""

    wall_s: float
    runner_s: float


def chest_ct() -> Volume:
    """The first real CT of the demo, 48 slices of 512 x 512. Raises SampleUnavailable."""
    voxels, affine = read_nrrd(fetch_archive(CACHE), f"{CASES[0].stem}_image")
    source = SliceSource(sop_class_uid="", sop_instance_uid="")
    return Volume(
        voxels=voxels, affine=affine, modality="CT", study_instance_uid="", series_instance_uid="",
        frame_of_reference_uid="", sources=(source,) * len(voxels),
    )  # fmt: skip


def tensor_bytes(volume: Volume) -> int:
    """What must travel: voxels and affine in; labels and probability, a byte a voxel each, out."""
    return int(volume.voxels.nbytes + volume.affine.nbytes + 2 * volume.voxels.size)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The volume and the model, the ways to an answer, and the counted ones by gRPC and by shared memory."""

    volume: Volume
    model: Model
    ways: Mapping[str, Segmenter]
    counted: Mapping[str, tuple[Segmenter, CountingProxy]]

    def ask(self, segmenter: Segmenter) -> tuple[Segmentation, Timing]:
        """One answer."""
        begin = time.perf_counter()
        answer = segmenter.segment(self.volume, self.model)
        wall_s = time.perf_counter() - begin
        return answer, Timing(wall_s=wall_s, runner_s=sum(answer.timings_s.values()))


@contextmanager
def bench() -> Iterator[Bench]:
    """A Triton server of its own that serves the shipped model, and the runner in this process."""
    volume, catalogue = chest_ct(), Catalogue(REPOSITORY / "models")
    with (
        tempfile.TemporaryDirectory(prefix="wire-") as folder,
        triton_server(REPOSITORY / "models", Path(folder)) as server,
        counting(server.port) as (plain, plain_url),
        counting(server.port) as (shared, shared_url),
    ):

        def asks(url: str, *, share_memory: bool) -> Segmenter:
            return TritonSegmenter(catalogue, url, deadline_s=DEADLINE_S, share_memory=share_memory)

        yield Bench(
            volume=volume,
            model=catalogue.get(MODEL),
            ways={
                IN_PROCESS: EmbeddedSegmenter(catalogue, threads=THREADS),
                GRPC: asks(server.url, share_memory=False),
                SHARED: asks(server.url, share_memory=True),
            },
            counted={
                GRPC: (asks(plain_url, share_memory=False), plain),
                SHARED: (asks(shared_url, share_memory=True), shared),
            },
        )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Of each way the timings of all rounds, of each wire the bytes of one answer.

    labelled: voxels with a label in the first answer in this process. other_labels, steps: how the worst of all other
    answers differs from it, in voxels with another label, and by the probability in 1/255.
    """

    timings: Mapping[str, Sequence[Timing]]
    bytes_: Mapping[str, int]
    tensor_bytes: int
    labelled: int
    other_labels: int
    steps: int


def measure(the_bench: Bench, rounds: int) -> Measurement:
    """First each wire once, counted, which also warms all up; then the rounds, each beginning with another way."""
    console = Console(stderr=True)
    names = list(the_bench.ways)
    timings: dict[str, list[Timing]] = {name: [] for name in names}
    plan = [names[(start + number) % len(names)] for start in range(rounds) for number in range(len(names))]
    with console.status("once each, with the bytes counted"):
        expected, _ = the_bench.ask(the_bench.ways[IN_PROCESS])
        differences, counts = [], {}
        for name, (segmenter, proxy) in the_bench.counted.items():
            answer, _ = the_bench.ask(segmenter)
            differences.append(_difference(expected, answer))
            counts[name] = proxy.bytes_
    if counts[SHARED] > tensor_bytes(the_bench.volume) / 10:
        raise RuntimeError("Triton did not map our memory: the voxels went through the message")
    for name in track(plan, "wire", console=console):
        answer, timing = the_bench.ask(the_bench.ways[name])
        timings[name].append(timing)
        differences.append(_difference(expected, answer))
    other_labels, steps = map(max, zip(*differences, strict=True))
    return Measurement(
        timings=timings,
        bytes_=counts,
        tensor_bytes=tensor_bytes(the_bench.volume),
        labelled=int(np.count_nonzero(expected.labels)),
        other_labels=other_labels,
        steps=steps,
    )


def _difference(expected: Segmentation, answer: Segmentation) -> tuple[int, int]:
    """Voxels with another label, and the greatest distance of the probabilities in 1/255."""
    steps = np.abs(expected.tumour_probability.astype(np.int16) - answer.tumour_probability)
    return int((expected.labels != answer.labels).sum()), int(steps.max())


def ratio(timings: Mapping[str, Sequence[Timing]], name: str) -> float:
    """Median over the rounds of each round's own ratio to the runner in this process."""
    pairs = zip(timings[name], timings[IN_PROCESS], strict=True)
    return statistics.median(one.wall_s / alone.wall_s for one, alone in pairs)


def table(measured: Measurement) -> str:
    """Seconds and bytes of each way, in Markdown."""
    lines = [
        "| way | median s | min s | x in process | in the runner: median s | outside it: median s | bytes on the wire "
        "| x tensors |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, timings in measured.timings.items():
        walls_s = [one.wall_s for one in timings]
        runner_s = statistics.median(one.runner_s for one in timings)
        outside_s = statistics.median(one.wall_s - one.runner_s for one in timings)
        count = measured.bytes_.get(name)
        told = "- | -" if count is None else f"{count:,} | {count / measured.tensor_bytes:.4f}"
        lines.append(
            f"| {name} | {statistics.median(walls_s):.2f} | {min(walls_s):.2f} | {ratio(measured.timings, name):.2f} "
            f"| {runner_s:.2f} | {outside_s:.2f} | {told} |"
        )
    return "\n".join(lines)


def verdicts(measured: Measurement) -> list[str]:
    """The targets, and whether this run met them."""
    lines = []
    for name, most in MOST_TIMES.items():
        times = ratio(measured.timings, name)
        lines.append(f"- {_met(times <= most)}: by {name} {times:.2f} times the time in process (at most {most:.2f})")
    times, others, steps = measured.bytes_[GRPC] / measured.tensor_bytes, measured.other_labels, measured.steps
    return [
        *lines,
        f"- {_met(times <= MOST_BYTES)}: by gRPC {times:.4f} times the bytes of the tensors (at most {MOST_BYTES:.2f})",
        f"- {_met(others == 0)}: {others} voxels have another label than in process, where {measured.labelled} have one"
        " (none)",
        f"- {_met(steps <= MOST_STEPS)}: the probability differs by {steps}/255 (at most {MOST_STEPS}/255)",
    ]


def _met(target: bool) -> str:
    return "met" if target else "NOT met"


def main() -> int:
    """Measure, print, and write the page of the documentation if asked to; answers the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    configure_logging("WARNING")
    load = os.getloadavg()[0]
    try:
        with bench() as the_bench:
            measured = measure(the_bench, options.rounds)
    except SampleUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    text = "\n".join([table(measured), "", *verdicts(measured)])
    sys.stdout.write(text + "\n")
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        facts = {"load": load, "date": datetime.now(UTC).date(), "cores": os.cpu_count(), "threads": THREADS}
        options.write.write_text(
            PAGE.format(rounds=options.rounds, tensors=f"{measured.tensor_bytes:,}", text=text, **facts)
        )
    return 0


PAGE = """\
# The Triton wire: a chest CT of 48 slices of 512 x 512

Made again by `python -m benchmarks.wire --rounds {rounds} --write docs/measurements/wire.md`. {rounds} interleaved
rounds on one machine of {cores} cores shared with other work (load average {load:.1f} at the start, {date}): trust the
ratios, not the seconds.

The shipped model on a real CT (int16), {threads} torch threads on either side: the runner in the caller's own process,
and the same runner in a Triton server on the same machine. *x in process* is the median of each round's own ratio.
*In the runner* is the sum of the stages that it reports itself, *outside it* what the caller waits for beyond them. The
bytes are those
of all TCP payload of one analysis, both ways, its questions about the served model included; the tensors are voxels and
affine in, labels and probability out: {tensors} bytes.

{text}
"""


if __name__ == "__main__":
    # an exception, so that the server is stopped
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
