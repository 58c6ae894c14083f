"""In which organ a lesion lies, and what SEG and SR say of it; an organ is no lesion."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from services.triage.finding import assess
from services.triage.lesion import Lesion
from services.triage.model import ClassKind, Code, Model, ModelClass
from services.worker.lesions import find_candidates
from services.worker.report import write_report
from tests.support.ct import ct_series
from tests.support.lesion_case import a_model, ellipsoid, segmentation_of, volume_of_series
from tests.support.reports import NOW, read, saved
from tests.support.validators import dciodvfy

PANCREAS, TUMOUR, LIVER = 1, 2, 3
ORGAN = Code(value="91723000", scheme="SCT", meaning="Anatomical Structure")
ABNORMAL = Code(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure")
CODED = {
    "pancreas": Code(value="15776009", scheme="SCT", meaning="Pancreas"),
    "liver": Code(value="10200004", scheme="SCT", meaning="Liver"),
    "mass": Code(value="4147007", scheme="SCT", meaning="Mass"),
}
SERIES = ct_series(slices=9, rows=32, columns=28)
VOLUME = volume_of_series(SERIES)


def abdomen(*, coded: bool = True) -> Model:
    def code(name: str) -> Code | None:
        return CODED[name] if coded else None

    classes = (
        ModelClass(value=PANCREAS, name="pancreas", kind=ClassKind.ORGAN, category=ORGAN, type=code("pancreas")),
        ModelClass(value=TUMOUR, name="mass", kind=ClassKind.TUMOUR, category=ABNORMAL, type=code("mass")),
        ModelClass(value=LIVER, name="liver", kind=ClassKind.ORGAN, type=code("liver")),
    )
    return replace(a_model(), classes=classes)


def labels_with(organ: int | None, *, beside: int | None = None, at: int = 7) -> np.ndarray:
    """A ball in the middle; around it an organ, from some columns beyond its centre on perhaps another."""
    labels = np.zeros(VOLUME.voxels.shape, dtype=np.uint8)
    if organ is not None:
        labels[:] = organ
    if beside is not None:
        labels[:, :, labels.shape[2] // 2 + at :] = beside
    labels[ellipsoid(VOLUME, [(n - 1) / 2 for n in labels.shape], [6.0] * 3)] = TUMOUR
    return labels


def lesions(labels: np.ndarray, model: Model) -> tuple[Lesion, ...]:
    probability = np.full(labels.shape, 250, dtype=np.uint8)
    return find_candidates(segmentation_of(labels, probability), VOLUME, model).lesions


@pytest.mark.parametrize(
    ("labels", "organ"),
    [
        (labels_with(PANCREAS), "pancreas"),
        (labels_with(LIVER), "liver"),
        (labels_with(None), None),
        (labels_with(PANCREAS, beside=LIVER, at=3), "pancreas"),
        (labels_with(None, beside=LIVER, at=3), "liver"),
        (labels_with(None, beside=LIVER), None),
    ],
)
def test_the_organ_with_the_largest_share_of_the_rim_is_the_lesions(labels: np.ndarray, organ: str | None) -> None:
    (lesion,) = lesions(labels, abdomen())
    assert (lesion.class_value, lesion.organ) == (TUMOUR, organ)


def test_an_organ_alone_is_no_lesion() -> None:
    assert lesions(np.full(VOLUME.voxels.shape, LIVER, dtype=np.uint8), abdomen()) == ()


def test_a_lesion_at_the_edge_of_the_volume_has_an_organ_too() -> None:
    labels = np.full(VOLUME.voxels.shape, LIVER, dtype=np.uint8)
    labels[0, :4, :4] = TUMOUR
    (lesion,) = lesions(labels, abdomen())
    assert lesion.organ == "liver"


def report_of(model: Model) -> tuple[Dataset, Dataset, Path]:
    labels = labels_with(PANCREAS)
    candidates = find_candidates(segmentation_of(labels, np.full(labels.shape, 250, np.uint8)), VOLUME, model)
    finding = assess(candidates.lesions, model.thresholds, calibrated=False)
    objects = write_report(finding, model=model, headers=SERIES, volume=VOLUME, label_map=candidates.label_map, now=NOW)
    return read(objects[0]), read(objects[1]), objects


@pytest.mark.parametrize(("coded", "type_", "site"), [(True, "4147007", "15776009"), (False, "52988006", "39607008")])
def test_seg_and_sr_carry_the_classes_own_codes(coded: bool, type_: str, site: str, tmp_path: Path) -> None:
    seg, sr, objects = report_of(abdomen(coded=coded))
    (segment,) = seg.SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == type_
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert segment.AnatomicRegionSequence[0].CodeValue == site
    measurements = next(each for each in sr.ContentSequence if each.ConceptNameCodeSequence[0].CodeValue == "126010")
    (group,) = [each for each in measurements.ContentSequence if each.ValueType == "CONTAINER"]
    told = {
        each.ConceptNameCodeSequence[0].CodeValue: each.ConceptCodeSequence[0].CodeValue
        for each in group.ContentSequence
        if each.ValueType == "CODE"
    }
    assert (told["121071"], told["363698007"]) == (type_, site)
    assert [error for path in saved(objects, tmp_path / "result") for error in dciodvfy(path)] == []
