"""The paths of UPS-RS (PS3.18 11.1), below the root of DICOMweb."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from services.gateway.desk import Desk, TheDesk
from services.gateway.dicomweb.json_model import DicomJson
from services.gateway.dicomweb.negotiate import DICOM_JSON
from services.gateway.dicomweb.route import add_read, described
from services.gateway.problems import ProblemError
from services.gateway.ups.change import UPDATABLE, change_state, request_cancel, update
from services.gateway.ups.request import data_set, data_set_or_none
from services.gateway.ups.search import PAGE_LIMIT, existing, retrieve, search

_WORKITEM = "/workitems/{workitem}"
_SUBSCRIBERS = (f"{_WORKITEM}/subscribers/{{aet}}", f"{_WORKITEM}/subscribers/{{aet}}/suspend", "/subscribers/{aet}")
_SEARCH_PARAMETERS = {
    "limit": f"Workitems in one answer; at most {PAGE_LIMIT}, which is the default.",
    "offset": "How many to leave out: those of earlier pages.",
    "includefield": "InputInformationSequence or all: with a reference to every analysed image.",
    "fuzzymatching": "true: names that are spelled or sound alike match too.",
}
_ASKED = {
    400: "The request cannot be understood.",
    404: "There is no such workitem.",
    406: "Only application/dicom+json and application/json are given.",
}
_CHANGED = {
    400: "The request cannot be understood, or its Transaction UID is missing or not that of the claim; see Warning.",
    404: "There is no such workitem.",
    409: "The state of the workitem does not allow it; see Warning.",
    415: "Only application/dicom+json and application/json are taken.",
}
_Change = Callable[[Request, Desk, DicomJson], Response]


def ups_router() -> APIRouter:
    """The routes; each asks or changes the store of the application's desk."""
    router = APIRouter(tags=["dicomweb"])
    add_read(
        router,
        "/workitems",
        search,
        summary="Search for reviews (UPS-RS)",
        **described(
            "/workitems",
            media_types=[DICOM_JSON],
            problems=_ASKED,
            also={204: "Nothing matches.", 206: "As 200; more remain."},
            parameters=_SEARCH_PARAMETERS,
            description="Any attribute is a query parameter too, by keyword or tag, inside sequences with dots.",
        ),
    )
    add_read(
        router,
        _WORKITEM,
        retrieve,
        summary="A review",
        **described(_WORKITEM, media_types=[DICOM_JSON], problems=_ASKED),
    )
    _add_change(
        router,
        "PUT",
        f"{_WORKITEM}/state",
        change_state,
        summary="Claim, complete or cancel a review",
        body="Transaction UID (0008,1195) and Procedure Step State (0074,1000): IN PROGRESS, COMPLETED or CANCELED.",
    )
    _add_change(
        router,
        "POST",
        _WORKITEM,
        update,
        summary="Set attributes of a review",
        body=f"Some of {', '.join(UPDATABLE.values())}.",
        parameters={"transaction-uid": "Of the claim, once the workitem is IN PROGRESS."},
    )
    _add_change(
        router,
        "POST",
        f"{_WORKITEM}/cancelrequest",
        request_cancel,
        summary="Ask for a review to be canceled that nobody has claimed",
        body="Nothing, or ReasonForCancellation.",
        status=202,
        told=data_set_or_none,
    )
    router.add_api_route(
        "/workitems",
        _created_by_us_alone,
        methods=["POST"],
        summary="Create a workitem: always refused",
        **described("/workitems", media_types=[], status=403, problems={403: "They are made by us alone."}),
    )
    for path in _SUBSCRIBERS:
        router.add_api_route(path, _no_events, methods=["GET", "POST", "DELETE"], include_in_schema=False)
    return router


def _add_change(
    router: APIRouter,
    method: str,
    path: str,
    change: _Change,
    *,
    summary: str,
    told: Callable[..., Any] = data_set,
    **about: Any,
) -> None:
    def ups(request: Request, desk: TheDesk, sent: Annotated[DicomJson, Depends(told)]) -> Response:
        existing(request, desk)
        return change(request, desk, sent)

    about = described(path, media_types=[], problems=_CHANGED, **about)
    router.add_api_route(path, ups, methods=[method], summary=summary, **about)


def _created_by_us_alone() -> Response:
    raise ProblemError(
        403,
        "created_by_us_alone",
        "Workitems are not taken",
        detail="Vigie manages the reviews of its own results; it makes a workitem with each result that asks for one.",
        way_out="Create other procedure steps at the worklist manager of the department.",
    )


def _no_events() -> Response:
    raise ProblemError(
        501,
        "no_subscriptions",
        "No subscriptions",
        detail="Events of workitems (PS3.18 11.10 to 11.13) are not sent.",
        way_out="Ask again from time to time: GET .../workitems?ProcedureStepState=SCHEDULED.",
    )
