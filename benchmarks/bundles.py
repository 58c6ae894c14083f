"""Which bundles load, run, and answer as MONAI's own run does, voxel for voxel.

    .venv/bin/python -m benchmarks.bundles FOLDER [--write docs/measurements/bundles.md]

FOLDER has a bundle in each sub-folder; of the MONAI Model Zoo it is `models/` of github.com/Project-MONAI/model-zoo.
Weights that are not there are random and seeded; windows and volume are small, for only the form is tried.
"""

import argparse
import contextlib
import io
import re
import tempfile
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.inference_config import read_config
from services.backends.inference.runner import ARRAYS, BundleRunner
from services.triage.errors import RejectedError
from services.triage.volume import Volume
from tests.support.monai_run import run
from tests.support.zoo import Reference, bring, labels_in

LONGEST = 160
BREAKS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, ImportError, StopIteration, OSError)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One bundle. equal: None where there is nothing to compare."""

    name: str
    loads: bool
    runs: bool = False
    equal: bool | None = None
    why: str = ""


def try_bundle(source: Path, work: Path) -> Line:
    """Load a bundle, run it, and have MONAI run it too."""
    try:
        read_config(source, "cpu")
        bundle, volume = bring(source, work / "models")
        runner = BundleRunner(bundle, Catalogue(bundle.parent).get(bundle.name))
    except RejectedError as refusal:
        return Line(name=source.name, loads=False, why=f"{refusal.reason.code}: {refusal.reason.text}")
    except BREAKS as error:  # the network itself cannot be built: MONAI says why
        return Line(name=source.name, loads=False, why=_shortest(error))
    try:
        labels = runner.run(volume).labels
    except RejectedError as refusal:
        return Line(name=source.name, loads=True, why=refusal.reason.text)
    try:
        theirs = _monai(bundle, volume, work / source.name)
    except BREAKS as error:
        return Line(name=source.name, loads=True, runs=True, why=f"MONAI's own run: {_shortest(error)}")
    whole = np.rint(theirs)
    why = "" if np.array_equal(whole, theirs) else "its Invertd interpolates between labels; both rounded"
    why = why or ("one label everywhere" if len(np.unique(whole)) == 1 else "")
    return Line(name=source.name, loads=True, runs=True, equal=np.array_equal(labels, whole), why=why)


def _monai(bundle: Path, volume: Volume, work: Path) -> np.ndarray:
    config = read_config(bundle, "cpu").content
    run_id = next(name for name in ("run", "evaluating", "inference") if name in config)
    torch.serialization.add_safe_globals(ARRAYS)
    with contextlib.redirect_stdout(io.StringIO()):
        run([Reference(bundle=bundle, volume=volume, run_id=run_id).job(work)])
    return labels_in(work)


def _shortest(error: BaseException) -> str:
    """The first line of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def to_markdown(lines: list[Line]) -> str:
    """The table as a page."""
    mark = {True: "yes", False: "no", None: ""}
    rows = [
        f"| {one.name} | {mark[one.loads]} | {mark[one.runs]} | {mark[one.equal]} | {_cell(one.why)} |" for one in lines
    ]
    packages = ", ".join(f"{name} {version(name)}" for name in ("monai", "torch", "numpy"))
    return "\n".join(
        [
            "# Bundles",
            "",
            "Written by `python -m benchmarks.bundles FOLDER --write docs/measurements/bundles.md`. Each bundle's own",
            "inference config, with random weights where it has none, run by Vigie and by MONAI's own",
            "`ConfigWorkflow` (what `python -m monai.bundle run` is) on the same oblique, anisotropic volume, on a CPU",
            f"with one thread ({packages}). Equal: every voxel has the same label.",
            "Beside MONAI, SwinUNETR needs the package einops, KeepLargestConnectedComponentd scikit-image.",
            "",
            "| bundle | loads | runs | equal to MONAI's own run | why not, or what to know |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _cell(text: str) -> str:
    plain = re.sub(r"/\S*/bundles-\w+/", "", " ".join(text.replace("|", "/").split()))
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}..."


def main() -> None:
    """Run all bundles of a folder and tell what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    console, lines = Console(), []
    for metadata in sorted(arguments.folder.glob("*/configs/metadata.json")):
        with tempfile.TemporaryDirectory(prefix="bundles-") as work:
            lines.append(try_bundle(metadata.parents[1], Path(work)))
        console.print(lines[-1])
    if arguments.write:
        arguments.write.write_text(to_markdown(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
