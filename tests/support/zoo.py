"""Bundles in the forms that the MONAI Model Zoo has, their volumes, and what MONAI's own run makes of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
import yaml
from monai.bundle import ConfigParser

from services.backends.inference.inference_config import CONFIGS, class_name, components
from services.backends.inference.runner import ARRAYS
from services.triage.volume import SliceSource, Volume

LPS_TO_RAS = np.diag([-1.0, -1, 1, 1])
# [slice, row, column]: oblique, anisotropic, slices downwards; NIfTI keeps its affine in single precision
OBLIQUE = np.array(
    [[0.3, 0.1, 1.9, -40.0], [0.0, 1.5, 0.2, -30.0], [-2.8, 0.1, -0.2, 15.0], [0, 0, 0, 1.0]], dtype=np.float32
).astype(np.float64)
GPU = re.compile(r"(?<![.\w])cuda(:0)?\b(?!\.)")

TRIAGE: dict[str, Any] = {
    "modality": "CT",
    "anatomic_region": {"value": "39607008", "scheme": "SCT", "meaning": "Lung"},
    "classes": {"1": {"name": "lesion", "kind": "tumour"}},
    "probability_threshold": 0.5,
    "min_volume_ml": 0.01,
    "min_slices": 3,
    "thresholds": {"equivocal_low": 0.2, "detect": 0.5, "elevated": 0.6, "urgent": 0.9},
    "calibrated": False,
    "scope_statement": "a test",
    "sensitivity_statement": "none",
}


def a_volume(
    affine: np.ndarray = OBLIQUE, shape: tuple[int, int, int] = (18, 30, 26), *, series: int = 1, low: float = -80
) -> Volume:
    """Noise with a bright ball and air around the body; `series` of them on one grid."""
    rng = np.random.default_rng(7)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    away = np.linalg.norm((grid - np.array(shape) / 2) / (np.array(shape) / 2), axis=-1)
    arrays = []
    for number in range(series):
        body = rng.normal(low + 30 * number, 40, shape) + (300 - 40 * number) * (away < 0.5)
        arrays.append(np.where(away < 0.95, body, min(low, 0)).astype(np.int16))
    sources = tuple(SliceSource(sop_class_uid="1.2", sop_instance_uid=f"1.2.{n}") for n in range(shape[0]))
    volume = Volume(
        voxels=arrays[0], affine=affine, modality="CT", study_instance_uid="1.1", series_instance_uid="1.1.1",
        frame_of_reference_uid="1.1.2", sources=sources,
    )  # fmt: skip
    return replace(volume, inputs=tuple(arrays)) if series > 1 else volume


def scaled(spacing_mm: float) -> np.ndarray:
    """The oblique grid with voxels of about that size."""
    affine = OBLIQUE.copy()
    affine[:3, :3] *= spacing_mm / 2
    return affine.astype(np.float32).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One run of MONAI: a bundle, what differs in its config for it, the volume, and the NIfTIs under which keys."""

    bundle: Path
    volume: Volume
    keys: tuple[str, ...] = ("image",)
    run_id: str = "run"
    data: str = "dataset#data"
    as_dict: bool = True

    def job(self, work: Path) -> dict[str, Any]:
        """Write the volume as NIfTI and the config as MONAI can take it here (no GPU, no reader that is missing)."""
        files = written(self.volume, work)
        entry: Any = dict(zip(self.keys, files, strict=True)) if len(self.keys) > 1 else files
        if len(self.keys) == 1:
            image = files if len(files) > 1 else files[0]
            entry = {self.keys[0]: image} if self.as_dict else image
        found = next((self.bundle / "configs").glob("inference.*"))
        text = json.dumps(ConfigParser.load_config_file(str(found)))
        text = GPU.sub("cpu", text)
        config = json.loads(text.replace("ITKReader", "NibabelReader"))
        config["imports"] = [one for one in config.get("imports", []) if "pandas" not in one]
        config["network_def" if "network_def" in config else "unet"].pop("img_size", None)
        for _, loader in components(config):
            if class_name(loader) == "CheckpointLoader":
                loader["map_location"] = "cpu"
        path = self.bundle / "configs" / "monai.json"
        path.write_text(json.dumps(config))
        savers = [f"{at}#output_dir" for at, one in components(config) if class_name(one) == "SaveImaged"]
        overrides = {self.data: [entry], "device": "$torch.device('cpu')", **dict.fromkeys(savers, str(work / "out"))}
        if "num_workers" in config.get("dataloader", {}):
            overrides["dataloader#num_workers"] = 0
        if "dataset_dir" in config:
            overrides["dataset_dir"] = str(work)
        if "bundle_root" in config:
            overrides["bundle_root"] = str(self.bundle)
        return {"bundle": str(self.bundle), "config": str(path), "run_id": self.run_id, "overrides": overrides}


def written(volume: Volume, folder: Path) -> list[str]:
    """The series of a volume as NIfTI files."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = LPS_TO_RAS @ volume.affine[:, [2, 1, 0, 3]]
    files = []
    for number, array in enumerate(volume.inputs or (volume.voxels,)):
        files.append(str(folder / f"series{number}.nii.gz"))
        nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine), files[-1])
    return files


def run_monai(references: dict[str, Reference], work: Path) -> dict[str, np.ndarray]:
    """Labels [slice, row, column] (or [channel, slice, row, column]) by MONAI's own run of each, in one process."""
    jobs = {name: reference.job(work / name) for name, reference in references.items()}
    (work / "jobs.json").write_text(json.dumps(list(jobs.values())))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(Path(__file__).with_name("monai_run.py")), str(work / "jobs.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    told = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
    assert done.returncode == 0, "\n".join(told)[-3000:]
    return {name: labels_in(work / name) for name in jobs}


def labels_in(work: Path) -> np.ndarray:
    """What a run of MONAI has written there."""
    array = np.asarray(nibabel.load(next((work / "out").rglob("*.nii*"))).dataobj).squeeze()
    return array.transpose(3, 2, 1, 0) if array.ndim == 4 else array.transpose(2, 1, 0)


def write_bundle(
    folder: Path, config: dict[str, Any], *, weights: str = "model.pt", key: str | None = None, as_yaml: bool = False,
    seed: int = 8, **triage: Any,
) -> Path:  # fmt: skip
    """Write a bundle with seeded random weights for its network."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    text = yaml.safe_dump(config, sort_keys=False) if as_yaml else json.dumps(config, indent=1)
    (folder / "configs" / f"inference.{'yaml' if as_yaml else 'json'}").write_text(text)
    metadata = {"version": "0.0.1", "triage": {**TRIAGE, **triage}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    state = random_weights(config, folder, seed)
    torch.save({key: state} if key else state, folder / "models" / weights)
    return folder


def bring(source: Path, folder: Path, *, seed: int = 8, classes: dict[str, Any] | None = None) -> tuple[Path, Volume]:
    """A copy of a bundle with a triage section, seeded random weights where it has none, and a volume for it.

    Only what does not change its form is smaller: windows, and a volume of some 30 of its voxels along each axis.
    """
    bundle = folder / source.name
    shutil.copytree(source, bundle, copy_function=shutil.copyfile)
    for path in (bundle, *bundle.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    image = metadata.get("network_data_format", {}).get("inputs", {}).get("image", {})
    names = list(image.get("channel_def", {}).values())
    series = len(names) if len(image.get("spatial_shape", ())) == 3 else 1
    inputs = [{"name": name} for name in names] if series > 1 else []
    triage = {**TRIAGE, "classes": classes or TRIAGE["classes"], "inputs": inputs}
    (bundle / "configs" / "triage.json").write_text(json.dumps(triage))
    path = next(bundle / "configs" / name for name in CONFIGS if (bundle / "configs" / name).is_file())
    config = ConfigParser.load_config_file(str(path))
    spacing_mm, shape, weights = 2.0, (16, 32, 24), "model.pt"
    for _, one in components(config):
        if class_name(one) in ("SlidingWindowInferer", "SliceInferer") and isinstance(one["roi_size"], list):
            one["roi_size"] = [64 if "SwinUNETR" in json.dumps(config) else 32] * len(one["roi_size"])
            shape = (18, 30, 26)  # no multiple of anything, where windows take care of that
        if class_name(one) == "Spacingd" and isinstance(one["pixdim"], list):
            spacing_mm = 1.4 * min(one["pixdim"])
        if class_name(one) == "CheckpointLoader":
            told = config.get(one["load_path"].removeprefix("$").removeprefix("@"), one["load_path"])
            weights = "".join(re.findall(r"[\w-]+\.pth?\b", told)) or weights
    ConfigParser.export_config_file(config, str(path), fmt=path.suffix[1:])
    (bundle / "models").mkdir(exist_ok=True)
    if "arch_ckpt_path" in config:
        torch.save(search_code(), bundle / "models" / "search_code_18590.pt")
    if not (bundle / "models" / weights).is_file():
        torch.save(random_weights(config, bundle, seed), bundle / "models" / weights)
    return bundle, a_volume(scaled(spacing_mm), shape, series=series)


def search_code() -> dict[str, np.ndarray]:
    """A DiNTS of 12 blocks and 4 depths that goes straight on at its finest depth."""
    paths, nodes = np.zeros((12, 10)), np.zeros((13, 4))
    paths[:, 0] = nodes[:, 0] = 1
    return {"arch_code_a": paths, "arch_code_c": np.ones((12, 10)), "node_a": nodes}


def random_weights(config: dict[str, Any], bundle: Path, seed: int = 8) -> dict[str, torch.Tensor]:
    """Seeded random weights of a config's network."""
    text = GPU.sub("cpu", json.dumps(config))
    parser = ConfigParser({**json.loads(text), "bundle_root": str(bundle), "imports": []})
    name = next(name for name in ("network_def", "unet") if name in parser)
    parser[name].pop("img_size", None)
    torch.manual_seed(seed)
    with torch.serialization.safe_globals(ARRAYS):
        network = parser.get_parsed_content(name)
    return {name: value.detach().cpu() for name, value in network.state_dict().items()}
