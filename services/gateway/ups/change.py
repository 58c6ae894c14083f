"""Changing workitems: state, attributes, a request to cancel (PS3.18 11.6 to 11.8, PS3.4 CC.2)."""

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydicom.datadict import dictionary_VR, keyword_for_tag

from services.backends.store.workitems import ACTOR, Changed
from services.gateway.access.caller import actor_of
from services.gateway.desk import Desk
from services.gateway.dicomweb.json_model import DicomJson
from services.gateway.dicomweb.levels import tag_of
from services.gateway.dicomweb.resource import bad_request
from services.gateway.problems import Problem
from services.gateway.ups.request import TRANSACTION_UID, text, transaction_uid, workitem_uid
from services.gateway.ups.search import address, unknown_workitem
from services.triage.errors import WorkitemRefused
from services.triage.workitem import ProcedureStepState

UPDATABLE = {
    tag_of(keyword): keyword
    for keyword in (
        "ProcedureStepProgressInformationSequence",
        "UnifiedProcedureStepPerformedProcedureSequence",
        "ScheduledHumanPerformersSequence",
        "ScheduledStationNameCodeSequence",
        "ScheduledStationClassCodeSequence",
        "ScheduledStationGeographicLocationCodeSequence",
        "ScheduledProcedureStepStartDateTime",
        "ExpectedCompletionDateTime",
        "ScheduledProcedureStepExpirationDateTime",
    )
}
"""What others may set, by tag. Patient, order, inputs, label and priority are those of the study and its result."""

_IGNORED = frozenset({TRANSACTION_UID, tag_of("SpecificCharacterSet")})
_TYPE_1 = {tag for tag, keyword in UPDATABLE.items() if keyword.endswith("DateTime")}  # PS3.4 table CC.2.5-3
_REASON_LENGTH = 1024  # in the history and in the workitem
_STATE, _REASON = tag_of("ProcedureStepState"), tag_of("ReasonForCancellation")

# What is wrong with the request is 400, else it is the state of the workitem: 409 (PS3.18 11.6.3, 11.7.3).
_STATUS = {"transaction_uid_missing": 400, "transaction_uid_incorrect": 400, "may_not_be_scheduled": 400}
_WARNING = {
    "transaction_uid_missing": "The Transaction UID is missing.",
    "transaction_uid_incorrect": "The Transaction UID is incorrect.",
}
_INCONSISTENT = "The submitted request is inconsistent with the state of the UPS Instance."
_WAY_OUT = {
    "transaction_uid_missing": "Send the Transaction UID that the workitem was claimed with; to claim it, a new one.",
    "transaction_uid_incorrect": "Only whoever claimed the workitem may change it, with the UID of the claim.",
    "already_in_progress": "Take another: GET .../workitems?ProcedureStepState=SCHEDULED.",
    "not_in_progress": "PUT .../state with IN PROGRESS and a new Transaction UID first.",
    "final_state_requirements": "POST the attributes named to the workitem, then ask for the state again.",
    "performer_not_reachable": "Ask whoever reads the study; the owner cancels by PUT .../state.",
}


def change_state(request: Request, desk: Desk, told: DicomJson) -> Response:
    """Claim, complete or cancel a workitem. Raises ProblemError (400, 404)."""
    wanted = text(told, _STATE)
    if wanted not in set(ProcedureStepState):
        states = ", ".join(state for state in ProcedureStepState if state is not ProcedureStepState.SCHEDULED)
        raise bad_request("invalid_state", f"(0074,1000) is not one of {states}.")
    state, given = ProcedureStepState(wanted), transaction_uid(request, told)
    try:
        changed = desk.store.workitems.change_state(
            workitem_uid(request), state, transaction_uid=given, now=desk.clock(), actor=actor_of(request, ACTOR)
        )
    except WorkitemRefused as refusal:
        return _refused(refusal)
    return _changed(request, changed, already=state)


def update(request: Request, desk: Desk, told: DicomJson) -> Response:
    """Set attributes of a workitem. Raises ProblemError (400, 404)."""
    given = transaction_uid(request, told)
    changes = {tag: element for tag, element in told.items() if tag not in _IGNORED}
    if refused := sorted(set(changes) - set(UPDATABLE)):
        names = ", ".join(keyword_for_tag(tag) or f"({tag[:4]},{tag[4:]})" for tag in refused)
        raise bad_request("not_updatable", f"{names} may not be set.", f"Set only: {', '.join(UPDATABLE.values())}.")
    if not changes:
        raise bad_request("nothing_to_update", "The data set has no attribute to set.")
    _check(changes)
    try:
        changed = desk.store.workitems.update(workitem_uid(request), changes, transaction_uid=given, now=desk.clock())
    except WorkitemRefused as refusal:
        # PS3.18 11.6.2: here a final state is 400
        return _refused(refusal, status=400 if refusal.reason.code == "no_longer_updated" else None, updating=True)
    return _changed(request, changed)


def request_cancel(request: Request, desk: Desk, told: DicomJson) -> Response:
    """Cancel what nobody has claimed. Raises ProblemError (400, 404)."""
    reason = text(told, _REASON)[:_REASON_LENGTH] or "canceled on request"
    try:
        changed = desk.store.workitems.request_cancel(
            workitem_uid(request), reason=reason, now=desk.clock(), actor=actor_of(request, ACTOR)
        )
    except WorkitemRefused as refusal:
        return _refused(refusal)
    return _changed(request, changed, already=ProcedureStepState.CANCELED, status=202)


def _check(changes: DicomJson) -> None:
    for tag, element in changes.items():
        if element["vr"] != dictionary_VR(int(tag, 16)):
            raise bad_request("malformed_data_set", f"{UPDATABLE[tag]} has another VR than {element['vr']}.")
        if tag in _TYPE_1 and not element.get("Value"):
            raise bad_request("malformed_data_set", f"{UPDATABLE[tag]} may not be empty.")


def _changed(
    request: Request, changed: Changed, *, already: ProcedureStepState | None = None, status: int = 200
) -> Response:
    if changed is Changed.UNKNOWN:
        raise unknown_workitem()
    headers = {"Content-Location": address(request, workitem_uid(request))}
    if changed is Changed.ALREADY:
        headers |= _warning(f"The UPS is already in the requested state of {already}.")
    return Response(status_code=status, headers=headers)


def _refused(refusal: WorkitemRefused, *, status: int | None = None, updating: bool = False) -> Response:
    reason = refusal.reason
    problem = Problem(
        title="The workitem was not changed",
        status=status or _STATUS.get(reason.code, 409),
        code=reason.code,
        detail=f"{reason.text[0].upper()}{reason.text[1:]}.",
        way_out=_WAY_OUT.get(reason.code, "GET the workitem to see its state; nothing more can be done to it."),
    )
    if updating:
        text_of = "The submitted request is inconsistent with the current state of the Workitem."
        if reason.code == "not_in_progress" or reason.code in _WARNING:
            text_of = "The target URI did not reference a claimed Workitem."
    else:
        text_of = _WARNING.get(reason.code, _INCONSISTENT)
    return JSONResponse(problem.model_dump(), problem.status, _warning(text_of), "application/problem+json")


def _warning(text_of: str) -> dict[str, str]:
    return {"Warning": f'299 vigie "{text_of}"'}
