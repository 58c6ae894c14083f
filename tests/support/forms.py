"""One tiny bundle of each form: what the zoo's configs do, each in its own way."""

import copy
from typing import Any

Config = dict[str, Any]
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
LINEAR = {
    "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False,
}  # fmt: skip
NEAREST = {**LINEAR, "nearest_interp": True}
REMAP = {
    "_target_": "Lambdad", "keys": "pred",
    "func": "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))",
}  # fmt: skip
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "resample": False}
LOAD = {"_target_": "LoadImaged", "keys": "image"}
FIRST = {"_target_": "EnsureChannelFirstd", "keys": "image"}
RAS = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
SPACING = {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.5], "mode": "bilinear"}
SCALE = {
    "_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -100, "a_max": 400, "b_min": 0, "b_max": 1,
    "clip": True,
}  # fmt: skip
TYPED = {"_target_": "EnsureTyped", "keys": "image"}


def config(
    channels: int,
    steps_after: list[Any],
    steps_before: list[Any] | None = None,
    *,
    resample: bool = False,
    **changes: Any,
) -> Config:
    """A config in the zoo's manner. resample: by the saver."""
    changes = copy.deepcopy(changes)
    network = {
        "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": channels, "channels": [4, 8],
        "strides": [2], "norm": "batch", **changes.pop("network", {}),
    }  # fmt: skip
    after = [*steps_after, {**SAVE, "resample": resample}]
    before = steps_before or [LOAD, FIRST, RAS, SPACING, SCALE, TYPED]
    return {
        "imports": ["$import glob", "$import os", "$import pandas"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(glob.glob('/nowhere'))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": copy.deepcopy(before)},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "overlap": 0.25},
        "postprocessing": {"_target_": "Compose", "transforms": copy.deepcopy(after)},
        "evaluator": {
            "_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
            "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing", "amp": True,
        },
        "checkpointloader": {
            "_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        },
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)", "$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
        **changes,
    }  # fmt: skip


def nested_config() -> Config:
    """Everything under other names: a section of its own, a loader in handlers, macros, parts that are disabled."""
    base = config(2, [])
    off = {"_target_": "LoadImaged", "keys": "image", "reader": "ITKReader", "_disabled_": "$not @from_nifti"}
    return {
        "from_nifti": False,
        "bundle_root": ".",
        "output_dir": "./eval",
        "gpu": "$torch.device('cuda')",
        "device": "@gpu",
        "ckpt": "$@bundle_root + '/models/best.pth'",
        "imports": ["$import os"],
        "unet": base["network_def"],
        "net": "$@unet.to(@validate#device)",
        "usual_scale": SCALE,
        "validate": {
            "device": "@device",
            "steps": [
                {**LOAD, "ensure_channel_first": True, "image_only": False, "reader": "NibabelReader"}, off, RAS,
                "%usual_scale", {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True}, TYPED,
            ],
            "dataset": {
                "_target_": "Dataset", "data": [],
                "transform": {"_target_": "Compose", "transforms": "@validate#steps"},
            },
            "loader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 1},
            "handlers": [
                {"_target_": "StatsHandler", "iteration_log": False},
                {
                    "_target_": "CheckpointLoader", "_disabled_": "$not os.path.exists(@ckpt)", "load_path": "@ckpt",
                    "load_dict": {"net": "@net"}, "map_location": "cuda:0", "strict": "True",
                },
            ],
            "evaluator": {
                "_target_": "monai.engines.SupervisedEvaluator", "device": "@validate#device",
                "val_data_loader": "@validate#loader", "network": "@net", "val_handlers": "@validate#handlers",
                "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "mode": "gaussian",
                            "padding_mode": "replicate", "sw_batch_size": 2, "device": "cuda"},
                "postprocessing": {
                    "_target_": "Compose",
                    "transforms": [
                        SOFTMAX, {**LINEAR, "transform": "@validate#dataset#transform"}, ARGMAX, SAVE,
                    ],
                },
            },
        },
        "evaluating": ["$@validate#evaluator.run()"],
    }  # fmt: skip
