"""The key image of a study: its most suspicious lesion in a small picture, and the way to it in the viewer.

Drawn from the source slice and the frozen segmentation, cut out around the lesion so that it can be seen at this size;
where that cannot be done, the whole picture that was frozen with the result (Secondary Capture), made smaller.
"""

from itertools import groupby, islice
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import RedirectResponse

from services.backends.store.key_images import KeyLesion
from services.gateway.desk import Desk, TheDesk, UidInPath
from services.gateway.dicomweb.negotiate import JPEG
from services.gateway.dicomweb.rendered import View, render
from services.gateway.dicomweb.retrieve import PREPARED_INSTANCES, prepared_metadata
from services.gateway.dicomweb.stored import StoredFile, stored_file
from services.gateway.people import only
from services.gateway.problems import ProblemError
from services.gateway.thumbnail import SIDE, CannotDraw, cut_out
from services.gateway.viewer import is_installed, link_to

router = APIRouter(include_in_schema=False)

ResultId = Annotated[str, Path(pattern=r"^[0-9a-f]{1,32}$")]
_SEES = Depends(only(lambda who: who.sees_patients))


@router.get("/studies/{uid}/key-image/{result_id}", dependencies=[_SEES])
def key_image(request: Request, desk: TheDesk, uid: UidInPath, result_id: ResultId) -> Response:
    """A JPEG. A result never changes, but it can be recalled: a browser keeps it for an hour, no proxy at all."""
    found = _lesion(desk, uid, result_id)
    headers = {"ETag": f'"{result_id}"', "Cache-Control": "private, max-age=3600"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(_picture(desk, found), media_type=JPEG, headers=headers)


@router.get("/studies/{uid}/prepared/{result_id}", dependencies=[_SEES])
def prepared(request: Request, desk: TheDesk, uid: UidInPath, result_id: ResultId) -> Response:
    """Make ready what the viewer asks for first, once a study is selected. Nothing is told: no access is recorded."""
    if desk.store.board.key_lesion(uid, result_id) is not None:
        for _, series in groupby(desk.store.archive.instances(uid), key=lambda one: one.series_instance_uid):
            instances = list(islice(series, PREPARED_INSTANCES + 1))
            if len(instances) <= PREPARED_INSTANCES:  # longer ones are streamed, whenever they are asked for
                prepared_metadata(request, desk, [stored_file(desk, one) for one in instances])
    return Response(status_code=204)


@router.get("/studies/{uid}/view/{result_id}", dependencies=[_SEES])
def view(desk: TheDesk, uid: UidInPath, result_id: ResultId) -> Response:
    """To the viewer, at this lesion."""
    found = _lesion(desk, uid, result_id)
    if not is_installed(desk.settings):
        return RedirectResponse("/ohif/", status_code=303)
    link = link_to(
        uid, series_instance_uid=found.series_instance_uid, seg_series_instance_uid=found.seg_series_instance_uid
    )
    return RedirectResponse(link, status_code=303)


def _lesion(desk: Desk, uid: str, result_id: str) -> KeyLesion:
    found = desk.store.board.key_lesion(uid, result_id)
    if found is None:
        raise _no_picture("This study has no such result that stands and tells of a lesion.")
    return found


def _picture(desk: Desk, found: KeyLesion) -> bytes:
    for seg_uid in found.segmentations[:1]:
        try:
            return cut_out(_file(desk, found, seg_uid), found.lesion, lambda source: _file(desk, found, source))
        except (CannotDraw, ProblemError):
            continue
    for capture in found.captures[:1]:
        return render(_file(desk, found, capture), 1, View(size=(SIDE, SIDE)), JPEG)
    raise _no_picture("Neither its source slice with the segmentation nor a key image of it can be drawn.")


def _file(desk: Desk, found: KeyLesion, sop_instance_uid: str) -> StoredFile:
    for stored in desk.store.archive.instances(found.study_instance_uid, None, sop_instance_uid):
        if stored.sop_instance_uid == sop_instance_uid:
            return stored_file(desk, stored)
    raise CannotDraw("an instance that is not here")


def _no_picture(detail: str) -> ProblemError:
    return ProblemError(
        404, "no_key_image", "No key image", detail=detail, way_out="Open the study: its images are there."
    )
