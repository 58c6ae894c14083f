"""Networks on this CPU: MONAI's own run beside ours in the reference and in the fast mode, alone and through Triton.

    .venv/bin/python -m benchmarks.networks [--shape 134 512 512] [--windows 4] [--rounds 3]
                                            [--write docs/measurements/networks.md]

Each run is a process of its own. MONAI's is its ConfigWorkflow, which is what `python -m monai.bundle run` is, from a
NIfTI file to a NIfTI file; ours goes from voxels in memory to labels and probability. The fast mode sees the volume
twice: the first time the network is converted, compared and kept. A second process finds it kept. Triton is started
anew and has loaded the bundle before it is asked, twice.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from monai.networks.nets import SwinUNETR, UNet
from rich.console import Console

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.memory import peak_memory_mb
from services.backends.inference.runner import BundleRunner
from services.settings import Settings
from services.triage.inference import InferenceMode
from services.triage.shadow import overlap_of
from services.triage.volume import SliceSource, Volume
from tests.support.bundle import TRIAGE
from tests.support.triton import triton_server

MONAI = "MONAI"
REFERENCE, FAST = InferenceMode.REFERENCE.value, InferenceMode.FAST.value
KEPT = "fast, kept"
SERVED = {"Triton, reference": REFERENCE, "Triton, fast": FAST}
SERVED_REFERENCE, SERVED_FAST = SERVED
WAYS = (MONAI, REFERENCE, FAST, KEPT, *SERVED)
# the targets: of MONAI's own seconds
MOST = {REFERENCE: 1.0, FAST: 0.5, KEPT: 0.5, SERVED_REFERENCE: 1.0, SERVED_FAST: 0.5}
WINDOW = 96
UNET: dict[str, Any] = {
    "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [16, 32, 64, 128, 256], "strides": [2] * 4,
    "num_res_units": 2, "norm": "batch",
}  # fmt: skip
SWIN: dict[str, Any] = {"in_channels": 1, "out_channels": 14, "feature_size": 48}
RANDOM = {"UNet (spleen_ct_segmentation)": (UNet, UNET), "SwinUNETR (swin_unetr_btcv)": (SwinUNETR, SWIN)}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A bundle and a volume of so many voxels [slice, row, column]."""

    name: str
    bundle: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    threads: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """Seconds of one process. imports_s: until it was there. again_s: of the same volume once more.

    peak_mb: of the process that runs the network. mode: what a result tells.
    """

    imports_s: float
    run_s: float
    again_s: float
    peak_mb: float | None
    mode: str = ""


def random_bundle(folder: Path, name: str) -> Path:
    """A bundle in the zoo's manner around a network with random, seeded weights."""
    network, arguments = RANDOM[name]
    bundle = folder / network.__name__
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    torch.manual_seed(1)
    torch.save(network(**arguments).state_dict(), bundle / "models" / "model.pt")
    image = {"keys": "image"}
    config = {
        "imports": ["$import glob"],
        "bundle_root": "/nowhere",
        "dataset_dir": "/nowhere",
        "output_dir": "/nowhere",
        "device": "$torch.device('cpu')",
        "network_def": {"_target_": network.__name__, **arguments},
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", **image}, {"_target_": "EnsureChannelFirstd", **image},
            {"_target_": "Orientationd", **image, "axcodes": "RAS"},
            {"_target_": "ScaleIntensityRanged", **image, "a_min": -1000, "a_max": 1000, "b_min": 0, "b_max": 1,
             "clip": True},
        ]},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': one} for one in glob.glob(@dataset_dir + '/*.nii.gz')]",
                    "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [WINDOW] * 3, "sw_batch_size": 1, "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
        ]},
        "checkpointloader": {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
                             "load_dict": {"model": "@network"}},
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
                      "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing"},
        "run": ["$@checkpointloader(@evaluator)", "$@evaluator.run()"],
    }  # fmt: skip
    (bundle / "configs" / "inference.json").write_text(json.dumps(config))
    (bundle / "configs" / "metadata.json").write_text(json.dumps({"version": "1", "triage": TRIAGE}))
    return bundle


def volume_of(case: Case) -> Volume:
    """Lung-like noise with balls of soft tissue of a tenth of the shortest side."""
    rng, shape = np.random.default_rng(1), case.shape
    voxels = rng.normal(-850, 30, shape)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    radius_mm = min(n * mm for n, mm in zip(shape, case.spacing_mm, strict=True)) / 10
    for centre in rng.uniform(0.25, 0.75, (3, 3)):
        squares = [
            ((axis - at * n) * mm) ** 2 for axis, at, n, mm in zip(grid, centre, shape, case.spacing_mm, strict=True)
        ]
        voxels[sum(squares) <= radius_mm**2] = 40
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = (*case.spacing_mm, 1)
    return Volume(
        voxels=voxels.clip(-1000, 1000).astype(np.int16), affine=affine, modality="CT", study_instance_uid="",
        series_instance_uid="", frame_of_reference_uid="",
        sources=(SliceSource(sop_class_uid="", sop_instance_uid=""),) * shape[0],
    )  # fmt: skip


def monai(case: Case, volume: Volume, work: Path, imports_s: float) -> Run:
    """MONAI's own evaluator, as the bundle configures it."""
    (work / "data").mkdir()
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(volume.voxels.transpose(2, 1, 0), affine), work / "data" / "image.nii.gz")
    bundle = Path(case.bundle)
    overrides = {"dataset_dir": str(work / "data"), "output_dir": str(work / "out"), "bundle_root": str(bundle),
                 "device": "$torch.device('cpu')"}  # fmt: skip
    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        workflow = ConfigWorkflow(
            str(bundle / "configs" / "inference.json"),
            workflow_type=None,
            logging_file=False,
            run_id="run",
            **overrides,
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    seconds = time.perf_counter() - begin
    written = next((work / "out").rglob("*.nii*"))
    np.save(
        work / "labels.npy", np.asarray(nibabel.load(written).dataobj).squeeze().transpose(2, 1, 0).astype(np.uint8)
    )
    return Run(imports_s=imports_s, run_s=seconds, again_s=seconds, peak_mb=peak_memory_mb())


def ours(case: Case, volume: Volume, work: Path, imports_s: float, mode: InferenceMode, converted: Path) -> Run:
    """The bundle loaded and run, and in the fast mode run again. converted: where its network is kept."""
    bundle = Path(case.bundle)
    begin = time.perf_counter()
    runner = BundleRunner(bundle, Catalogue(bundle.parent).get(bundle.name), mode=mode, converted=converted)
    first = runner.run(volume)
    run_s = again_s = time.perf_counter() - begin
    peak_mb = first.peak_memory_mb
    if mode is InferenceMode.FAST:
        begin = time.perf_counter()
        runner.run(volume)
        again_s = time.perf_counter() - begin
    np.save(work / "labels.npy", first.labels)
    return Run(imports_s=imports_s, run_s=run_s, again_s=again_s, peak_mb=peak_mb, mode=str(first.inference))


def served(case: Case, volume: Volume, work: Path, mode: str, converted: Path) -> Run:
    """A Triton of its own, which has loaded the bundle when it is asked."""
    bundle, models = Path(case.bundle), work / "models"
    models.mkdir()
    (models / bundle.name).symlink_to(bundle)
    os.environ["VIGIE_CONVERTED"] = str(converted)
    begin = time.perf_counter()
    with triton_server(models, work, inference=mode) as server:
        there = time.perf_counter()
        segmenter = server.segmenter(deadline_s=900)
        model = segmenter.model(bundle.name)
        first = segmenter.segment(volume, model)
        answered = time.perf_counter()
        segmenter.segment(volume, model)
        again = time.perf_counter()
    np.save(work / "labels.npy", first.labels)
    return Run(imports_s=there - begin, run_s=answered - there, again_s=again - answered,
               peak_mb=first.peak_memory_mb, mode=str(first.inference))  # fmt: skip


def child(way: str, work: Path, converted: Path, began: float) -> None:
    """One run, in a process of its own that was started when the clock said `began`."""
    imports_s = time.time() - began
    case = Case(**json.loads((work / "case.json").read_text()))
    torch.set_num_threads(case.threads)
    volume = volume_of(case)
    at = case, volume, work, imports_s
    if way == MONAI:
        told = monai(*at)
    elif way in SERVED:
        told = served(case, volume, work, SERVED[way], converted)
    else:
        told = ours(*at, InferenceMode.REFERENCE if way == REFERENCE else InferenceMode.FAST, converted)
    (work / "run.json").write_text(json.dumps(asdict(told)))


def measured(way: str, case: Case, converted: Path) -> tuple[Run, np.ndarray]:
    """What a process told, and its labels [slice, row, column]. converted: where it keeps, or finds, its network."""
    with tempfile.TemporaryDirectory(prefix="networks-") as folder:
        work = Path(folder)
        (work / "case.json").write_text(json.dumps(asdict(case)))
        command = [sys.executable, "-m", "benchmarks.networks", "--child", way, "--work", folder]
        command += ["--converted", str(converted)]
        command += ["--began", str(time.time())]
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # noqa: S603
        if done.returncode:
            raise SystemExit(f"{case.name}, {way}:\n{done.stderr}")
        return Run(**json.loads((work / "run.json").read_text())), np.load(work / "labels.npy")


def lines_of(case: Case, rounds: int, console: Console) -> tuple[list[str], list[str]]:
    """Lines of the table, and what became of the targets."""
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    labels = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="converted-") as converted:
            for way in WAYS:  # interleaved: what else the machine does meets all; the kept network is the round's own
                told, labels[way] = measured(way, case, Path(converted))
                runs[way].append(told)
                console.print(case.name, way, told)
    dice = {way: overlap_of(labels[REFERENCE], labels[way]).dice for way in (FAST, KEPT, SERVED_FAST)}
    alone = median(runs[MONAI], "run_s")
    rows, targets = [], []
    for name, way in (("the reference mode", REFERENCE), ("the reference mode in Triton", SERVED_REFERENCE)):
        same = bool(np.array_equal(labels[MONAI], labels[way]))
        targets.append(f"{case.name}: labels of {name} and of MONAI's run are {'' if same else 'NOT '}the same")
    for name, way, field in (
        ("MONAI's own run", MONAI, "run_s"), ("reference", REFERENCE, "run_s"),
        ("fast, first volume ever", FAST, "run_s"), ("fast, first volume of the next process", KEPT, "run_s"),
        ("fast, next volume", FAST, "again_s"),
        ("Triton, reference, first volume", SERVED_REFERENCE, "run_s"),
        ("Triton, reference, next volume", SERVED_REFERENCE, "again_s"),
        ("Triton, fast, first volume", SERVED_FAST, "run_s"),
        ("Triton, fast, next volume", SERVED_FAST, "again_s"),
    ):  # fmt: skip
        seconds = median(runs[way], field)
        peak = statistics.median(one.peak_mb or 0 for one in runs[way])
        rows.append(
            f"| {case.name} | {name} | {seconds:.1f} | {seconds / alone:.2f} | {median(runs[way], 'imports_s'):.1f} "
            f"| {peak:.0f} | {runs[way][-1].mode} | {'' if dice.get(way) is None else f'{dice[way]:.5f}'} |"
        )
        if way in MOST:
            met = "met" if seconds <= MOST[way] * alone else "NOT met"
            targets.append(
                f"{met}: {case.name}, {name}: {seconds / alone:.2f} of MONAI's own time (at most {MOST[way]})"
            )
    return rows, targets


def median(runs: Sequence[Run], field: str) -> float:
    """Of one field."""
    return statistics.median(getattr(one, field) for one in runs)


def to_markdown(rows: Sequence[str], targets: Sequence[str], cases: Sequence[Case], rounds: int) -> str:
    """The page."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("monai", "torch", "openvino"))
    shapes = "; ".join(f"{one.name}: {' x '.join(map(str, one.shape))} voxels" for one in cases)
    return "\n".join(
        [
            "# Networks on a CPU: MONAI's own run, the reference mode, the fast mode, alone and through Triton",
            "",
            f"Made again by `make bench`. Medians of {rounds} interleaved rounds with {cases[0].threads} threads on a",
            f"machine shared with other work ({datetime.now(UTC):%Y-%m-%d}; {packages}):",
            "trust the ratios, not the seconds.",
            "",
            "Each run is a process of its own: loading the bundle and one volume, imports told apart. MONAI's is its",
            "`ConfigWorkflow`, from NIfTI to NIfTI. The first volume ever of the fast mode has the conversion and the",
            "comparison in it; the next process finds the network kept, the next volume has it in memory. Triton is",
            "started anew, which stands with the imports; by then it has loaded the bundle, and the kept network. The",
            "two networks of the zoo have random weights and see few windows of 96 x 96 x 96, one at a time,",
            "overlapping by half.",
            f"{shapes}.",
            "Dice: all labels but background, the fast mode against the reference mode. Peak: of the process that",
            "runs the network.",
            "",
            "| network | run | s | of MONAI's | imports s | peak MB | told | Dice |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            *(f"- {target}" for target in targets),
            "",
        ]
    )


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[134, 512, 512], help="of the demo model's CT")
    parser.add_argument("--windows", type=int, default=4, help="that the networks with random weights see")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--converted", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.work, arguments.converted, arguments.began)
        return
    settings, console = Settings(), Console(stderr=True)
    threads, few = settings.threads, (WINDOW + (arguments.windows - 1) * WINDOW // 2, WINDOW, WINDOW)
    with tempfile.TemporaryDirectory(prefix="bundles-") as folder:
        demo = settings.models / "ct_lung_lesion"
        cases = [
            Case(name=demo.name, bundle=str(demo.resolve()), shape=tuple(arguments.shape), spacing_mm=(2.5, 0.7, 0.7),
                 threads=threads),
            *(Case(name=name, bundle=str(random_bundle(Path(folder), name)), shape=few, spacing_mm=(1.0, 1.0, 1.0),
                   threads=threads) for name in RANDOM),
        ]  # fmt: skip
        told = [lines_of(case, arguments.rounds, console) for case in cases]
    rows, targets = ([line for lines in part for line in lines] for part in zip(*told, strict=True))
    page = to_markdown(rows, targets, cases, arguments.rounds)
    if arguments.write:
        arguments.write.write_text(page, encoding="utf-8")
    Console().print(page, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
