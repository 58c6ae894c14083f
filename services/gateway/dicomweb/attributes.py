"""What a search returns, and the part of it that the database holds."""

from collections.abc import Sequence
from typing import Any

from pydicom.datadict import dictionary_VR

from services.backends.store.archive import StoredInstance, StoredStudy
from services.gateway.dicomweb.json_model import DicomJson
from services.gateway.dicomweb.levels import (
    ALL_OF_SERIES,
    ALL_OF_STUDY,
    ALSO_OF_INSTANCE,
    ALSO_OF_SERIES,
    EVERYWHERE,
    INSTANCE_TAGS,
    SERIES_TAGS,
    STUDY_TAGS,
    Level,
    tag_of,
)
from services.gateway.dicomweb.query import Query
from services.gateway.dicomweb.resource import Resource

_RETURNED = {
    Level.STUDY: EVERYWHERE | STUDY_TAGS,
    Level.SERIES: EVERYWHERE | SERIES_TAGS | ALSO_OF_SERIES,
    Level.INSTANCE: EVERYWHERE | INSTANCE_TAGS | ALSO_OF_INSTANCE,
}


def is_returned(tag: str, query: Query, within: Resource) -> bool:
    """Whether a search returns this attribute without being asked for it by name.

    Of the levels above, all attributes are returned where the path does not name that level, else its UID.
    """
    level = query.level
    wanted = _RETURNED[level]
    if level is not Level.STUDY:
        wanted = wanted | (STUDY_TAGS if within.study is None else {tag_of("StudyInstanceUID")})
    if level is Level.INSTANCE:
        wanted = wanted | (SERIES_TAGS if within.series is None else {tag_of("SeriesInstanceUID")})
    return tag in wanted or (query.include_all and _is_of(level, tag))


def _is_of(level: Level, tag: str) -> bool:
    if level is Level.INSTANCE:
        return True
    return tag.startswith("0010") or tag in ALL_OF_STUDY or (level is Level.SERIES and tag in ALL_OF_SERIES)


def of_study(one: StoredStudy) -> DicomJson:
    """Study attributes: those of the study's newest image, and what is counted over all of its instances."""
    told = one.attributes
    return _elements(
        StudyInstanceUID=told.study_instance_uid,
        StudyDate=told.study_date,
        StudyTime=told.study_time,
        StudyID=told.study_id,
        StudyDescription=told.study_description,
        AccessionNumber=told.accession_number,
        PatientName=told.patient_name,
        PatientID=told.patient_id,
        IssuerOfPatientID=told.issuer_of_patient_id,
        PatientBirthDate=told.patient_birth_date,
        PatientSex=told.patient_sex,
        ModalitiesInStudy=one.modalities,
        NumberOfStudyRelatedSeries=one.series_count,
        NumberOfStudyRelatedInstances=one.instance_count,
    )


def of_series(series: Sequence[StoredInstance]) -> DicomJson:
    """Series attributes: those of its first instance. A result's number and description are in its file alone."""
    first = series[0]
    known = _elements(
        SeriesInstanceUID=first.series_instance_uid,
        Modality=first.modality,
        NumberOfSeriesRelatedInstances=len(series),
    )
    if first.header is not None:
        known |= _elements(SeriesNumber=first.header.series_number, SeriesDescription=first.header.series_description)
    return known


def of_instance(one: StoredInstance) -> DicomJson:
    """Instance attributes, a result's number left to its file."""
    known = _elements(SOPClassUID=one.sop_class_uid, SOPInstanceUID=one.sop_instance_uid) | of_file(one)
    if one.header is not None:
        known |= _elements(InstanceNumber=one.header.instance_number)
    return known


def of_file(one: StoredInstance) -> DicomJson:
    """What is true of the file as it is stored, and in no data set."""
    return _elements(AvailableTransferSyntaxUID=one.transfer_syntax_uid)


def available(retrieve_url: str) -> DicomJson:
    """Where and how fast it can be had, and the character set of this JSON."""
    return _elements(SpecificCharacterSet="ISO_IR 192", InstanceAvailability="ONLINE", RetrieveURL=retrieve_url)


def _elements(**values: Any) -> DicomJson:
    """By keyword; an empty value is an attribute without one."""
    return dict(_element(keyword, value) for keyword, value in values.items())


def _element(keyword: str, value: Any) -> tuple[str, dict[str, Any]]:
    tag = tag_of(keyword)
    vr = dictionary_VR(int(tag, 16))
    present = [each for each in (value if isinstance(value, tuple) else (value,)) if each not in (None, "")]
    if vr == "PN":
        groups = ("Alphabetic", "Ideographic", "Phonetic")
        present = [
            {group: part for group, part in zip(groups, each.split("="), strict=False) if part} for each in present
        ]
    return tag, {"vr": vr, "Value": present} if present else {"vr": vr}
