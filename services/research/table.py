"""PS3.15 table E.1-1 as data: what the profile does with an attribute, and which options have a say.

The profile's column is dicom-anonymizer's (KitwareMedical, BSD), of the 2026c edition; that package carries no options.
"""

from enum import StrEnum
from functools import cache

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as edition_2026c
from pydicom.datadict import tag_for_keyword

EDITION = "2026c"


class Action(StrEnum):
    """What becomes of a value. Of two that the table gives, the one that every IOD allows."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"


@cache
def actions() -> dict[int, Action]:
    """By tag."""
    lists = (
        (Action.REMOVE, edition_2026c.X_TAGS),
        (Action.EMPTY, edition_2026c.Z_TAGS + edition_2026c.X_Z_TAGS),
        (
            Action.DUMMY,
            edition_2026c.D_TAGS + edition_2026c.Z_D_TAGS + edition_2026c.X_D_TAGS + edition_2026c.X_Z_D_TAGS,
        ),
        (Action.UID, edition_2026c.U_TAGS + edition_2026c.X_Z_U_STAR_TAGS),
    )
    # patterns of repeating groups (curves and overlays) have four numbers; these groups are removed whole
    named = {tag[0] << 16 | tag[1]: action for action, tags in lists for tag in tags if len(tag) == 2}
    # which the table does not name, and which must not be empty (Type 1C, PS3.3 C.8.13.4)
    return {dictionary_tag("PulseSequenceName"): Action.DUMMY, **named}


def _tags(keywords: str) -> frozenset[int]:
    return frozenset(dictionary_tag(keyword) for keyword in keywords.split())


def dictionary_tag(keyword: str) -> int:
    """The tag of a keyword. Raises LookupError."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(keyword)
    return tag


PATIENT_CHARACTERISTICS = _tags(
    "PatientSex PatientAge PatientSize PatientWeight PatientSexNeutered PregnancyStatus SmokingStatus EthnicGroup"
)
DEVICE_IDENTITY = _tags(
    """
    CassetteID DetectorID DeviceDescription DeviceLabel DeviceSerialNumber DeviceUID GantryID GeneratorID LensMake
    LensModel LensSerialNumber LensSpecification ManufacturerDeviceClassUID ManufacturerDeviceIdentifier PlateID
    SourceManufacturer SourceSerialNumber StationName XRayDetectorID XRayDetectorLabel XRaySourceID
    """
)
DESCRIPTORS = _tags(
    """
    AcquisitionDeviceProcessingDescription AcquisitionProtocolDescription ContrastBolusAgent DerivationDescription
    LUTExplanation PerformedProcedureStepDescription ProtocolName PulseSequenceName RequestedContrastAgent
    RequestedProcedureDescription ScheduledProcedureStepDescription SequenceName SeriesDescription StudyDescription
    WindowCenterWidthExplanation
    """
)
"""Of the option's column those that tell how images were taken, and four that the table does not name, though users
type them (PS3.3 C.8.3.1, C.11.1, C.11.2). Comments, histories and diagnoses are of the patient: to keep words of them
helps nobody, and they are removed."""

NEVER_MOVED = _tags(
    "PatientBirthDate PatientBirthTime DateOfManufacture DateOfInstallation ROIDateTime ROIObservationDateTime "
    "GPSTimeStamp"
)
"""Dates that the table removes whatever options are chosen."""

CLEANED = _tags(
    "ContentSequence AcquisitionContextSequence SpecimenPreparationSequence GraphicAnnotationSequence "
    "ReferencedImageSequence SourceImageSequence ReferencedPerformedProcedureStepSequence"
)
"""Sequences that are gone through where the table would empty them (Clean Structured Content, Clean Graphics, U)."""

_KEPT_TEXT = {
    "the machine's maker or its software wrote it": "AlgorithmName AlgorithmVersion Manufacturer ManufacturerModelName "
    "SoftwareVersions",
    "a machine offers a list, and the image means little without it": "ConvolutionKernel ImagedNucleus",
    "Defined Terms, by which pixels become values (PS3.3 C.11.1.1.2)": "ModalityLUTType RescaleType",
    "colours are wrong without it": "ICCProfile",
    "`codes` has the say": "CodeMeaning CodeValue CodingSchemeDesignator LongCodeValue URNCodeValue",
}
KEPT_TEXT = {tag: reason for reason, keywords in _KEPT_TEXT.items() for tag in _tags(keywords)}
"""Why text stays that the table does not name. Any other text that it does not name is emptied, for people write it:
the profile would leave it."""

OWN_TEXT = _tags(
    "SegmentLabel SegmentDescription SegmentAlgorithmName AlgorithmParameters TrackingID UnformattedTextValue "
    "ContentLabel ContentDescription SeriesDescription GraphicLayerDescription DeviceSerialNumber"
)
"""Of objects that Vigie has written itself, these too: it writes them from findings and models."""

OWN_SEQUENCES = _tags(
    """
    AlgorithmFamilyCodeSequence AnatomicRegionSequence CodingSchemeIdentificationSequence ConceptCodeSequence
    ConceptNameCodeSequence ContentSequence GraphicAnnotationSequence GraphicLayerSequence GraphicObjectSequence
    MeasuredValueSequence MeasurementUnitsCodeSequence SegmentSequence SegmentationAlgorithmIdentificationSequence
    SegmentedPropertyCategoryCodeSequence SegmentedPropertyTypeCodeSequence TextObjectSequence
    """
)
"""Of these objects, where Vigie's own words and codes stand; whatever else they hold they have from the images."""
