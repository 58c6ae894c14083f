"""The levels of a search, and which attributes belong to each (PS3.18 tables 10.6.1-5, 10.6.3-3 to -5)."""

from enum import StrEnum

from pydicom.datadict import tag_for_keyword


class Level(StrEnum):
    """What a search is for."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"
    WORKITEM = "workitem"


def tag_of(keyword: str) -> str:
    """The tag as the DICOM JSON Model writes it. Raises KeyError."""
    tag = tag_for_keyword(keyword) if keyword else None  # '' is the keyword of what has none any more
    if tag is None:
        raise KeyError(keyword)
    return f"{tag:08X}"


def _tags(keywords: str) -> frozenset[str]:
    return frozenset(map(tag_of, keywords.split()))


STUDY_TAGS = _tags(
    """StudyInstanceUID StudyDate StudyTime StudyID StudyDescription AccessionNumber ReferringPhysicianName
    ModalitiesInStudy PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex
    NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances"""
)
SERIES_TAGS = _tags("SeriesInstanceUID Modality SeriesNumber SeriesDescription NumberOfSeriesRelatedInstances")
INSTANCE_TAGS = _tags("SOPClassUID SOPInstanceUID InstanceNumber NumberOfFrames Rows Columns BitsAllocated")

BELOW = {Level.STUDY: SERIES_TAGS | INSTANCE_TAGS, Level.SERIES: INSTANCE_TAGS}
"""What a search of a level cannot match: it would be an attribute of one instance taken for the whole."""

EVERYWHERE = _tags("SpecificCharacterSet InstanceAvailability TimezoneOffsetFromUTC RetrieveURL")
"""Returned by each search."""

ALSO_OF_SERIES = _tags("PerformedProcedureStepStartDate PerformedProcedureStepStartTime RequestAttributesSequence")
ALSO_OF_INSTANCE = _tags("AvailableTransferSyntaxUID")

# Of the modules of the level (PS3.3 C.7.2.1, C.7.2.2, C.7.3.1, C.7.5.1): nothing of one instance passes for the whole.
ALL_OF_STUDY = _tags(
    """PhysiciansOfRecord ReferringPhysicianIdentificationSequence NameOfPhysiciansReadingStudy
    ProcedureCodeSequence AdmittingDiagnosesDescription RequestedProcedureDescription RequestedProcedureCodeSequence"""
)
"""Returned for `includefield=all` besides, and all of the patient's group 0010."""

ALL_OF_SERIES = _tags(
    """SeriesDate SeriesTime Manufacturer ManufacturerModelName InstitutionName InstitutionalDepartmentName StationName
    PerformingPhysicianName OperatorsName BodyPartExamined ProtocolName DeviceSerialNumber SoftwareVersions
    PatientPosition FrameOfReferenceUID Laterality PositionReferenceIndicator PerformedProcedureStepDescription"""
)
