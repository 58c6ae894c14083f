"""The work list as an HTML page. It works without scripts; static/refresh.js keeps it fresh."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response

from services.backends.store.board import AiSays
from services.gateway.audit.asked import query_made
from services.gateway.desk import PAGE_SIZE, Desk, TheDesk
from services.gateway.filters import (
    LONGEST_SEARCH,
    After,
    Before,
    ListQuery,
    TheListQuery,
    place,
    written,
)
from services.gateway.people import ThePerson
from services.gateway.templates import pages
from services.gateway.viewer import is_installed
from services.triage.audit_types import AuditType
from services.triage.completeness import ROUTABLE_MODALITIES
from services.triage.person import Person
from services.triage.reading import AGEING

router = APIRouter(include_in_schema=False)


@router.get("/")
def show_work_list(
    request: Request,
    desk: TheDesk,
    person: ThePerson,
    asked: TheListQuery,
    before: Before = None,
    after: After = None,
) -> Response:
    """The work list."""
    return _work_list(request, desk, person, asked, before=before, after=after)


@router.post("/")
def search_work_list(
    request: Request,
    desk: TheDesk,
    person: ThePerson,
    asked: TheListQuery,
    search: Annotated[str, Form(max_length=LONGEST_SEARCH)] = "",
) -> Response:
    """The work list, searched. By POST: a name in a URL would stay in histories and proxies."""
    search = search.strip()
    page = _work_list(request, desk, person, asked, search=search)
    query_made(request.app.state.audit, AuditType.WORK_LIST, request, {"search": search} if search else None)
    return page


def _work_list(
    request: Request,
    desk: Desk,
    person: Person,
    asked: ListQuery,
    *,
    search: str = "",
    before: str | None = None,
    after: str | None = None,
) -> Response:
    # first: what happens while the page is made is told to it as news
    newest = desk.store.board.newest_event()
    page = desk.store.board.page(asked.wanted(person, search), at=place(before, after), limit=PAGE_SIZE)

    def link(**changed: Any) -> str:
        told = asked.query(**changed)
        return f"/?{told}" if told else "/"

    context = {
        "person": person,
        "rows": page.rows,
        "waiting": desk.store.board.waiting(tenant=asked.tenant),
        "asked": asked,
        "query": asked.query(),
        "link": link,
        "search": search,
        "limit": PAGE_SIZE,
        "previous": None if search else written(page.before),
        "next": written(page.after),
        "newest": newest,
        "now": desk.clock(),
        "ageing_h": int(AGEING.total_seconds() // 3600),
        "views": desk.store.views.of(person.name),
        "tenants": [one.name for one in desk.tenants.tenants],
        "models": desk.store.board.model_names(),
        "modalities": sorted(ROUTABLE_MODALITIES),
        "ai_kinds": list(AiSays),
        "has_viewer": is_installed(desk.settings),
    }
    return pages.TemplateResponse(request, "worklist.html", context)
