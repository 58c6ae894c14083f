"""Taking, releasing and marking studies as read, from the page (a form) and from the API (JSON)."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Response
from fastapi.responses import RedirectResponse

from services.gateway.desk import Desk, TheDesk, UidInPath, unknown_study
from services.gateway.filters import parsed
from services.gateway.language import noted
from services.gateway.language import translated as _
from services.gateway.people import ThePerson, only
from services.gateway.problems import ProblemError
from services.triage.errors import ReadingRefused
from services.triage.person import Person
from services.triage.reading import ReadingAction, ReadingStep

router = APIRouter(include_in_schema=False)

ActionWord = Literal["take", "release", "read", "reopen"]
_ACTIONS: dict[str, ReadingAction] = {
    "take": ReadingAction.TAKEN,
    "release": ReadingAction.RELEASED,
    "read": ReadingAction.READ,
    "reopen": ReadingAction.REOPENED,
}

_REFUSED = {
    "taken": noted("Another reader has taken it meanwhile."),
    "read": noted("Another reader has read it meanwhile: open it again first."),
    "not_yours": noted("A study is given back by who has it."),
    "changed": noted("Newer images or a newer AI result came meanwhile: look at them first."),
}


@router.post("/studies/{uid}/reading", dependencies=[Depends(only(lambda who: who.reads))])
def read_from_page(
    desk: TheDesk,
    person: ThePerson,
    uid: UidInPath,
    action: Annotated[ActionWord, Form()],
    seen: Annotated[str, Form(max_length=200)] = "",
    shown: Annotated[str, Form(max_length=100)] = "",
    back: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Do it, and go back to the list. seen, shown: who had the study, and what it told of it; back: its filters."""
    enter(desk, person, uid, action, seen=seen, shown=shown)
    query = parsed(back).query()
    return RedirectResponse(f"/?{query}" if query else "/", status_code=303)


def enter(desk: Desk, person: Person, uid: str, action: ActionWord, *, seen: str | None, shown: str = "") -> bool:
    """Do it in the name of this person; False: it was so already. Raises ProblemError (404, 409).

    shown: `StudyRow.shown` as the reader saw it, to mark as read; '': whatever is there.
    """
    # the time first: what comes after the look below is newer than the step, and then the study is unread again
    step = ReadingStep(action=_ACTIONS[action], reader=person.name, at=desk.clock())
    try:
        if step.action is ReadingAction.READ and shown:
            _require_shown(desk, uid, shown)
        return desk.store.readings.enter(uid, step, seen=seen)
    except ReadingRefused as refused:
        if refused.reason.code == "unknown_study":
            raise unknown_study() from refused
        raise ProblemError(
            409,
            f"reading_{refused.reason.code}",
            _("The study is not as the list showed it"),
            detail=_(_REFUSED[refused.reason.code]),
            way_out=_("Go back to the list: it shows the study as it is now. Take it over there if that is agreed."),
        ) from refused


def _require_shown(desk: Desk, uid: str, shown: str) -> None:
    if desk.store.board.as_shown(uid) not in (None, shown):  # unknown: refused when it is entered
        raise ReadingRefused("changed", "newer images or a newer result came meanwhile")
