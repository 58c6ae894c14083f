"""`vigie process` on a study of four MR series, by a bundle of the form of the zoo's brain tumour model."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from highdicom.seg import segread
from typer.testing import CliRunner

from services.cli import app
from services.worker.load import load_volume
from services.worker.load.registered import on_one_grid
from tests.support.ct import ct_series, write_series
from tests.support.forms import LINEAR, LOAD, REMAP, SIGMOID, THRESHOLD, config
from tests.support.monai_run import run
from tests.support.zoo import Reference, labels_in, write_bundle

WORDS = {"T1c": "t1 post gd", "T1": "t1 tse", "T2": "t2 tse", "FLAIR": "t2 flair"}
SPACING = (3.0, 1.0, 1.2)
NORMALIZE = {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True}


def a_bundle(models: Path) -> Path:
    """One 1x1x1 convolution: enhancement (T1c over T1) makes TC and ET, what is bright in FLAIR and T2 makes WT."""
    network = {"_target_": "torch.nn.Conv3d", "in_channels": 4, "out_channels": 3, "kernel_size": 1}
    form = {**config(3, [SIGMOID, LINEAR, THRESHOLD, REMAP], [LOAD, NORMALIZE]), "network_def": network}
    form["imports"] = ["$import glob"]
    kinds = {1: "core", 2: "whole tumour", 4: "enhancing"}
    bundle = write_bundle(
        models / "brain", form, modality="MR", inputs=[{"name": name} for name in WORDS],
        classes={str(value): {"name": name, "kind": "tumour"} for value, name in kinds.items()},
        min_volume_ml=0, thresholds={"equivocal_low": 0.01, "detect": 0.02, "elevated": 0.9, "urgent": 0.95},
    )  # fmt: skip
    weight = torch.tensor([[3.0, -2.5, 0.4, 0.3], [0.2, 0.1, 2.0, 2.5], [4.0, -3.0, 0.3, 0.2]])[:, :, None, None, None]
    torch.save({"weight": weight, "bias": torch.tensor([-4.0, -7.0, -6.0])}, bundle / "models" / "model.pt")
    return bundle


def a_study(folder: Path, *left_out: str) -> dict[str, Path]:
    """Four series of a head with one lesion; T2 has thinner slices and another pixel spacing than the others."""
    uid = pydicom.uid.generate_uid()
    folders = {}
    for number, (name, words) in enumerate(WORDS.items()):
        spacing = (2.0, 1.1, 1.1) if name == "T2" else SPACING
        shape = tuple(int(n * size / own) for n, size, own in zip((12, 30, 25), SPACING, spacing, strict=True))
        place = np.stack(np.indices(shape), axis=-1) * spacing
        away = np.linalg.norm(place - [17.0, 14.0, 14.0], axis=-1)
        rng = np.random.default_rng(number)
        values = 200 + 20 * number + rng.normal(0, 8, shape)
        values += np.where(away < 7, {"T1c": 260, "T1": -20, "T2": 200, "FLAIR": 220}[name], 0)
        values += np.where((away >= 7) & (away < 11), {"T2": 150, "FLAIR": 190}.get(name, 0), 0)
        images = ct_series(
            values, modality="MR", intercept=0, spacing_mm=spacing, study_uid=uid, series_number=number + 1,
            SeriesDescription=words, StudyDescription="MR brain", BodyPartExamined="BRAIN",
        )  # fmt: skip
        folders[name] = folder / name
        if name not in left_out:
            write_series(images, folders[name])
    return folders


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_bundle(tmp_path_factory.mktemp("site") / "models").parent


def process(models: Path, study: Path, output: Path) -> tuple[int, dict[str, Any]]:
    environment = {**os.environ, "VIGIE_MODELS": str(models), "VIGIE_THREADS": "1"}
    command = ["process", str(study), "--output", str(output), "--model", "brain", "--json"]
    done = CliRunner().invoke(app, command, env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout)["studies"][0]


def test_what_it_marks_is_what_monais_own_run_marks_on_the_four_series(models: Path, tmp_path: Path) -> None:
    folders = a_study(tmp_path / "study")
    code, _ = process(models, tmp_path / "study", tmp_path / "out")
    assert code == 0
    volumes = [load_volume(sorted(folder.iterdir())) for folder in folders.values()]
    t1c, t1, t2, flair = volumes
    volume = on_one_grid(t2, [t1c, t1, None, flair])  # the thinnest slices, which routing chose
    run([Reference(bundle=models / "brain", volume=volume).job(tmp_path / "monai")])
    expected = labels_in(tmp_path / "monai")
    assert {0, 2, 4} <= set(np.unique(expected)), "not all classes are there"

    written = {path.name.split(".")[0]: path for path in (tmp_path / "out").rglob("*.dcm")}
    seg = segread(written["SEG"])
    uids = [source.sop_instance_uid for source in volume.sources]
    marked = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(marked > 0, expected > 0)

    series = {volume.series_instance_uid for volume in volumes}
    assert {item.SeriesInstanceUID for item in seg.ReferencedSeriesSequence} == series
    report = pydicom.dcmread(written["SR"])
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert series < {item.SeriesInstanceUID for item in evidence}


def test_a_study_that_lacks_an_input_is_not_analysed_and_says_which(models: Path, tmp_path: Path) -> None:
    a_study(tmp_path / "study", "T1c")
    code, told = process(models, tmp_path / "study", tmp_path / "out")
    assert code == 3
    assert told["reason"] == {"code": "missing_input", "text": "missing T1c"}
    assert any(path.name.startswith("SR.") for path in (tmp_path / "out").rglob("*.dcm"))
