"""By which paths somebody gets at a study, and what kind of event each is.

Changes are not here: the store writes them with what it changes; nor is the search of the work list, whose form its
endpoint reads. A test asks that every route is told here, or left out for a reason.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from services.triage.audit_types import AuditType

_UID = r"(?P<study>[0-9.]{1,64})"
_WEB = r"(?:/t/[^/]+)?/(?:dicomweb|dicom-web)"

_WAYS: tuple[tuple[str, str, AuditType], ...] = (
    ("GET", r"/", AuditType.WORK_LIST),
    ("GET", r"/api/studies", AuditType.WORK_LIST),
    ("GET", rf"/studies/{_UID}", AuditType.STUDY_PAGE),
    ("GET", rf"/studies/{_UID}/key-image/[^/]+", AuditType.KEY_IMAGE),
    ("GET", rf"/studies/{_UID}/view/[^/]+", AuditType.VIEWER),
    ("GET", r"/ohif/viewer", AuditType.VIEWER),
    ("GET", rf"/api/studies/{_UID}(?:/.*)?", AuditType.API),
    ("GET", r"/api/results/(?P<instance>[0-9.]{1,64})", AuditType.RESULT_OBJECT),
    ("GET", rf"{_WEB}/studies/{_UID}(?:/.*)?", AuditType.RETRIEVE),
    ("GET", rf"{_WEB}/(?:studies|series|instances)", AuditType.SEARCH),
    ("GET", rf"{_WEB}/workitems", AuditType.SEARCH),
    ("*", rf"{_WEB}/workitems/(?P<workitem>[0-9.]{{1,64}})(?:/.*)?", AuditType.WORKITEM),
    ("GET", r"/training/cases/(?P<case>[^/]+)", AuditType.TRAINING),
    ("GET", r"/training/dicomweb/studies/(?P<case>[0-9.]{1,64})(?:/.*)?", AuditType.TRAINING),
    ("GET", r"/observatory(?:/versions)?/studies", AuditType.SEARCH),
)
_COMPILED = tuple((method, re.compile(path), type_) for method, path, type_ in _WAYS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How a request gets at something. study, instance, workitem, case: what the path names, '' what it does not."""

    type: AuditType
    study: str = ""
    instance: str = ""
    workitem: str = ""
    case: str = ""


def _by_path(method: str, path: str) -> Way | None:
    asked = "GET" if method == "HEAD" else method
    for each, pattern, type_ in _COMPILED:
        if each in ("*", asked) and (found := pattern.fullmatch(path)):
            return Way(type=type_, **{name: value or "" for name, value in found.groupdict().items()})
    return None


def ways_of(method: str, path: str, query: bytes) -> list[Way]:
    """Those of a request: none, one, or in the viewer one for each study that it opens."""
    way = _by_path(method, path)
    if way is None:
        return []
    if way.type is AuditType.VIEWER and not way.study:
        asked: Mapping[str, list[str]] = parse_qs(query.decode("latin-1"))
        uids = [uid for told in asked.get("StudyInstanceUIDs", []) for uid in told.split(",")]
        return [Way(type=way.type, study=uid) for uid in uids if re.fullmatch(r"[0-9.]{1,64}", uid)]
    return [way]
