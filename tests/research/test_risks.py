"""What the pixels of a series may tell, and what is therefore kept out."""

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from services.backends.files.facts import TAGS
from services.backends.store.archive import StoredInstance
from services.research.deidentify import Deidentifier
from services.research.export import Allowed, ExportedSeries, Exporter
from services.research.pseudonyms import Pseudonyms
from services.research.recipe import Recipe
from services.research.risks import risks_of

SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def header(modality: str, **told: object) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.Modality, made.ImageType = "1.2.840.10008.5.1.4.1.1.2", modality, ["ORIGINAL", "PRIMARY"]
    made.ImagePositionPatient = [0, 0, 100]
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
        (header("US", BodyPartExamined="LIVER", BurnedInAnnotation="NO"), set(), "modality_not_named"),
        (header("US", BodyPartExamined="LIVER", BurnedInAnnotation="YES"), set(), "modality_not_named"),
        (header("US", BodyPartExamined="LIVER"), {"US"}, None),
        (header("US", BodyPartExamined="LIVER", BurnedInAnnotation="YES"), {"US"}, "burned_in"),
        (
            header("CT", BodyPartExamined="CHEST", SOPClassUID=SECONDARY, BurnedInAnnotation="NO"),
            set(),
            "modality_not_named",
        ),
        (header("DX", BodyPartExamined="CHEST"), set(), "may_be_burned_in"),
        (header("DX", BodyPartExamined="CHEST", BurnedInAnnotation="NO"), set(), None),
        (header("XA", BodyPartExamined="HEART"), set(), "modality_not_named"),
    ],
)
def test_the_risk_of_a_series(image: Dataset, named: set[str], code: str | None) -> None:
    risks = risks_of([image], named=named)
    assert [one.code for one in (risks.text, risks.face) if one] == ([code] if code else [])


def item(**told: object) -> Dataset:
    made = Dataset()
    for keyword, value in told.items():
        setattr(made, keyword, value)
    return made


def frames(length_mm: int) -> list[Dataset]:
    """Per-frame functional groups."""
    at = ([0, 0, z] for z in range(0, length_mm + 1, 5))
    return [item(PlanePositionSequence=[item(ImagePositionPatient=position)]) for position in at]


def anatomy(meaning: str) -> list[Dataset]:
    """Shared functional groups."""
    region = item(CodeValue="1", CodingSchemeDesignator="SCT", CodeMeaning=meaning)
    return [item(FrameAnatomySequence=[item(FrameLaterality="U", AnatomicRegionSequence=[region])])]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"PerFrameFunctionalGroupsSequence": frames(300)}, None),
        ({"PerFrameFunctionalGroupsSequence": frames(1000)}, "may_be_a_face"),
        ({}, "may_be_a_face"),
        (
            {
                "PerFrameFunctionalGroupsSequence": frames(300),
                "SharedFunctionalGroupsSequence": anatomy("Head and Neck"),
            },
            "face",
        ),
        ({"PerFrameFunctionalGroupsSequence": [*frames(300), *anatomy("Head")]}, "face"),
        ({"PerFrameFunctionalGroupsSequence": [*frames(300), *anatomy("Chest")]}, None),
    ],
)
def test_an_enhanced_image_is_as_long_as_its_frames_and_shows_what_they_name(
    tmp_path: Path, told: dict[str, list[Dataset]], code: str | None
) -> None:
    image = header("CT", SeriesDescription="thorax", **told)
    del image.ImagePositionPatient
    image.save_as(tmp_path / "in.dcm", implicit_vr=False, little_endian=True)
    read = dcmread(tmp_path / "in.dcm", force=True, specific_tags=list(TAGS))
    face = risks_of([read], named=set()).face
    assert (face and face.code) == code


@pytest.mark.parametrize(
    ("group", "allocated", "position", "code"),
    [
        (0x6000, 1, 0, None),  # in Overlay Data, which is removed
        (0x6000, 16, 12, "burned_in"),
        (0x601E, 16, 15, "burned_in"),
        (0x6002, 16, 0, "burned_in"),  # below the pixels' own bits
    ],
)
def test_an_overlay_in_the_bits_of_the_pixels_is_burned_in(
    tmp_path: Path, group: int, allocated: int, position: int, code: str | None
) -> None:
    image = header("CT", BodyPartExamined="CHEST", BurnedInAnnotation="NO")
    image.add_new((group, 0x0100), "US", allocated)
    image.add_new((group, 0x0102), "US", position)
    image.save_as(tmp_path / "in.dcm", implicit_vr=False, little_endian=True)
    read = dcmread(tmp_path / "in.dcm", force=True, specific_tags=list(TAGS))
    text = risks_of([read], named=set()).text
    assert (text and text.code) == code


def test_one_image_with_text_keeps_the_whole_series_out() -> None:
    images = [header("CT", BodyPartExamined="CHEST"), header("CT", BurnedInAnnotation="YES")]
    risk = risks_of(images, named=set()).text
    assert risk is not None
    assert risk.code == "burned_in"


def exported(
    tmp_path: Path, image: Dataset, allowed: Allowed, *, spoil: tuple[bytes, bytes] = (b"", b"")
) -> ExportedSeries:
    """Through the exporter, from a file, as the command does. spoil: bytes of the file, and what is there instead."""
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    path = tmp_path / "in.dcm"
    image.save_as(path, implicit_vr=False, little_endian=True)
    path.write_bytes(path.read_bytes().replace(*spoil))
    exporter = Exporter(
        folder=tmp_path / "out",
        deidentifier=Deidentifier(
            pseudonyms=Pseudonyms(key=bytes(32), patient=("patient", "", "", "1")), recipe=Recipe()
        ),
        allowed=allowed,
        path_of=lambda _: path,
    )
    stored = StoredInstance(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        sop_instance_uid="2.25.3",
        sop_class_uid=str(image.SOPClassUID),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        modality="CT",
        digest="",
    )
    (series,) = exporter.study([stored])
    return series


DERIVED = header("CT", BodyPartExamined="HEAD", ImageType=["DERIVED", "PRIMARY", "MPR"])
MARKED = header("CT", RecognizableVisualFeatures="YES", BurnedInAnnotation="YES")
MARKED_CAPTURE = header("CT", SOPClassUID=SECONDARY, RecognizableVisualFeatures="YES", BurnedInAnnotation="YES")
RENDERED = header("CT", SOPClassUID=SECONDARY, SeriesDescription="VR face", RecognizableVisualFeatures="YES")


@pytest.mark.parametrize(
    ("image", "allowed", "left_out"),
    [
        (DERIVED, Allowed(), "may_be_burned_in"),
        (DERIVED, Allowed(burned_in=True), None),
        (DERIVED, Allowed(faces=False), "may_be_burned_in"),
        (DERIVED, Allowed(faces=False, burned_in=True), "face_left_out"),
        (MARKED, Allowed(burned_in=True), None),
        (MARKED, Allowed(faces=False, burned_in=True), "face_left_out"),
        (RENDERED, Allowed(), "modality_not_named"),
        (RENDERED, Allowed(burned_in=True), "modality_not_named"),
        (MARKED_CAPTURE, Allowed(burned_in=True), "modality_not_named"),
        (MARKED_CAPTURE, Allowed(modalities=frozenset({"SC"})), "burned_in"),
        (MARKED_CAPTURE, Allowed(burned_in=True, modalities=frozenset({"SC"})), None),
        (RENDERED, Allowed(modalities=frozenset({"SC"})), None),
        (RENDERED, Allowed(faces=False, modalities=frozenset({"SC"})), "face_left_out"),
    ],
)
def test_of_two_risks_either_keeps_a_series_out_and_both_are_told(
    tmp_path: Path, image: Dataset, allowed: Allowed, left_out: str | None
) -> None:
    series = exported(tmp_path, image, allowed)
    assert (series.left_out and series.left_out.code) == left_out
    assert [one.code for one in series.risks][1:] in ([], ["face"])
    assert series.risks[-1].code == "face"
    assert bool(list((tmp_path / "out").rglob("*.dcm"))) is (left_out is None)


def test_a_series_whose_header_cannot_be_understood_does_not_leave_and_stops_nothing(tmp_path: Path) -> None:
    image = header("CT", BodyPartExamined="CHEST", ImagePositionPatient=[0, 0, 345678])
    series = exported(tmp_path, image, Allowed(), spoil=(b"345678", b"abcdef"))
    assert series.left_out is not None
    assert (series.left_out.code, series.unreadable) == ("unreadable", 1)
    assert not list((tmp_path / "out").rglob("*.dcm"))
