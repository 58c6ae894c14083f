"""What messages repeat of patient and order: as kept with the study, and from the header of one of its images."""

from collections.abc import Callable
from datetime import date, datetime

import pydicom
from pydicom.datadict import tag_for_keyword

from services.triage.notification import Notification
from services.triage.ports import StudyFiles
from services.triage.study import StudyAttributes

ValueOf = Callable[[str], str]
"""The value of an attribute by its DICOM keyword, empty where the images do not tell it."""

_KEPT = {
    "AccessionNumber": "accession_number",
    "PatientID": "patient_id",
    "StudyID": "study_id",
    "StudyInstanceUID": "study_instance_uid",
}
# where images carry the order (PS3.3 10.6)
_REQUEST = "RequestAttributesSequence"


def known_keyword(text: str) -> str:
    """The keyword itself. Raises ValueError."""
    if tag_for_keyword(text) is None:
        raise ValueError(f"'{text}' is no DICOM keyword: write one such as AccessionNumber")
    return text


def values_of(notification: Notification, files: StudyFiles) -> ValueOf:
    """Of the study that is told of, with the data that the result was made under."""

    def value_of(keyword: str) -> str:
        if keyword in _KEPT:
            return kept(notification.study, keyword)
        try:
            header = pydicom.dcmread(
                files.path(notification.source.digest), specific_tags=[keyword, _REQUEST], stop_before_pixels=True
            )
        except FileNotFoundError:
            return ""
        requests = header.get(_REQUEST) or [pydicom.Dataset()]
        return str(header.get(keyword) or requests[0].get(keyword) or "")

    return value_of


def date_of(text: str) -> date | None:
    """A date (VR DA), None for what is none."""
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return None


def kept(study: StudyAttributes, keyword: str) -> str:
    """An attribute that is kept with the study, empty for any other."""
    return str(getattr(study, _KEPT[keyword])) if keyword in _KEPT else ""
