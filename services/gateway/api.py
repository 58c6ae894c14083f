"""The JSON API: the work list, one study, its completion, and the bytes of the result objects."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.responses import FileResponse

from services.gateway.desk import PAGE_LIMIT, PAGE_SIZE, TheDesk, UidInPath, unknown_study
from services.gateway.filters import After, Before, TheListQuery, place, written
from services.gateway.people import ThePerson, only
from services.gateway.problems import ProblemError
from services.gateway.problems import documented as _problems
from services.gateway.reading import enter
from services.gateway.recall import recall
from services.gateway.schemas import (
    AnalysisOut,
    CompletionOut,
    ReadingIn,
    ReadingOut,
    RecallIn,
    RecallOut,
    StudyDetailOut,
    StudyListOut,
    StudyOut,
)
from services.triage.errors import OutOfResources
from services.triage.job import OrderPriority

router = APIRouter(prefix="/api")


@router.get(
    "/studies",
    tags=["studies"],
    summary="The work list",
    response_model=StudyListOut,
)
def list_studies(
    desk: TheDesk,
    person: ThePerson,
    asked: TheListQuery,
    search: Annotated[
        str,
        Query(max_length=64, description="Part of patient name, ID, accession number, description or study UID."),
    ] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = PAGE_SIZE,
    before: Before = None,
    after: After = None,
) -> StudyListOut:
    """STAT first; then by the order's priority, then the AI's flag, then arrival.

    A study that has waited eight hours moves up one step; none moves past STAT. Without a filter those that are not
    read yet, and none that is out of scope. A query string is kept by proxies and browser histories: let no `search`
    with patient data leave a trusted network. Who may not see patients gets the list without them.
    """
    page = desk.store.board.page(asked.wanted(person, search), at=place(before, after), limit=limit)
    return StudyListOut(
        studies=[StudyOut.model_validate(row) for row in page.rows],
        limit=limit,
        previous=written(page.before),
        next=written(page.after),
    )


@router.post(
    "/studies/{uid}/reading",
    tags=["studies"],
    summary="Take a study, give it back, mark it as read, or open it again",
    dependencies=[Depends(only(lambda who: who.reads))],
    responses=_problems(
        s404="No instance of this study was kept.",
        s409="Another reader has taken or read it meanwhile.",
    ),
    response_model=ReadingOut,
)
def read_study(desk: TheDesk, person: ThePerson, uid: UidInPath, body: ReadingIn) -> ReadingOut:
    """In the name of whoever asks. What is so already stays so."""
    enter(desk, person, uid, body.action, seen=body.seen)
    detail = desk.store.board.study(uid)
    if detail is None:
        raise unknown_study()
    return ReadingOut.model_validate(detail.row.reading)


@router.get(
    "/studies/{uid}",
    tags=["studies"],
    summary="One study: state, history, lesions, reasons, objects, deliveries",
    responses=_problems(s404="No instance of this study was kept."),
    response_model=StudyDetailOut,
)
def get_study(desk: TheDesk, uid: UidInPath) -> StudyDetailOut:
    """All that is known of one study, every version and every job of it included."""
    detail = desk.store.board.study(uid)
    if detail is None:
        raise unknown_study()
    return StudyDetailOut.model_validate(detail)


@router.post(
    "/studies/{uid}/complete",
    tags=["studies"],
    summary="Complete a study now, without waiting for its quiet period",
    status_code=202,
    responses=_problems(s404="No instance of this study was kept.", s409="No version of the study is receiving."),
    response_model=CompletionOut,
)
def complete_study(
    desk: TheDesk,
    person: ThePerson,
    uid: UidInPath,
    priority: Annotated[
        Literal["stat", "high", "routine"], Query(description="Priority of the order, at least; it never lowers one.")
    ] = "routine",
) -> CompletionOut:
    """Asks for completion; an image that arrives later opens a new version."""
    asked = OrderPriority[priority.upper()]
    if desk.store.ask_completion(uid, actor=person.name, now=desk.clock(), priority=asked):
        return CompletionOut(study_instance_uid=uid)
    if desk.store.board.study(uid) is None:
        raise unknown_study()
    raise ProblemError(
        409,
        "nothing_receiving",
        "Nothing is receiving",
        detail="The newest version of this study is complete already, or no image of it has come.",
        way_out="Nothing needs to be done; GET /api/studies/{uid} shows where the study stands.",
    )


@router.post(
    "/studies/{uid}/analyse",
    tags=["studies"],
    summary="Have the models of today look at the study again",
    status_code=202,
    responses=_problems(s404="No instance of this study was kept.", s409="A job is ahead, or images are gone."),
    response_model=AnalysisOut,
)
def analyse_study(desk: TheDesk, person: ThePerson, uid: UidInPath) -> AnalysisOut:
    """A new version of the study, new results that name their predecessors; the study keeps its place in the list."""
    if desk.store.ask_analysis(uid, actor=person.name, now=desk.clock()):
        return AnalysisOut(study_instance_uid=uid)
    detail = desk.store.board.study(uid)
    if detail is None:
        raise unknown_study()
    if any(one.deleted_count for one in detail.series):
        raise ProblemError(
            409,
            "images_not_kept",
            "Images no longer kept here",
            detail="Vigie keeps images for a while only; images of this study have been deleted.",
            way_out="Have the PACS send the whole study again, then ask once more.",
        )
    raise ProblemError(
        409,
        "analysis_ahead",
        "An analysis is ahead",
        detail="Images of this study still arrive, or a model has yet to look at them; or no image of it has come.",
        way_out="Nothing needs to be done; GET /api/studies/{uid} shows where the study stands.",
    )


@router.get(
    "/results/{sop_instance_uid}",
    tags=["results"],
    summary="A result object (SEG, SR) as it was frozen and delivered",
    response_class=FileResponse,
    responses={
        200: {"description": "DICOM Part 10 bytes; the ETag is their SHA-256.", "content": {"application/dicom": {}}},
        304: {"description": "The caller has these bytes already."},
        **_problems(s404="No result object has this UID."),
    },
)
def get_result(desk: TheDesk, sop_instance_uid: UidInPath, if_none_match: Annotated[str, Header()] = "") -> Response:
    """The bytes never change: a new computation makes a new SOP Instance UID."""
    sha256 = desk.store.board.result_object(sop_instance_uid)
    if sha256 is None:
        raise ProblemError(
            404,
            "unknown_result",
            "Unknown result object",
            detail="No result object has this SOP Instance UID.",
            way_out="GET /api/studies/{uid} lists the objects of every result of a study.",
        )
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, no-cache"}
    if headers["ETag"] in (tag.strip().removeprefix("W/") for tag in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    try:
        path = desk.files.result_path(sha256)
    except FileNotFoundError as error:
        raise ProblemError(
            500,
            "result_file_missing",
            "The file of this result object is missing",
            detail="The store knows the object, but its file is not in the data folder.",
            way_out="Restore the data folder from a backup that matches the database.",
        ) from error
    return FileResponse(path, media_type="application/dicom", filename=f"{sop_instance_uid}.dcm", headers=headers)


@router.post(
    "/results/{result_id}/recall",
    tags=["results"],
    summary="Take a result back: it moves no study up any more, and is sent no more",
    responses=_problems(s404="No result has this id.", s507="No space left for a rejection note."),
    response_model=RecallOut,
)
def recall_result(
    desk: TheDesk,
    person: ThePerson,
    result_id: Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="`result_id` of a study's result.")],
    body: RecallIn,
) -> RecallOut:
    """A result stays recalled; recalling it again answers the first recall.

    With VIGIE_RECALL_NOTES, destinations that have the result get a Key Object Selection that rejects it (IHE IOCM).
    """
    notes, now = desk.settings.recall_notes, desk.clock()
    try:
        recalled = recall(
            desk.store, desk.files, result_id, reason=body.reason, actor=person.name, notes=notes, now=now
        )
    except OutOfResources as error:
        raise ProblemError(
            507,
            "no_space_left",
            "No space left",
            detail="The rejection note cannot be kept; nothing was recalled.",
            way_out="Free some space in the data folder, and recall again.",
        ) from error
    if recalled is None:
        raise ProblemError(
            404,
            "unknown_result",
            "Unknown result",
            detail="No result has this id.",
            way_out="GET /api/studies/{uid} lists every result of a study with its result_id.",
        )
    return RecallOut.model_validate(recalled)
