"""One tiny bundle of each form the zoo has, run by us and by MONAI itself: the same labels, voxel for voxel."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.runner import BundleRunner
from services.triage.errors import AnalysisFailed, ModelRefused
from services.triage.volume import Segmentation, Volume
from tests.support.forms import (
    ARGMAX,
    FIRST,
    LINEAR,
    LOAD,
    NEAREST,
    RAS,
    REMAP,
    SCALE,
    SIGMOID,
    SOFTMAX,
    SPACING,
    THRESHOLD,
    TYPED,
    config,
    nested_config,
)  # fmt: skip
from tests.support.zoo import Reference, a_volume, run_monai, write_bundle

CROP = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "select_fn": "$lambda x: x > 0.05"}
LPS_FIRST = {"_target_": "Orientationd", "keys": "image", "axcodes": "LPS"}
TUMOURS = {str(value): {"name": f"class {value}", "kind": "tumour"} for value in (1, 2, 4)}
TWO = {"1": {"name": "organ", "kind": "organ"}, "2": {"name": "lesion", "kind": "tumour"}}
FLAT = {"spatial_dims": 2}
ARRAY = {
    "_target_": "Compose",
    "transforms": [
        {"_target_": "LoadImage", "image_only": True, "ensure_channel_first": True},
        {"_target_": "ScaleIntensity"},
    ],
}

# form -> (config, how it is written, what MONAI is given)
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "sigmoid, inverted, threshold": (config(1, [SIGMOID, LINEAR, THRESHOLD]), {}, {}),
    "softmax, inverted, argmax": (config(3, [SOFTMAX, LINEAR, ARGMAX]), {"classes": TWO}, {}),
    "softmax, argmax, inverted": (config(3, [SOFTMAX, ARGMAX, NEAREST]), {"classes": TWO}, {}),
    "argmax, holes filled, inverted with interpolation": (
        config(3, [ARGMAX, {"_target_": "FillHolesd", "keys": "pred"}, LINEAR]), {"classes": TWO, "seed": 8}, {},
    ),
    "inverted, sigmoid, threshold": (config(1, [LINEAR, SIGMOID, THRESHOLD]), {}, {}),
    "not inverted, saver resamples": (
        config(2, [SOFTMAX, ARGMAX], resample=True), {}, {},
    ),
    "cropped to the foreground": (
        config(2, [SOFTMAX, LINEAR, ARGMAX], [LOAD, FIRST, LPS_FIRST, SPACING, SCALE, CROP, TYPED],
               inferer={"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "overlap": 0.5,
                        "mode": "gaussian", "padding_mode": "replicate", "sw_batch_size": 3}), {}, {},
    ),
    "slice by slice": (
        config(2, [SOFTMAX, LINEAR, ARGMAX], [LOAD, FIRST, SCALE, TYPED], network=FLAT,
               inferer={"_target_": "SliceInferer", "roi_size": [16, 16], "spatial_dim": 2}), {"seed": 2}, {},
    ),
    "array transforms": (
        config(2, [SOFTMAX, ARGMAX], preprocessing=ARRAY, inferer={"_target_": "SimpleInferer"}), {},
        {"as_dict": False},
    ),
    "other names, nested, YAML": (
        nested_config(), {"weights": "best.pth", "key": "net", "as_yaml": True},
        {"run_id": "evaluating", "data": "validate#dataset#data"},
    ),
    "four series, overlapping, remapped": (
        config(3, [SIGMOID, LINEAR, THRESHOLD, REMAP],
               [LOAD, {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}],
               network={"in_channels": 4}), {"classes": TUMOURS, "series": 4}, {},
    ),
    "three series by their keys": (
        config(2, [{**LINEAR, "orig_keys": "artery"}, SOFTMAX, ARGMAX],
               [{**LOAD, "keys": ["artery", "vein", "late"]}, {**FIRST, "keys": ["artery", "vein", "late"]},
                {**RAS, "keys": ["artery", "vein", "late"]}, {**SPACING, "keys": ["artery", "vein", "late"]},
                {"_target_": "ConcatItemsd", "keys": ["artery", "vein", "late"], "name": "image"}, SCALE],
               network={"in_channels": 3}),
        {"series": 3, "seed": 7, "inputs": [{"name": name} for name in ("artery", "vein", "late")]},
        {"keys": ("artery", "vein", "late")},
    ),
}  # fmt: skip


def bundle_of(name: str, folder: Path) -> tuple[Path, Volume]:
    """The bundle of a form, written, and a volume for it."""
    form, written, _ = FORMS[name]
    written = dict(written)
    volume = a_volume(
        shape=(16, 16, 16) if name == "array transforms" else (18, 30, 26), series=written.pop("series", 1)
    )
    return write_bundle(folder, form, **written), volume


def segment(bundle: Path, volume: Volume) -> Segmentation:
    torch.set_num_threads(1)
    return BundleRunner(bundle, Catalogue(bundle.parent).get(bundle.name)).run(volume)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What MONAI's own run makes of each form."""
    work = tmp_path_factory.mktemp("monai")
    references = {}
    for number, (name, (_, _, given)) in enumerate(FORMS.items()):
        bundle, volume = bundle_of(name, work / "models" / f"form{number}")
        found = next((bundle / "configs").glob("inference.*"))
        found.write_text(found.read_text().replace('"$import pandas"', '"$import numpy"'))
        references[name] = Reference(bundle=bundle, volume=volume, **given)
    return run_monai(references, work)


@pytest.mark.parametrize("name", FORMS)
def test_labels_are_those_of_monais_own_run(name: str, theirs: dict[str, np.ndarray], tmp_path: Path) -> None:
    bundle, volume = bundle_of(name, tmp_path / "tiny")
    answer = segment(bundle, volume)
    expected = np.rint(theirs[name])  # an Invertd after the argmax may have interpolated between the classes
    values, counts = np.unique(expected, return_counts=True)
    assert len(values) > 1 < counts.min() / 5, f"labels {values} of {counts} voxels prove nothing"
    np.testing.assert_array_equal(answer.labels, expected)
    assert answer.tumour_probability.shape == volume.voxels.shape
    tumour = [int(value) for value, told in FORMS[name][1].get("classes", {"1": {"kind": "tumour"}}).items()
              if told["kind"] == "tumour"]  # fmt: skip
    inside = np.isin(answer.labels, tumour)
    assert inside.any()
    assert answer.tumour_probability[inside].mean() > answer.tumour_probability[~inside].mean()


def a_bundle(folder: Path, **changes: Any) -> Path:
    return write_bundle(folder / "tiny", {**config(1, [SIGMOID, LINEAR, THRESHOLD]), **changes})


def refusal(bundle: Path) -> ModelRefused:
    with pytest.raises(ModelRefused) as caught:
        BundleRunner(bundle, Catalogue(bundle.parent).get(bundle.name))
    return caught.value


def test_weights_as_safetensors_under_any_name_are_the_same_model(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    before = segment(bundle, a_volume())
    usual = bundle / "models" / "model.pt"
    save_file(torch.load(usual, weights_only=True), bundle / "models" / "lesions_v2.safetensors")
    usual.unlink()
    np.testing.assert_array_equal(segment(bundle, a_volume()).tumour_probability, before.tumour_probability)


def test_of_several_weights_the_one_that_the_config_names_is_loaded_and_counts(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    models = bundle / "models"
    (models / "model.pt").rename(models / "fold1.pt")
    torch.save({}, models / "fold2.pt")
    loader = {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/fold1.pt'",
              "load_dict": {"model": "@network"}}  # fmt: skip
    rewrite(bundle, checkpointloader=loader)
    segment(bundle, a_volume())
    assert Catalogue(tmp_path).get("tiny").identity.weights_sha256 == sha256(models / "fold1.pt")


def test_weights_that_are_not_those_of_the_models_version_are_refused(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    (bundle / "models" / "other.pt").write_bytes((bundle / "models" / "model.pt").read_bytes())
    loader = {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/other.pt'",
              "load_dict": {"model": "@network"}}  # fmt: skip
    rewrite(bundle, checkpointloader=loader)
    assert refusal(bundle).reason.code == "other_weights"


def test_weights_that_lack_a_layer_are_refused_unless_the_loader_is_not_strict(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    file = bundle / "models" / "model.pt"
    state = torch.load(file, weights_only=True)
    state.pop(next(iter(state)))
    torch.save(state, file)
    assert refusal(bundle).reason.code == "bad_weights"
    loader = {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
              "load_dict": {"model": "@network"}, "strict": False}  # fmt: skip
    rewrite(bundle, checkpointloader=loader)
    segment(bundle, a_volume())


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"evaluator": {"_target_": "scripts.evaluator.DetectionEvaluator"}}, "unsupported_evaluator", "Detection"),
        (
            {"evaluator": {"_target_": "SupervisedEvaluator", "prepare_batch": "$lambda *batch: batch"}},
            "unsupported_evaluator", "own batches",
        ),
        ({"network_def": {"_target_": "scripts.nets.Own"}}, "needs_trust", "scripts.nets.Own"),
        ({"preprocessing": None, "dataset": None}, "missing_section", "preprocessing"),
        ({"preprocessing": {"_target_": "Compose", "transforms": [SCALE]}}, "missing_section", "loads no image"),
        ({"inferer": "%no_such_file.json#inferer"}, "needs_trust", "no_such_file.json"),
    ],
)  # fmt: skip
def test_what_is_no_segmentation_of_volumes_is_refused_by_a_reason(
    changes: dict[str, Any], code: str, told: str, tmp_path: Path
) -> None:
    bundle = a_bundle(tmp_path)
    rewrite(bundle, **changes)
    refused = refusal(bundle)
    assert refused.reason.code == code
    assert told in refused.reason.text


def test_a_network_of_flat_pictures_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny", config(1, [SIGMOID, THRESHOLD], network=FLAT))
    assert refusal(bundle).reason.code == "not_of_volumes"


def test_a_pattern_of_an_input_that_is_no_regular_expression_is_refused_by_its_key(tmp_path: Path) -> None:
    inputs = [{"name": "T1c", "modality": "MR"}, {"name": "late", "patterns": ["late", "(arter"]}]
    write_bundle(tmp_path / "tiny", config(1, [SIGMOID, LINEAR, THRESHOLD]), inputs=inputs)
    with pytest.raises(ModelRefused, match=r"triage\.inputs\.1\.patterns\.1"):
        Catalogue(tmp_path).get("tiny")


def test_macros_name_files_from_the_bundles_root(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path)
    before = segment(bundle, a_volume())
    written = json.loads((bundle / "configs" / "inference.json").read_text())
    (bundle / "configs" / "parts.json").write_text(json.dumps({"inferer": written["inferer"]}))
    rewrite(bundle, inferer="%configs/parts.json#inferer")
    np.testing.assert_array_equal(segment(bundle, a_volume()).labels, before.labels)


def test_overlapping_channels_of_tumour_and_organ_must_say_which_is_which(tmp_path: Path) -> None:
    form = config(2, [SIGMOID, LINEAR, THRESHOLD])
    bundle = write_bundle(tmp_path / "unsaid", form, classes=TWO)
    with pytest.raises(AnalysisFailed, match="channels"):
        segment(bundle, a_volume())
    both = segment(write_bundle(tmp_path / "both", form, classes=tumours(1, 2)), a_volume())
    channels = [
        segment(write_bundle(tmp_path / f"of{n}", form, classes=tumour_of(n)), a_volume()).tumour_probability
        for n in (0, 1)
    ]
    np.testing.assert_array_equal(both.tumour_probability, np.maximum(*channels))
    assert (channels[0] != channels[1]).any()
    np.testing.assert_array_equal(both.labels, np.where(channels[1] >= 128, 2, channels[0] >= 128))


def test_without_an_invertd_labels_lie_where_the_image_is(tmp_path: Path) -> None:
    """Its own 1x1x1 network: what is bright in the image is bright in the answer, on an oblique grid too."""
    network = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}
    steps = [LOAD, FIRST, LPS_FIRST, {**SPACING, "pixdim": [1.0, 1.0, 1.0]}, SCALE, CROP]
    form = {**config(1, [SIGMOID, THRESHOLD], steps), "network_def": network}
    bundle = write_bundle(tmp_path / "tiny", form)
    torch.save({"weight": torch.full((1, 1, 1, 1, 1), 40.0), "bias": torch.tensor([-20.0])}, bundle / "models/model.pt")
    volume = a_volume()
    bright = np.linalg.norm(np.stack(np.indices(volume.voxels.shape)).T - [9, 15, 13], axis=-1).T < 5
    volume = replace(volume, voxels=np.where(bright, 400, -100).astype(np.int16))
    answer = segment(bundle, volume)
    overlap = 2 * (answer.labels.astype(bool) & bright).sum() / (answer.labels.sum() + bright.sum())
    assert overlap > 0.85, f"Dice {overlap}"
    assert answer.tumour_probability[bright].mean() > 200 > 20 > answer.tumour_probability[~bright].mean()


def rewrite(bundle: Path, **changes: Any) -> None:
    path = bundle / "configs" / "inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def tumours(*values: int) -> dict[str, Any]:
    return {str(value): {"name": f"class {value}", "kind": "tumour"} for value in values}


def tumour_of(channel: int) -> dict[str, Any]:
    return {"1": {"name": "lesion", "kind": "tumour", "channels": [channel]}}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
