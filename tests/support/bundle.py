"""A real MONAI bundle whose answer is known beforehand: it marks every voxel brighter than a level (HU).

One 1x1x1 convolution on the scaled image makes the logit; everything around it is what the zoo's bundles do. With it
the whole pipeline runs, in MONAI's own code, in milliseconds, and each test knows what must come out.
"""

import json
from pathlib import Path

import torch

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
    level_hu: float = 300.0,
    hook: str = "None",
    windows_at_once: int | None = None,
    **triage: object,
) -> Path:
    """Write the bundle into a folder of models; `triage` overrides keys of its metadata.

    `hook` is an expression in `inputs`, evaluated after each call of the network: a fault, or a pause. With
    `windows_at_once` the volume is slid over in windows of 8 x 8 x 8.
    """
    bundle = models / name
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    metadata = {"version": "1.2.3", "description": "a test", "triage": {**TRIAGE, **triage}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (bundle / "configs" / "inference.json").write_text(json.dumps(_inference(hook, windows_at_once)))
    scaled_level = (level_hu - LOW_HU) / (HIGH_HU - LOW_HU)
    weights = {"weight": torch.full((1, 1, 1, 1, 1), STEEPNESS), "bias": torch.tensor([-STEEPNESS * scaled_level])}
    torch.save(weights, bundle / "models" / "model.pt")
    return bundle


def routing_file(path: Path, *, model: str = "bright_spot") -> Path:
    """Write a rule that sends every chest CT to the model."""
    path.write_text(
        f'[[rule]]\nname = "chest CT"\nmodel = "{model}"\nmodalities = ["CT"]\nbody_parts = ["CHEST"]\nmin_slices = 3\n'
    )
    return path


def _inference(hook: str, windows_at_once: int | None) -> dict[str, object]:
    inferer: dict[str, object] = {"_target_": "SimpleInferer"}
    if windows_at_once is not None:
        inferer = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8], "sw_batch_size": windows_at_once}
    return {
        "imports": ["$import time", "$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "network_def": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1},
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
