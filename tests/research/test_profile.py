"""Every attribute of PS3.15 table E.1-1 with a telltale value: none of it is in the bytes that come out."""

from io import BytesIO
from itertools import count
from pathlib import Path

import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as edition
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from services.backends.store.archive import StoredInstance
from services.research.deidentify import Deidentifier
from services.research.export import Allowed, Exporter
from services.research.pseudonyms import Pseudonyms
from services.research.recipe import Option, Recipe
from services.research.table import PATIENT_CHARACTERISTICS, Action, actions
from tests.support.ct import ct_series

KEY = bytes(range(32))
PSEUDONYMS = Pseudonyms(key=KEY, patient=("patient", "", "", "4711"))
# text of nobody else's, and a date and an hour that nothing else has
WORD, DAY, HOUR = "ZQX", "19470813", "073119"
EVERY = frozenset(Option) - {Option.UIDS}


def telltales() -> list[DataElement]:
    """Each attribute of the table that can hold something, with a value that can be found again."""
    numbers = count(1)
    made = []
    # groups 0 and 2 are of messages and of File Meta Information, which is written anew
    for tag in sorted(tag for tag in edition.ALL_TAGS if len(tag) == 2 and tag[0] > 2 and keyword_for_tag(Tag(tag))):
        vr = dictionary_VR(Tag(tag)).split(" or ")[0]
        value = value_of(vr, next(numbers))
        if value is not None and Tag(tag) != Tag("SOPClassUID"):
            made.append(DataElement(Tag(tag), vr, value))
    return made


def value_of(vr: str, number: int) -> object:
    if vr in ("OB", "UN"):
        return f"{WORD}{number:05d}".encode()
    moments = {"DA": DAY, "TM": HOUR, "DT": f"{DAY}{HOUR}", "AS": "047Y", "UI": f"2.25.4711{number:05d}"}
    moments |= {"UR": f"https://{WORD}{number}.example", "PN": f"{WORD}{number}^Anna"}
    if vr in ("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"):
        return f"{WORD}{number:05d}"
    if vr == "SQ":
        item = Dataset()
        item.PatientName, item.AccessionNumber, item.TextValue = f"{WORD}{number}", f"{WORD}{number}", f"{WORD}{number}"
        return [item]
    return moments.get(vr)


def identified() -> Dataset:
    """A CT image with all of it: at the top, in an item, in an item of an item, and in private attributes."""
    image = ct_series(slices=3)[0]
    inner, outer = Dataset(), Dataset()
    for element in telltales():
        if element.tag not in (Tag("Rows"), Tag("PixelData")):
            for place in (image, inner, outer):
                place.add(DataElement(element.tag, element.VR, element.value))
    outer.DerivationImageSequence = [inner]
    image.DerivationImageSequence = [outer]
    image.add_new(0x00090010, "LO", f"{WORD} GMBH")
    image.add_new(0x00091001, "LO", f"{WORD} again")
    image.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    image.add_new(0x0019100C, "IS", "1000")
    image.add_new(0x00191008, "CS", WORD)
    image.FilterType = WORD  # text that the table does not know
    image.add_new(0x60000010, "US", 1)
    image.add_new(0x60003000, "OW", WORD.encode() + b"\0")
    image.add_new(0x50003000, "OW", WORD.encode() + b"\0")
    image.DataSetTrailingPadding = WORD.encode() + b"\0"
    image.SOPClassUID = CTImageStorage
    return image


def part10(dataset: Dataset, *, preamble: bytes = b"\0" * 128, syntax: str = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.SourceApplicationEntityTitle = WORD
    dataset.preamble = preamble
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def gone_through(recipe: Recipe, dataset: Dataset, *, syntax: str = ExplicitVRLittleEndian) -> tuple[Dataset, bytes]:
    """The data set after a way over a file, and its bytes."""
    read = dcmread(BytesIO(part10(dataset, preamble=WORD.encode().ljust(128, b"!"), syntax=syntax)))
    shown = Deidentifier(pseudonyms=PSEUDONYMS, recipe=recipe).apply(read)
    buffer = BytesIO()
    shown.file_meta = FileMetaDataset()
    shown.file_meta.TransferSyntaxUID = syntax
    dcmwrite(buffer, shown, enforce_file_format=True)
    return shown, buffer.getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_with_no_option_nothing_of_any_attribute_is_in_the_bytes(syntax: str) -> None:
    dataset = identified()
    before = part10(dataset, syntax=syntax)
    found = {word.encode() for word in (WORD, DAY, HOUR, "2.25.4711", "047Y", "Anna")}
    assert all(word in before for word in found)
    _, after = gone_through(Recipe(), dataset, syntax=syntax)
    assert {word for word in found if word in after} == set()


def test_with_every_option_but_uids_only_what_the_options_keep_is_there() -> None:
    dataset = identified()
    shown, after = gone_through(Recipe(options=EVERY), dataset)
    assert DAY.encode() not in after
    uids = {element.keyword for element in shown.iterall() if "2.25.4711" in str(element.value) and element.VR == "UI"}
    assert uids == {"DeviceUID", "ManufacturerDeviceClassUID"}
    keepers = {
        element.keyword
        for place in (
            shown,
            shown.DerivationImageSequence[0],
            shown.DerivationImageSequence[0].DerivationImageSequence[0],
        )
        for element in place
        if element.VR != "SQ" and WORD in str(element.value)
    }
    assert keepers <= {
        "CassetteID", "DetectorID", "DeviceDescription", "DeviceLabel", "DeviceSerialNumber", "GantryID",
        "GeneratorID", "LensMake", "LensModel", "LensSerialNumber", "LensSpecification", "ManufacturerDeviceIdentifier",
        "PatientSex", "PatientSexNeutered", "PlateID", "SmokingStatus", "SourceManufacturer", "SourceSerialNumber",
        "StationName", "XRayDetectorID", "XRayDetectorLabel", "XRaySourceID",
    }  # fmt: skip


def test_of_private_attributes_only_numbers_of_the_safe_list_stay() -> None:
    shown, _ = gone_through(Recipe(options=frozenset({Option.SAFE_PRIVATE})), identified())
    private = {str(element.tag) for element in shown if element.tag.is_private}
    assert private == {"(0019,0010)", "(0019,100C)"}
    shown, _ = gone_through(Recipe(), identified())
    assert not any(element.tag.is_private for element in shown)


def test_the_object_says_by_what_it_was_deidentified() -> None:
    shown, _ = gone_through(Recipe(options=frozenset({Option.MODIFIED_DATES})), identified())
    codes = [code.CodeValue for code in shown.DeidentificationMethodCodeSequence]
    assert (shown.PatientIdentityRemoved, codes) == ("YES", ["113100", "113104", "113103", "113107"])
    assert shown.LongitudinalTemporalInformationModified == "MODIFIED"
    assert "2026c" in str(shown.DeidentificationMethod)


def test_moved_dates_keep_what_lies_between_them_and_move_back_the_same_for_all_of_a_patient() -> None:
    recipe = Recipe(options=frozenset({Option.MODIFIED_DATES}))
    image = ct_series(
        slices=3, StudyDate="20240301", SeriesDate="20240303", AcquisitionDateTime="20240301120000.5+0100"
    )[0]
    image.PatientBirthDate = DAY
    shown = Deidentifier(pseudonyms=PSEUDONYMS, recipe=recipe).apply(image)
    other = Deidentifier(pseudonyms=PSEUDONYMS, recipe=recipe).apply(image)
    assert shown.StudyDate == other.StudyDate < "20240301"
    assert int(shown.SeriesDate[-2:]) - int(shown.StudyDate[-2:]) in (2, 2 - 28, 2 - 29, 2 - 30, 2 - 31)
    assert shown.AcquisitionDateTime == f"{shown.StudyDate}120000.5+0100"
    assert not shown.PatientBirthDate


def test_an_age_that_few_reach_is_told_as_ninety() -> None:
    recipe = Recipe(options=frozenset({Option.PATIENT_CHARACTERISTICS}))
    apply = Deidentifier(pseudonyms=PSEUDONYMS, recipe=recipe).apply
    assert [apply(ct_series(slices=3, PatientAge=age)[0]).PatientAge for age in ("089Y", "094Y")] == ["089Y", "090Y"]


def test_of_descriptions_known_words_stay_and_names_go() -> None:
    recipe = Recipe(options=frozenset({Option.DESCRIPTORS}))
    image = ct_series(
        slices=3, StudyDescription="CT Thorax de Mme Dupont, room 4711", SeriesDescription="LUNG 1.5 mm B60f"
    )[0]
    shown = Deidentifier(pseudonyms=PSEUDONYMS, recipe=recipe).apply(image)
    assert (shown.StudyDescription, shown.SeriesDescription) == ("ct thorax", "lung 1.5 mm b60f")


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("TDM THORAX M. DUPONT ne le 12/03/65 tel 06 12 34 56 78", "tdm thorax"),
        ("Thorax 12.03.1965 0612345678", "thorax"),
        ("Thorax 12.03.65 06.12.34.56.78 06-12-34-56-78", "thorax"),
        ("Thorax 12 03 65 mm", "thorax"),
        ("thorax 06 12 34 56 78s", "thorax"),
        ("CT thorax 65 ans, lit 12", "ct thorax"),
        ("phase 12 03 65", "phase"),
        ("Thorax 1,5 mm", "thorax 1,5 mm"),
        ("LUNG 0.625mm 5mm", "lung 0.625mm 5mm"),
        ("Thorax 120 kV 50 mAs", "thorax 50 mas"),
        ("MR brain 1.5 T", "mr brain 1.5 t"),
        ("CT heart 70%, 30 % phase 2", "ct heart 70% 30 % phase 2"),
        ("Cra\u0302ne T2_TSE Encéphale", "crane t2 tse encephale"),
        ("S. Dupont, T. Martin, Min Ho, thorax", "thorax"),
    ],
)
def test_a_number_stays_with_its_unit_alone(told: str, kept: str) -> None:
    shown, _ = gone_through(
        Recipe(options=frozenset({Option.DESCRIPTORS})),
        ct_series(slices=3, StudyDescription=told, SpecificCharacterSet="ISO_IR 192")[0],
    )
    assert shown.StudyDescription == kept


def test_only_a_code_systems_uid_stays_and_no_uid_of_an_organisation_or_instance() -> None:
    """HL7 gives 2.16.840.1.113883.3 to organisations, hospitals among them, who make instance UIDs below."""
    root = "2.16.840.1.113883.3.4711"
    image = ct_series(slices=3)[0]
    for number, keyword in enumerate(
        ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "ContextUID"), start=1
    ):
        setattr(image, keyword, f"{root}.{number}")
    image.SynchronizationFrameOfReferenceUID = "2.16.840.1.113883.6.96"
    snomed, own = Dataset(), Dataset()
    snomed.CodingSchemeUID, own.CodingSchemeUID = "2.16.840.1.113883.6.96", f"{root}.6"
    image.CodingSchemeIdentificationSequence = [snomed, own]
    shown, after = gone_through(Recipe(), image)
    assert root.encode() not in after
    assert shown.CodingSchemeIdentificationSequence[0].CodingSchemeUID == "2.16.840.1.113883.6.96"
    assert shown.SynchronizationFrameOfReferenceUID.startswith("2.25.")


def test_the_pixels_are_as_they_were() -> None:
    image = ct_series(slices=3)[0]
    assert Deidentifier(pseudonyms=PSEUDONYMS, recipe=Recipe()).apply(image).PixelData == image.PixelData


def test_compressed_pixels_are_as_they_were_in_their_transfer_syntax(tmp_path: Path) -> None:
    image = ct_series(slices=3)[0]
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.compress(RLELossless, generate_instance_uid=False)
    image.save_as(tmp_path / "in.dcm", enforce_file_format=True)
    (series,) = exporter(tmp_path).study([stored(image, "in.dcm")])
    (path,) = (tmp_path / "out").rglob("*.dcm")
    written = dcmread(path)
    assert (series.instances, written.file_meta.TransferSyntaxUID) == (1, RLELossless)
    assert (written.pixel_array == image.pixel_array).all()


def test_a_file_that_cannot_be_read_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    image = ct_series(slices=3)[0]
    (tmp_path / "good").write_bytes(part10(image))
    (tmp_path / "bad").write_bytes(b"no DICOM at all")
    (series,) = exporter(tmp_path).study([stored(image, "good"), stored(image, "bad")])
    assert (series.instances, series.unreadable) == (1, 1)


def test_a_file_that_cannot_be_written_is_counted_and_leaves_nothing_behind(tmp_path: Path) -> None:
    image, torn = ct_series(slices=2)
    for name, one in (("good", image), ("bad", torn)):
        (tmp_path / name).write_bytes(part10(one))
    whole = (tmp_path / "bad").read_bytes()
    of_class = torn.SOPClassUID.encode().ljust(26, b"\0")
    (tmp_path / "bad").write_bytes(whole.replace(of_class, bytes(26)))
    (series,) = exporter(tmp_path).study([stored(image, "good"), stored(torn, "bad")])
    assert (series.instances, series.unreadable) == (1, 1)
    assert [dcmread(path).SOPClassUID for path in (tmp_path / "out").rglob("*.dcm")] == [image.SOPClassUID]


def exporter(folder: Path) -> Exporter:
    """Of files that lie there, named by their digests."""
    return Exporter(
        folder=folder / "out",
        deidentifier=Deidentifier(pseudonyms=PSEUDONYMS, recipe=Recipe()),
        allowed=Allowed(),
        path_of=lambda one: folder / one.digest,
    )


def stored(image: Dataset, digest: str) -> StoredInstance:
    return StoredInstance(
        study_instance_uid=image.StudyInstanceUID,
        series_instance_uid=image.SeriesInstanceUID,
        sop_instance_uid=image.SOPInstanceUID,
        sop_class_uid=image.SOPClassUID,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        modality="CT",
        digest=digest,
    )


def test_what_the_options_retain_is_in_the_table() -> None:
    assert set(actions()) >= PATIENT_CHARACTERISTICS
    assert {action.value for action in actions().values()} == {one.value for one in Action}
