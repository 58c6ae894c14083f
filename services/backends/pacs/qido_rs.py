"""PacsQuestions by QIDO-RS (PS3.18 section 10.6)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from services.backends import web
from services.backends.pacs.file import Pacs
from services.backends.senders.link import Tls
from services.triage.errors import DestinationRefused, DestinationUnavailable
from services.triage.pacs import SeriesAtPacs, StudyAtPacs

_PAGE = 500
_STUDY, _SERIES, _INSTANCE, _SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"
_MODALITIES, _MODALITY = "00080061", "00080060"
_INSTANCES_OF_STUDY, _INSTANCES_OF_SERIES = "00201208", "00201209"


@contextmanager
def searching(pacs: Pacs, *, ca: Path | None, credentials: Path | None) -> Iterator["QidoQuestions"]:
    """Ask with the certificates and credentials that STOW-RS has for the same root. Raises DestinationUnavailable."""
    timeout = httpx.Timeout(pacs.link.answer_timeout_s, connect=pacs.link.connect_timeout_s)
    auth = web.auth_from(web.credentials(credentials, pacs.address))
    with web.client(tls=Tls(ca=ca).context(), auth=auth, timeout=timeout) as client:
        yield QidoQuestions(client, pacs.address)


class QidoQuestions:
    """See PacsQuestions."""

    def __init__(self, client: httpx.Client, root: str) -> None:
        self._client = client
        self._root = root

    def study(self, study_instance_uid: str) -> StudyAtPacs | None:
        """See PacsQuestions."""
        found = self._search("studies", _STUDY, {_STUDY: study_instance_uid, **_OF_STUDY})
        return next((_study(each) for each in found if _text(each, _STUDY) == study_instance_uid), None)

    def studies(self, day: date, modality: str) -> list[StudyAtPacs]:
        """See PacsQuestions."""
        asked = {"StudyDate": f"{day:%Y%m%d}", "ModalitiesInStudy": modality, **_OF_STUDY}
        return [_study(each) for each in self._search("studies", _STUDY, asked)]

    def series(self, study_instance_uid: str) -> list[SeriesAtPacs]:
        """See PacsQuestions."""
        asked = {"includefield": [_MODALITY, _INSTANCES_OF_SERIES]}
        found = self._search(f"studies/{study_instance_uid}/series", _SERIES, asked)
        return [self._series(study_instance_uid, each) for each in found]

    def sop_classes(self, study_instance_uid: str, series_instance_uids: Sequence[str]) -> frozenset[str]:
        """See PacsQuestions."""
        found = (each for uid in series_instance_uids for each in self._images(study_instance_uid, uid))
        return frozenset(_text(each, _SOP_CLASS) for each in found) - {""}

    def _series(self, study_instance_uid: str, found: dict[str, Any]) -> SeriesAtPacs:
        uid = _text(found, _SERIES)
        counted = _number(found, _INSTANCES_OF_SERIES)
        return SeriesAtPacs(
            series_instance_uid=uid,
            modality=_text(found, _MODALITY),
            instances=len(self._images(study_instance_uid, uid)) if counted is None else counted,
        )

    def _images(self, study_instance_uid: str, series_instance_uid: str) -> list[dict[str, Any]]:
        path = f"studies/{study_instance_uid}/series/{series_instance_uid}/instances"
        return self._search(path, _INSTANCE, {"includefield": [_SOP_CLASS]})

    def _search(self, path: str, key: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """All pages, each match once, for servers that know no paging answer the same again."""
        found: dict[str, dict[str, Any]] = {}
        while True:
            page = self._page(path, {**asked, "limit": _PAGE, "offset": len(found)})
            new = {uid: each for each in page if (uid := _text(each, key)) and uid not in found}
            if not new:
                return list(found.values())
            found |= new

    def _page(self, path: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        headers = {"Accept": "application/dicom+json"}
        url = f"{self._root}/{path}"
        answer = web.answer_of(lambda: self._client.get(url, params=asked, headers=headers), url=url, peer=self._root)
        status = answer.status_code
        if status in (httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND):
            return []
        if not answer.is_success:
            raise DestinationRefused("search_refused", f"{self._root} answered HTTP {status} to a QIDO-RS search")
        try:
            found = answer.json()
        except ValueError as error:
            raise DestinationUnavailable(f"{self._root} answered a QIDO-RS search with no JSON") from error
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


_OF_STUDY = {"includefield": [_MODALITIES, _INSTANCES_OF_STUDY]}


def _study(found: dict[str, Any]) -> StudyAtPacs:
    return StudyAtPacs(
        study_instance_uid=_text(found, _STUDY),
        modalities=tuple(str(each) for each in _values(found, _MODALITIES)),
        instances=_number(found, _INSTANCES_OF_STUDY),
    )


def _values(found: dict[str, Any], tag: str) -> list[Any]:
    element = found.get(tag)
    values = element.get("Value", []) if isinstance(element, dict) else []
    return [each for each in values if each not in (None, "")] if isinstance(values, list) else []


def _text(found: dict[str, Any], tag: str) -> str:
    return str(next(iter(_values(found, tag)), ""))


def _number(found: dict[str, Any], tag: str) -> int | None:
    text = _text(found, tag).strip()
    return int(text) if text.isdecimal() else None
