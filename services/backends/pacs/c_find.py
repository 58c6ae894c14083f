"""PacsQuestions by C-FIND, Study Root (PS3.4 C.6.2), over one association."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from services.backends.pacs.file import Pacs
from services.backends.senders.association import established
from services.triage.errors import DestinationRefused, DestinationUnavailable
from services.triage.pacs import SeriesAtPacs, StudyAtPacs

_SUCCESS, _PENDING, _OUT_OF_RESOURCES = 0x0000, (0xFF00, 0xFF01), 0xA700


@contextmanager
def finding(pacs: Pacs) -> Iterator["CFindQuestions"]:
    """Ask over an association that is released at the end. Raises DestinationUnavailable, DestinationRefused."""
    contexts = [build_context(StudyRootQueryRetrieveInformationModelFind)]
    with established(pacs.address, pacs.calling_ae_title, contexts, link=pacs.link) as association:
        yield CFindQuestions(association, pacs.address)


class CFindQuestions:
    """See PacsQuestions."""

    def __init__(self, association: Association, peer: str) -> None:
        self._association = association
        self._peer = peer

    def study(self, study_instance_uid: str) -> StudyAtPacs | None:
        """See PacsQuestions."""
        found = self._find("STUDY", StudyInstanceUID=study_instance_uid, **_OF_STUDY)
        return next((_study(each) for each in found if _text(each, "StudyInstanceUID") == study_instance_uid), None)

    def studies(self, day: date, modality: str) -> list[StudyAtPacs]:
        """See PacsQuestions."""
        keys = {"StudyInstanceUID": "", "StudyDate": f"{day:%Y%m%d}", **_OF_STUDY, "ModalitiesInStudy": modality}
        return [_study(each) for each in self._find("STUDY", **keys) if _text(each, "StudyInstanceUID")]

    def series(self, study_instance_uid: str) -> list[SeriesAtPacs]:
        """See PacsQuestions."""
        found = self._find("SERIES", StudyInstanceUID=study_instance_uid, **_OF_SERIES)
        return [self._series(study_instance_uid, each) for each in found if _text(each, "SeriesInstanceUID")]

    def sop_classes(self, study_instance_uid: str, series_instance_uids: Sequence[str]) -> frozenset[str]:
        """See PacsQuestions."""
        found = (each for uid in series_instance_uids for each in self._images(study_instance_uid, uid))
        return frozenset(_text(each, "SOPClassUID") for each in found) - {""}

    def _series(self, study_instance_uid: str, found: Dataset) -> SeriesAtPacs:
        uid = _text(found, "SeriesInstanceUID")
        counted = _number(found, "NumberOfSeriesRelatedInstances")
        return SeriesAtPacs(
            series_instance_uid=uid,
            modality=_text(found, "Modality"),
            instances=len(self._images(study_instance_uid, uid)) if counted is None else counted,
        )

    def _images(self, study_instance_uid: str, series_instance_uid: str) -> list[Dataset]:
        keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid, **_OF_IMAGE}
        return self._find("IMAGE", **keys)

    def _find(self, level: str, **keys: str) -> list[Dataset]:
        """One C-FIND with these keys. Raises DestinationUnavailable, DestinationRefused."""
        query = Dataset()
        query.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        found = []
        try:
            for answer, match in self._association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
                if answer.get("Status") in _PENDING and match is not None:
                    found.append(match)
                else:
                    self._require_success(answer.get("Status"))
        except RuntimeError as error:
            raise DestinationUnavailable(f"{self._peer} ended the association") from error
        return found

    def _require_success(self, status: int | None) -> None:
        if status is None:
            raise DestinationUnavailable(
                f"{self._peer} gave no answer to a C-FIND: it does not know our AE title, or is slow"
            )
        if status in _PENDING:
            raise DestinationUnavailable(f"{self._peer} sent a match of a C-FIND that cannot be read")
        if status == _OUT_OF_RESOURCES:
            raise DestinationUnavailable(f"{self._peer} answered status 0xA700 to a C-FIND: it cannot answer now")
        if status != _SUCCESS:
            raise DestinationRefused("find_refused", f"{self._peer} answered status 0x{status:04X} to a C-FIND")


_OF_STUDY = {"ModalitiesInStudy": "", "NumberOfStudyRelatedInstances": ""}
_OF_SERIES = {"SeriesInstanceUID": "", "Modality": "", "NumberOfSeriesRelatedInstances": ""}
_OF_IMAGE = {"SOPInstanceUID": "", "SOPClassUID": ""}


def _study(found: Dataset) -> StudyAtPacs:
    return StudyAtPacs(
        study_instance_uid=_text(found, "StudyInstanceUID"),
        modalities=tuple(str(each) for each in _values(found, "ModalitiesInStudy")),
        instances=_number(found, "NumberOfStudyRelatedInstances"),
    )


def _values(found: Dataset, keyword: str) -> list[Any]:
    value = found.get(keyword)
    values = list(value) if isinstance(value, MultiValue) else [value]
    return [each for each in values if each not in (None, "")]


def _text(found: Dataset, keyword: str) -> str:
    return str(next(iter(_values(found, keyword)), ""))


def _number(found: Dataset, keyword: str) -> int | None:
    text = _text(found, keyword).strip()
    return int(text) if text.isdecimal() else None
