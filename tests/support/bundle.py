"""A real MONAI bundle whose answer is known beforehand: it marks every voxel brighter than a level (HU).

One 1x1x1 convolution on the scaled image makes the logit; everything around it is what the zoo's bundles do. With it
the whole pipeline runs, in MONAI's own code, in milliseconds, and each test knows what must come out.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.backends.inference.registration import Registration, Trust, content_sha256

SCRIPT = """
import torch


def network_of(channels):
    return torch.nn.Conv3d(channels, 1, 1)
"""
LOW_HU, HIGH_HU, STEEPNESS = -1000.0, 1000.0, 40.0

TRIAGE: dict[str, object] = {
    "modality": "CT",
    "anatomic_region": {"value": "39607008", "scheme": "SCT", "meaning": "Lung"},
    "classes": {"1": {"name": "bright spot", "kind": "tumour"}},
    "probability_threshold": 0.5,
    "min_volume_ml": 0.01,
    "min_slices": 3,
    "thresholds": {"equivocal_low": 0.3, "detect": 0.6, "elevated": 0.7, "urgent": 0.9},
    "calibrated": False,
    "scope_statement": "Marks voxels brighter than a level; for tests.",
    "sensitivity_statement": "Finds every bright voxel.",
}


def bright_spot_bundle(
    models: Path,
    *,
    name: str = "bright_spot",
    version: str = "1.2.3",
    level_hu: float = 300.0,
    hook: str = "None",
    windows_at_once: int | None = None,
    **triage: object,
) -> Path:
    """Write the bundle into a folder of models; `triage` overrides keys of its metadata. `name` may be NAME@VERSION.

    `hook` is an expression in `inputs`, evaluated after each call of the network: a fault, or a pause. With
    `windows_at_once` the volume is slid over in windows of 8 x 8 x 8. With several `inputs`, the
    others are taken off the first.
    """
    bundle = models / name
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    metadata: dict[str, Any] = {"version": version, "description": "a test", "triage": {**TRIAGE, **triage}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    channels = len(metadata["triage"].get("inputs", ["the one"]))
    (bundle / "configs" / "inference.json").write_text(json.dumps(_inference(hook, windows_at_once, channels)))
    scaled_level = (level_hu - LOW_HU) / (HIGH_HU - LOW_HU)
    signs = torch.tensor([1.0] + [-1.0] * (channels - 1)).view(1, -1, 1, 1, 1)
    weights = {"weight": STEEPNESS * signs, "bias": torch.tensor([-STEEPNESS * scaled_level])}
    torch.save(weights, bundle / "models" / "model.pt")
    return bundle


def trusted_bundle(models: Path, *, name: str = "scripted") -> Path:
    """The same with code of its own, which somebody trusts: its network is built by a script that lies in it."""
    bundle = bright_spot_bundle(models, name=name)
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "__init__.py").touch()
    (bundle / "scripts" / "levels.py").write_text(SCRIPT)
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())
    config["imports"].append("$from scripts.levels import network_of")
    path.write_text(json.dumps({**config, "network_def": "$network_of(1)"}))
    Registration(
        added_at="2026-01-01T00:00:00+00:00",
        added_by="somebody",
        source="scripted.zip",
        licence="MIT",
        sha256=content_sha256(bundle),
        trusted=Trust(by="somebody", at="2026-01-01T00:00:00+00:00", reason="read"),
    ).write(bundle)
    return bundle


class Payload:
    """A pickle that makes a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[[str, int], object], tuple[str, int]]:
        return Path.touch, (self._marker,)  # type: ignore[return-value]


def pickled_array(path: Path, marker: Path) -> Path:
    """A .npy that makes a file where it is unpickled."""
    np.save(path, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    return path


def unpickling_bundle(models: Path) -> Path:
    """One without code of its own, whose network is what a loader makes of a pickle: the file `unpickled` in it."""
    bundle = bright_spot_bundle(models, name="unpickling")
    array = pickled_array(bundle / "models" / "network.npy", bundle / "unpickled")
    path = bundle / "configs" / "inference.json"
    changes = {"loader": {"_target_": "LoadImage"}, "network_def": f"$@loader('{array}')"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return bundle


def routing_file(path: Path, *, model: str = "bright_spot") -> Path:
    """Write a rule that sends every chest CT to the model."""
    path.write_text(
        f'[[rule]]\nname = "chest CT"\nmodel = "{model}"\nmodalities = ["CT"]\nbody_parts = ["CHEST"]\nmin_slices = 3\n'
    )
    return path


def _inference(hook: str, windows_at_once: int | None, channels: int) -> dict[str, object]:
    inferer: dict[str, object] = {"_target_": "SimpleInferer"}
    if windows_at_once is not None:
        inferer = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8], "sw_batch_size": windows_at_once}
    return {
        "imports": ["$import os", "$import time", "$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "network_def": {"_target_": "torch.nn.Conv3d", "in_channels": channels, "out_channels": 1, "kernel_size": 1},
        "network": "$@hooked and @network_def.to(@device)",
        "hooked": f"$@network_def.register_forward_hook(lambda module, inputs, output: {hook})",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
                {
                    "_target_": "ScaleIntensityRanged",
                    "keys": "image",
                    "a_min": LOW_HU,
                    "a_max": HIGH_HU,
                    "b_min": 0,
                    "b_max": 1,
                    "clip": True,
                },
            ],
        },
        "inferer": inferer,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
                {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "$@bundle_root + '/eval'"},
            ],
        },
    }
