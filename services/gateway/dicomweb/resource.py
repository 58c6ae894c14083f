"""What the path names: a study, a series, an instance; and the instances that it stands for."""

import re
from dataclasses import dataclass

from fastapi import Request

from services.backends.store.archive import StoredInstance
from services.gateway.desk import Desk
from services.gateway.dicomweb.gone import images_gone
from services.gateway.dicomweb.root import ROOT, root_url
from services.gateway.problems import ProblemError
from services.gateway.tenant_paths import asked_for

_UID = re.compile(r"[0-9.]{1,64}")


def is_uid(text: str) -> bool:
    """Whether it may stand in a path for a UID."""
    return _UID.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """The UIDs of a path (PS3.18 10.1.1), None where it names none.

    tenant: whose studies, by the path or the query parameter; None: everybody's.
    """

    study: str | None = None
    series: str | None = None
    instance: str | None = None
    tenant: str | None = None


def resource(request: Request) -> Resource:
    """Of a request. Raises ProblemError (400)."""
    names = {name: request.path_params[name] for name in ("study", "series", "instance") if name in request.path_params}
    if not all(is_uid(uid) for uid in names.values()):
        raise bad_request("invalid_uid", "A UID of the path is not made of digits and dots, at most 64.")
    return Resource(**names, tenant=asked_for(request))


def instances(desk: Desk, wanted: Resource) -> list[StoredInstance]:
    """What it stands for, at least one. Raises ProblemError (404; 410: not kept any more), StoreUnavailable."""
    assert wanted.study is not None  # noqa: S101  # every path to retrieve names a study
    is_theirs = wanted.tenant is None or desk.store.tenant(wanted.study) == wanted.tenant
    found = desk.store.archive.instances(wanted.study, wanted.series, wanted.instance) if is_theirs else []
    if not found and is_theirs and desk.store.archive.gone(wanted.study, wanted.series, wanted.instance):
        raise images_gone()
    if not found:
        raise ProblemError(
            404,
            "unknown_resource",
            "Unknown resource",
            detail="No instance of what the path names was kept.",
            way_out=f"GET {ROOT}/studies lists the studies, {ROOT}/studies/{{study}}/series the series of one.",
        )
    return found


def warnings(desk: Desk, wanted: Resource) -> dict[str, str]:
    """What is said beside an answer that lacks images which are not kept here any more (PS3.18 8.3.4)."""
    assert wanted.study is not None  # noqa: S101  # as above
    gone = desk.store.archive.gone(wanted.study, wanted.series, wanted.instance)
    return {"Warning": '299 vigie "Images of it are no longer kept here: retrieve them from the PACS."'} if gone else {}


def url(request: Request, one: StoredInstance | None = None, *, study: str = "", series: str = "") -> str:
    """Where something is retrieved from, as this caller reaches us."""
    if one is not None:
        study, series = one.study_instance_uid, one.series_instance_uid
    path = f"/studies/{study}"
    path += f"/series/{series}" if series else ""
    path += f"/instances/{one.sop_instance_uid}" if one is not None else ""
    return root_url(request) + path


def bad_request(
    code: str, detail: str, way_out: str = "See PS3.18 section 10 for the form of the request."
) -> ProblemError:
    """The answer to a request that cannot be understood; its text must not quote what was sent."""
    return ProblemError(400, code, "Bad request", detail=detail, way_out=way_out)
