"""Saved views: a filter of the work list under a name of its own, kept with the person."""

from typing import Annotated

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from services.backends.store.views import LONGEST_NAME, SavedView
from services.gateway.desk import TheDesk
from services.gateway.filters import parsed
from services.gateway.language import noted
from services.gateway.people import ThePerson
from services.gateway.problems import ProblemError

router = APIRouter(include_in_schema=False)

Name = Annotated[str, Form(min_length=1, max_length=LONGEST_NAME, pattern=r"\S")]


@router.post("/views")
def save_view(
    desk: TheDesk,
    person: ThePerson,
    name: Name,
    query: Annotated[str, Form(max_length=2000)] = "",
    shared: Annotated[bool, Form()] = False,
) -> Response:
    """Keep the filter of the list; a lead's can be shown to everybody."""
    if shared and not person.leads:
        raise ProblemError(
            403,
            "not_your_part",
            "Not your part",
            detail=noted("A view for everybody is a lead's to save."),
            way_out=noted("Save it for yourself, or ask a lead."),
        )
    told = parsed(query).query()
    view = SavedView(owner=person.name, name=name.strip(), query=told, shared=shared)
    desk.store.views.save(view, now=desk.clock())
    return _to_list(told)


@router.post("/views/delete")
def delete_view(
    desk: TheDesk, person: ThePerson, name: Name, back: Annotated[str, Form(max_length=2000)] = ""
) -> Response:
    """Take one's own away. Where it is gone already, so it is."""
    desk.store.views.delete(name, owner=person.name)
    return _to_list(parsed(back).query())


def _to_list(query: str) -> Response:
    return RedirectResponse(f"/?{query}" if query else "/", status_code=303)
