"""What mirrored runs cost (`VIGIE_UNCERTAINTY=flips`): the same volumes with and without, through the runner.

    .venv/bin/python -m benchmarks.uncertainty [--shape 134 512 512] [--windows 4] [--rounds 3]
                                               [--write docs/measurements/uncertainty.md]

The demo model and the spleen UNet of `benchmarks.networks` on a volume with balls in it; one process, its first volume
of each model not counted. Seconds and CPU seconds are of whole runs, voxels in memory to labels and probability.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.networks import RANDOM, WINDOW, Case, random_bundle, volume_of
from services.backends.inference.catalogue import Catalogue
from services.backends.inference.runner import BundleRunner
from services.settings import Settings
from services.triage.volume import Segmentation, Volume

UNLIMITED_S = float("inf")


def timed(runner: BundleRunner, volume: Volume, within_s: float | None) -> tuple[float, float, Segmentation]:
    """Seconds, CPU seconds of this process, and the answer."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    answer = runner.run(volume, flips_within_s=within_s)
    return time.perf_counter() - began_s, time.process_time() - began_cpu_s, answer


def row_of(case: Case, rounds: int) -> str:
    """One line of the table. Raises RuntimeError where the labels differ; TypeError: no mirrored run was made."""
    bundle, volume = Path(case.bundle), volume_of(case)
    runner = BundleRunner(bundle, Catalogue(bundle.parent).get(bundle.name))
    runner.run(volume)
    once, flips, inside = [], [], []
    for _ in range(rounds):  # interleaved: what else the machine does meets both
        *cost, plain = timed(runner, volume, None)
        once.append(cost)
        *cost, answer = timed(runner, volume, UNLIMITED_S)
        flips.append(cost)
        inside.append(answer.timings_s["uncertainty"])
        if not isinstance(answer.mirrored, np.ndarray):
            raise TypeError(f"{case.name}: no mirrored run: {answer.mirrored}")
        if not np.array_equal(plain.labels, answer.labels):
            raise RuntimeError(f"{case.name}: other labels")
    (s, cpu_s), (flips_s, flips_cpu_s) = (
        [statistics.median(one[part] for one in costs) for part in (0, 1)] for costs in (once, flips)
    )
    shape = " x ".join(map(str, case.shape))
    return (
        f"| {case.name} | {shape} | {len(answer.mirrored) + 1} | {s:.1f} | {flips_s:.1f} "
        f"| {statistics.median(inside):.1f} | {flips_s / s:.2f} | {flips_cpu_s / cpu_s:.2f} "
        f"| {plain.peak_memory_mb or 0:.0f} | {answer.peak_memory_mb or 0:.0f} |"
    )


def cases(folder: Path, shape: list[int], windows: int) -> Iterator[Case]:
    """The demo model, and a network with random weights on few windows."""
    settings = Settings()
    demo, name = (settings.models / "ct_lung_lesion").resolve(), next(iter(RANDOM))
    few = (WINDOW + (windows - 1) * WINDOW // 2, WINDOW, WINDOW)
    threads = settings.threads
    yield Case(name=demo.name, bundle=str(demo), shape=tuple(shape), spacing_mm=(2.5, 0.7, 0.7), threads=threads)
    spleen = str(random_bundle(folder, name))
    yield Case(name=name, bundle=spleen, shape=few, spacing_mm=(1.0, 1.0, 1.0), threads=threads)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[134, 512, 512], help="of the demo model's CT")
    parser.add_argument("--windows", type=int, default=4, help="that the network with random weights sees")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    threads = Settings().threads
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="bundles-") as folder:
        rows = [row_of(case, arguments.rounds) for case in cases(Path(folder), arguments.shape, arguments.windows)]
    page = "\n".join(
        [
            "# What mirrored runs cost",
            "",
            "Made again by `python -m benchmarks.uncertainty` (`make bench`): the runner on one volume, without and",
            f"with `VIGIE_UNCERTAINTY=flips`. Medians of {arguments.rounds} interleaved rounds, {threads} threads, on",
            f"a machine shared with other work ({datetime.now(UTC):%Y-%m-%d}; monai {version('monai')}, torch "
            f"{version('torch')}):",
            "trust the ratios, not the seconds. Labels were the same in each round. Where energy is estimated, that of",
            "the segment stage grows as CPU time does. MB: peak of the process.",
            "",
            "| network | voxels | runs | s | with: s | `uncertainty` s | s: ratio | CPU s: ratio | MB | with: MB |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )
    if arguments.write:
        arguments.write.write_text(page, encoding="utf-8")
    Console().print(page, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
