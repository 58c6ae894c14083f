"""The MONAI Model Zoo's own configs, with random weights, run by us and by MONAI: the same labels, voxel for voxel.

Only what does not change the form is smaller: windows and volumes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.runner import BundleRunner
from services.triage.volume import Volume
from tests.support.zoo import Reference, bring, run_monai

pytestmark = pytest.mark.data
TEMPLATE = "monai_segmentation_template_bundle"


BRATS = {str(value): {"name": name, "kind": "tumour"} for value, name in ((1, "TC"), (2, "WT"), (4, "ET"))}
# bundle -> how it is brought, and the package that it needs beside MONAI
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "brats_mri_segmentation": ({"classes": BRATS}, "monai"),
    "pancreas_ct_dints_segmentation": ({}, "monai"),
    "prostate_mri_anatomy": ({}, "skimage"),
    "spleen_ct_segmentation": ({"seed": 3}, "monai"),
    "swin_unetr_btcv_segmentation": ({}, "einops"),
    "wholeBody_ct_segmentation": ({}, "monai"),
    "monai_segmentation_template_bundle": ({}, "monai"),
}


def a_copy(name: str, test_data: Path, folder: Path) -> tuple[Path, Volume]:
    source = next(path for path in (test_data / "bundles").rglob(name))
    return bring(source, folder, **CASES[name][0])


@pytest.fixture(scope="module")
def theirs(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What MONAI's own run makes of each bundle."""
    work = tmp_path_factory.mktemp("monai")
    references = {}
    for name in CASES:
        bundle, volume = a_copy(name, test_data, work / "models")
        references[name] = Reference(bundle=bundle, volume=volume)
    return run_monai(references, work)


@pytest.mark.parametrize("name", CASES)
def test_labels_are_those_of_monais_own_run(
    name: str, test_data: Path, theirs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    bundle, volume = a_copy(name, test_data, tmp_path)
    torch.set_num_threads(1)
    answer = BundleRunner(bundle, Catalogue(tmp_path).get(name)).run(volume)
    expected = np.rint(theirs[name])  # prostate: its Invertd interpolates between the labels
    assert len(np.unique(expected)) > 1, "one label everywhere proves nothing"
    np.testing.assert_array_equal(answer.labels, expected)
    assert answer.tumour_probability.any()
