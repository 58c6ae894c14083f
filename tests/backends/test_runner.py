"""The runner against MONAI's own: the official template bundle, run both ways on the same volume."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.networks.nets import UNet

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.embedded import EmbeddedSegmenter
from services.backends.inference.runner import BundleRunner
from services.triage.errors import AnalysisFailed, ModelRefused
from services.triage.inference import InferenceMode
from services.triage.volume import SliceSource, Volume
from tests.support.bundle import bright_spot_bundle
from tests.support.spot import a_volume as a_spot

TRIAGE = {
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
# NIfTI stores its affine in single precision: one that survives that is the same grid both ways.
OBLIQUE = np.array(
    [[0.3, 0.1, 1.9, -90.0], [0.0, 1.5, 0.2, -60.0], [2.8, 0.1, -0.2, 15.0], [0, 0, 0, 1.0]], dtype=np.float32
).astype(np.float64)


def a_volume(affine: np.ndarray = OBLIQUE, shape: tuple[int, int, int] = (24, 40, 36)) -> Volume:
    """Noise with a bright ball on an oblique, anisotropic grid."""
    rng = np.random.default_rng(7)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    ball = np.linalg.norm(grid - np.array(shape) / 2, axis=-1) < 7
    voxels = (rng.normal(0, 40, shape) + 400 * ball).astype(np.int16)
    sources = tuple(SliceSource(sop_class_uid="1.2", sop_instance_uid=f"1.2.{n}") for n in range(shape[0]))
    return Volume(
        voxels=voxels, affine=affine, modality="CT", study_instance_uid="1.1", series_instance_uid="1.1.1",
        frame_of_reference_uid="1.1.2", sources=sources,
    )  # fmt: skip


def a_bundle(folder: Path, postprocessing: list[dict[str, object]], channels: int) -> Path:
    """A small bundle in the zoo's manner with random weights: resampled, slid over, inverted."""
    network = {
        "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": channels,
        "channels": [4, 8], "strides": [2], "norm": "batch",
    }  # fmt: skip
    keyed = [{"keys": "pred", **step} for step in postprocessing]
    config = {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/nowhere",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
        "device": "$torch.device('cuda:0')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -100, "a_max": 500,
             "b_min": 0, "b_max": 1, "clip": True},
            {"_target_": "EnsureTyped", "keys": "image"},
        ]},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "overlap": 0.25},
        "postprocessing": {"_target_": "Compose", "transforms": [*keyed,
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "seg",
             "resample": False, "separate_folder": False},
        ]},
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
                      "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing"},
        "checkpointloader": {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
                             "load_dict": {"model": "@network"}},
        "initialize": ["$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
    }  # fmt: skip
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps({"version": "0.0.1", "triage": TRIAGE}))
    torch.manual_seed(8)
    arguments = {key: value for key, value in network.items() if key != "_target_"}
    torch.save(UNet(**arguments).state_dict(), folder / "models" / "model.pt")
    return folder


def monai_labels(bundle: Path, volume: Volume, work: Path, *overrides: str) -> np.ndarray:
    """What `python -m monai.bundle run` writes for the volume saved as NIfTI, as [slice, row, column]."""
    data = work / "data"
    data.mkdir(parents=True)
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(volume.voxels.transpose(2, 1, 0), affine), data / "image.nii.gz")
    config = next((bundle / "configs").glob("inference.*"))
    command = [
        sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config), "--bundle_root", str(bundle),
        "--dataset_dir", str(data), "--output_dir", str(work / "out"), "--device", "$torch.device('cpu')", *overrides,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    written = next((work / "out").rglob("*.nii*"))
    return np.asarray(nibabel.load(written).dataobj).squeeze().transpose(2, 1, 0)


SIGMOID = {"_target_": "Activationsd", "sigmoid": True}
SOFTMAX = {"_target_": "Activationsd", "softmax": True}
LINEAR = {"_target_": "Invertd", "transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False}
NEAREST = {**LINEAR, "nearest_interp": True}
ARGMAX = {"_target_": "AsDiscreted", "argmax": True}
THRESHOLD = {"_target_": "AsDiscreted", "threshold": 0.5}


@pytest.mark.parametrize(
    ("postprocessing", "channels"),
    [
        pytest.param([SIGMOID, LINEAR, THRESHOLD], 1, id="sigmoid-invert-threshold"),
        pytest.param([SOFTMAX, LINEAR, ARGMAX], 2, id="softmax-invert-argmax"),
        pytest.param([SOFTMAX, ARGMAX, NEAREST], 2, id="softmax-argmax-invert"),
        pytest.param([ARGMAX, NEAREST], 2, id="argmax-invert"),
    ],
)
def test_labels_are_those_of_monai_bundle_run(
    postprocessing: list[dict[str, object]], channels: int, tmp_path: Path
) -> None:
    bundle = a_bundle(tmp_path / "models" / "tiny", postprocessing, channels)
    catalogue = Catalogue(bundle.parent)
    volume = a_volume()
    answer = EmbeddedSegmenter(catalogue, threads=2).segment(volume, catalogue.get("tiny"))
    expected = monai_labels(bundle, volume, tmp_path / "monai")
    assert 0 < expected.sum() < expected.size, "a mask that is empty or full proves nothing"
    np.testing.assert_array_equal(answer.labels, expected)
    assert answer.tumour_probability.shape == volume.voxels.shape
    inside, outside = answer.tumour_probability[answer.labels == 1], answer.tumour_probability[answer.labels == 0]
    assert inside.mean() > outside.mean()
    assert set(answer.timings_s) == {"preprocess", "infer", "postprocess"}


@pytest.mark.data
def test_the_official_template_bundle_gives_the_labels_of_monai_bundle_run(test_data: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "models" / "template"
    shutil.copytree(test_data / "bundles" / "monai_segmentation_template_bundle", bundle, copy_function=shutil.copyfile)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    (bundle / "configs" / "metadata.json").write_text(json.dumps({**metadata, "triage": TRIAGE}))
    catalogue = Catalogue(bundle.parent)
    volume = a_volume(np.diag([1.0, 1, 1, 1]), (64, 64, 64))
    answer = EmbeddedSegmenter(catalogue, threads=2).segment(volume, catalogue.get("template"))
    expected = monai_labels(bundle, volume, tmp_path / "monai", "--handlers#0#map_location", "cpu")
    assert expected.any()
    np.testing.assert_array_equal(answer.labels, expected)


def test_a_bundle_whose_network_breaks_fails_with_a_coded_reason(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path / "models" / "tiny", [SIGMOID, LINEAR, THRESHOLD], 1)
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    config["inferer"] = {"_target_": "SlidingWindowInferer", "roi_size": [32, 32], "overlap": 0.25}
    (bundle / "configs" / "inference.json").write_text(json.dumps(config))
    catalogue = Catalogue(bundle.parent)
    with pytest.raises(AnalysisFailed) as caught:
        EmbeddedSegmenter(catalogue, threads=2).segment(a_volume(), catalogue.get("tiny"))
    assert caught.value.reason.code == "runner_failed"


@pytest.mark.parametrize("label", [256, -1])
def test_a_label_that_fits_no_byte_is_a_coded_failure_and_never_another_label(label: int, tmp_path: Path) -> None:
    remap = {"_target_": "MapLabelValued", "orig_labels": [1], "target_labels": [label]}
    bundle = a_bundle(tmp_path / "models" / "tiny", [SIGMOID, LINEAR, THRESHOLD, remap], 1)
    catalogue = Catalogue(bundle.parent)
    with pytest.raises(AnalysisFailed, match=str(label)) as caught:
        EmbeddedSegmenter(catalogue, threads=2).segment(a_volume(), catalogue.get("tiny"))
    assert caught.value.reason.code == "runner_failed"


UNSEEN = {
    "_target_": "PatchInferer",
    "splitter": {"_target_": "SlidingWindowSplitter", "patch_size": [9, 9, 9], "pad_mode": None},
}
"""Leaves out the patches that lie over the edge: there the mean of no patch is 0 / 0."""


@pytest.mark.parametrize("mode", list(InferenceMode))
@pytest.mark.parametrize(
    ("hook", "told", "sections"),
    [
        pytest.param("output.log()", {}, {}, id="NaN"),
        pytest.param("output.exp().exp()", {}, {}, id="infinite"),
        pytest.param("(8 - output).log()", {"windows_at_once": 4}, {}, id="NaN in later windows alone"),
        pytest.param("None", {}, {"inferer": UNSEEN}, id="regions that no window saw"),
        pytest.param("output.log()", {"classes": {"1": {"name": "lung", "kind": "organ"}}}, {}, id="organs alone"),
        pytest.param("output.log()", {"inputs": [{"name": "after"}, {"name": "before"}]}, {}, id="several inputs"),
    ],
)
def test_an_answer_that_is_no_number_is_a_coded_failure_and_never_background(
    hook: str, told: dict[str, object], sections: dict[str, object], mode: InferenceMode, tmp_path: Path
) -> None:
    bundle = bright_spot_bundle(tmp_path / "models", hook=hook, **told)
    path = bundle / "configs" / "inference.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | sections))
    model, volume = Catalogue(bundle.parent).get(bundle.name), a_spot()
    if model.inputs:
        volume = replace(volume, inputs=(volume.voxels, np.full_like(volume.voxels, -1000)))
    with pytest.raises(AnalysisFailed, match="NaN") as caught:
        BundleRunner(bundle, model, mode=mode).run(volume)
    assert caught.value.reason.code == "runner_failed"


def test_weights_that_hold_code_are_refused(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path / "models" / "tiny", [SIGMOID, LINEAR, THRESHOLD], 1)
    torch.save({"model": Catalogue(tmp_path)}, bundle / "models" / "model.pt")
    catalogue = Catalogue(bundle.parent)
    with pytest.raises(ModelRefused) as caught:
        EmbeddedSegmenter(catalogue, threads=2).segment(a_volume(), catalogue.get("tiny"))
    assert caught.value.reason.code == "bad_weights"


@pytest.mark.parametrize("missing", ["thresholds", "classes", "calibrated"])
def test_metadata_without_a_required_key_is_refused_by_name(missing: str, tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path / "models" / "tiny", [SIGMOID, LINEAR, THRESHOLD], 1)
    triage = {key: value for key, value in TRIAGE.items() if key != missing}
    (bundle / "configs" / "metadata.json").write_text(json.dumps({"version": "1", "triage": triage}))
    with pytest.raises(ModelRefused, match=missing):
        Catalogue(bundle.parent).get("tiny")


LAYERS = """
import resource, sys
from contextlib import nullcontext
from pathlib import Path
from services.backends.inference import runner
from services.backends.inference.catalogue import Catalogue
from tests.support.spot import a_volume

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    one.run(a_volume())
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

models, reused = Path(sys.argv[1]), runner.reused
one = runner.BundleRunner(models / "bright_spot", Catalogue(models).get("bright_spot"))
runner.reused = nullcontext
alone = min(faults(), faults())
runner.reused = reused
print(alone, faults())
"""


def test_the_layers_of_a_network_use_the_memory_of_those_before(tmp_path: Path):
    """Each allocates 48 MB, more than the 32 MiB above which the C library keeps no block: a page fault for 4 KB.

    In a process of its own, whose memory has no holes yet.
    """
    bright_spot_bundle(tmp_path, hook="any(torch.ones(12_000_000)[0] == 2 for _ in range(20)) or None")
    command = [sys.executable, "-c", LAYERS, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    alone, used_again = map(int, done.stdout.split()[-2:])
    assert used_again < alone / 2
