"""What the pixels of a series may tell, and what is therefore kept out."""

import pytest
from pydicom import Dataset

from services.research.risks import risk_of

SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def header(modality: str, **told: object) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.Modality, made.ImageType = "1.2.840.10008.5.1.4.1.1.2", modality, ["ORIGINAL", "PRIMARY"]
    for keyword, value in told.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("image", "named", "code"),
    [
        (header("CT", BodyPartExamined="CHEST"), set(), None),
        (header("CT", BodyPartExamined="HEAD"), set(), "face"),
        (header("MR"), set(), "may_be_a_face"),
        (header("CT", BodyPartExamined="CHEST", BurnedInAnnotation="YES"), set(), "burned_in"),
        (header("CT", BodyPartExamined="CHEST", ImageType=["DERIVED", "SECONDARY"]), set(), "may_be_burned_in"),
        (header("US", BurnedInAnnotation="NO"), set(), "modality_not_named"),
        (header("US", BodyPartExamined="LIVER"), {"US"}, None),
        (header("US", BurnedInAnnotation="YES"), {"US"}, "burned_in"),
        (header("CT", SOPClassUID=SECONDARY, BurnedInAnnotation="NO"), set(), "modality_not_named"),
        (header("DX", BodyPartExamined="CHEST"), set(), "may_be_burned_in"),
        (header("DX", BodyPartExamined="CHEST", BurnedInAnnotation="NO"), set(), None),
        (header("XA", BodyPartExamined="HEART"), set(), "modality_not_named"),
    ],
)
def test_the_risk_of_a_series(image: Dataset, named: set[str], code: str | None) -> None:
    risk = risk_of([image], named=named)
    assert (risk and risk.code) == code


def test_one_image_with_text_keeps_the_whole_series_out() -> None:
    images = [header("CT", BodyPartExamined="CHEST"), header("CT", BurnedInAnnotation="YES")]
    risk = risk_of(images, named=set())
    assert risk is not None
    assert risk.code == "burned_in"
