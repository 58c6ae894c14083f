"""How large the organs of a model are, where that is told, and what a model says that looks for nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from services.triage.finding import Finding, Flag, Outcome
from services.triage.model import ClassKind, Model, ModelClass
from services.triage.organ import Organ
from services.triage.volume import Segmentation, Volume
from services.worker.organs import organs_in
from services.worker.report import write_report
from tests.support.ct import ct_series, write_series
from tests.support.house import House, chest_with_ball
from tests.support.lesion_case import BROKEN, a_model, affine_of, volume_of, volume_of_series, with_balls
from tests.support.reports import NOW, comment, read, saved, values
from tests.support.segmenter import BrightSegmenter
from tests.support.validators import dcentvfy, dciodvfy, dsrdump, pixelmed

SPLEEN, TUMOUR, LIVER, AIR = 1, 2, 3, 4
CLASSES = (
    ModelClass(value=LIVER, name="liver", kind=ClassKind.ORGAN),
    ModelClass(value=TUMOUR, name="mass", kind=ClassKind.TUMOUR),
    ModelClass(value=SPLEEN, name="spleen", kind=ClassKind.ORGAN),
    ModelClass(value=AIR, name="air", kind=ClassKind.OTHER),
)
VOLUME = volume_of(np.zeros((6, 10, 12)), affine_of((2.5, 0.8, 0.7)))
VOXEL_ML = 2.5 * 0.8 * 0.7 / 1000
TOLD = (
    Organ(label="spleen", volume_ml=212.4, cut_off=False),
    Organ(label="liver", volume_ml=1409.8, cut_off=True),
    Organ(label="pancreas", volume_ml=None, cut_off=False),
    Organ(label="left adrenal gland", volume_ml=3.26, cut_off=False),
    Organ(label="gallbladder", volume_ml=0.02, cut_off=False),
)
SEGMENTED = (
    "spleen 212, liver 1410 (cut off by the image), left adrenal gland 3.3, gallbladder under 0.1.\n"
    "Organs not found: pancreas."
)


def abdomen(*, tumours: bool = True) -> Model:
    return replace(a_model(), classes=tuple(one for one in CLASSES if tumours or one.kind is not ClassKind.TUMOUR))


def labelled(*boxes: tuple[int, tuple[slice, slice, slice]]) -> np.ndarray:
    labels = np.zeros(VOLUME.voxels.shape, dtype=np.uint8)
    for value, box in boxes:
        labels[box] = value
    return labels


INSIDE = (slice(1, 4), slice(2, 6), slice(3, 8))


def test_an_organ_has_the_volume_of_its_own_voxels_and_a_lesion_in_it_is_not_among_them() -> None:
    labels = labelled((SPLEEN, INSIDE), (TUMOUR, (slice(2, 3), slice(3, 5), slice(4, 6))), (AIR, (0, 0, 0)))
    spleen, liver = organs_in(labels, VOLUME, abdomen())
    assert (spleen.label, spleen.cut_off) == ("spleen", False)
    assert spleen.volume_ml == pytest.approx((3 * 4 * 5 - 4) * VOXEL_ML)
    assert liver == Organ(label="liver", volume_ml=None, cut_off=False), "not found, which is not 0 mL"


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("side", [0, -1])
def test_an_organ_in_the_first_or_last_slice_row_or_column_is_cut_off(axis: int, side: int) -> None:
    labels = labelled((LIVER, INSIDE))
    labels[tuple(side if along == axis else 4 for along in range(3))] = SPLEEN
    spleen, liver = organs_in(labels, VOLUME, abdomen())
    assert (spleen.volume_ml, spleen.cut_off) == (pytest.approx(VOXEL_ML), True)
    assert not liver.cut_off


def test_a_volume_is_right_on_an_oblique_grid_too() -> None:
    sheared = affine_of((2.5, 0.8, 0.7))
    sheared[:3, 0] = (0.0, 1.2, 2.5)  # a tilted gantry: slices are 2.5 mm apart, and shifted
    volume = replace(VOLUME, affine=sheared)
    assert organs_in(labelled((SPLEEN, INSIDE)), volume, abdomen())[0].volume_ml == pytest.approx(60 * VOXEL_ML)


def test_of_a_model_without_organ_classes_nothing_is_told() -> None:
    tumours = replace(abdomen(), classes=(CLASSES[1],))
    assert organs_in(labelled((SPLEEN, INSIDE)), VOLUME, tumours) == ()


class OrganSegmenter(BrightSegmenter):
    """What is bright is the spleen."""

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        found = super().segment(volume, model, cancelled=cancelled)
        labels = (found.labels > 0).astype(np.uint8) * SPLEEN
        return replace(found, labels=labels, tumour_probability=np.zeros_like(labels))


def stored(model: Model, tmp_path: Path) -> tuple[Finding, list[Dataset]]:
    """What becomes of a chest with a bright ball under that model, from the door to the frozen result."""
    house = House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),))
    uid = house.take_in(chest_with_ball())
    house.work(OrganSegmenter(only=model))
    result = house.result(uid)
    kept = house.store.frozen_result(result.result_id)
    assert kept is not None
    return kept.finding, [dcmread(house.files.result_path(one.sha256)) for one in result.objects]


def test_organs_are_kept_with_the_result_and_are_no_lesion(tmp_path: Path) -> None:
    finding, (sr,) = stored(abdomen(), tmp_path)
    assert (finding.outcome, finding.lesions) == (Outcome.NOTHING_FOUND, ())
    spleen, liver = finding.organs
    assert spleen.volume_ml is not None
    assert (spleen.label, spleen.volume_ml > 0) == ("spleen", True)
    assert liver == Organ(label="liver", volume_ml=None, cut_off=False)
    assert "Organs segmented (mL, tumour voxels not included): spleen " in comment(sr)


def test_a_model_without_a_tumour_class_never_says_that_there_is_no_lesion(tmp_path: Path) -> None:
    finding, (sr,) = stored(abdomen(tumours=False), tmp_path)
    assert (finding.outcome, finding.score, finding.flag) == (Outcome.NOT_ANALYSED, None, Flag.ROUTINE)
    assert finding.reason is not None
    assert finding.reason.code == "no_tumour_class"
    assert [(one.label, one.volume_ml is not None) for one in finding.organs] == [("spleen", True), ("liver", False)]
    lines = comment(sr).splitlines()
    assert lines[:2] == [
        "NOT ANALYSED FOR LESIONS: the model looks for none.",
        "Reason: the model has no tumour class: it looks for no lesions [no_tumour_class]",
    ]
    assert lines[2].startswith("Organs segmented (mL): spleen ")
    assert a_model().scope_statement in lines
    assert (values(sr, "111017"), values(sr, "111065")) == (["111245"], ["111225"])
    assert values(sr, "52988006") == [], "a lesion is neither present nor absent"
    assert values(sr, "111012") == []


@pytest.fixture(scope="module", params=[(0.93,), ()], ids=["with a lesion", "without"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A source image, and a result that tells of organs."""
    series = ct_series(slices=9, rows=32, columns=28)
    source, *_ = write_series(series, tmp_path_factory.mktemp("source"))
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, request.param)
    finding = replace(finding, organs=TOLD)
    objects = write_report(finding, model=a_model(), headers=series, volume=volume, label_map=labels, now=NOW)
    assert f"Organs segmented (mL, tumour voxels not included): {SEGMENTED}" in comment(read(objects[-1]))
    return source, saved(objects, tmp_path_factory.mktemp("report") / "result")


def test_a_report_with_organs_is_valid_and_understood(report: tuple[Path, list[Path]]) -> None:
    source, paths = report
    assert [error for path in paths for error in dciodvfy(path)] == []
    assert dcentvfy([source, *paths]) == []
    assert dsrdump(paths[-1]) == []


@pytest.mark.slow
def test_a_report_with_organs_keeps_to_its_template(report: tuple[Path, list[Path]]) -> None:
    assert pixelmed(report[1][-1]) == []


def test_of_what_failed_no_organ_is_told() -> None:
    finding = Finding(outcome=Outcome.FAILED, score=None, flag=Flag.ROUTINE, calibrated=False, reason=BROKEN)
    series = ct_series(slices=9, rows=32, columns=28)
    (sr,) = write_report(finding, model=abdomen(), headers=series, volume=None, label_map=None, now=NOW)
    assert "Organs" not in comment(read(sr))
