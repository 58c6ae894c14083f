"""The HTML pages: the work list and one study. They work without scripts; static/refresh.js keeps them fresh."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response

from services.backends.store.board import ShownState
from services.gateway.blind import form_of
from services.gateway.desk import PAGE_SIZE, Desk, TheDesk, UidInPath, unknown_study
from services.gateway.templates import pages
from services.gateway.viewer import is_installed, link_to
from services.triage.tenant import NO_TENANT

router = APIRouter(include_in_schema=False)

State = Annotated[ShownState | None, Query()]
Tenant = Annotated[str, Query(max_length=32)]


@router.get("/")
def show_work_list(
    request: Request,
    desk: TheDesk,
    state: State = None,
    tenant: Tenant = NO_TENANT,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """The work list."""
    return _work_list(request, desk, state=state, tenant=tenant, offset=offset)


@router.post("/")
def search_work_list(
    request: Request,
    desk: TheDesk,
    search: Annotated[str, Form(max_length=64)] = "",
    state: State = None,
    tenant: Tenant = NO_TENANT,
) -> Response:
    """The work list, searched. By POST: a name in a URL would stay in histories and proxies."""
    return _work_list(request, desk, state=state, tenant=tenant, search=search.strip())


@router.get("/studies/{uid}")
def show_study(request: Request, desk: TheDesk, uid: UidInPath) -> Response:
    """One study."""
    detail = desk.store.board.study(uid)
    if detail is None:
        raise unknown_study()
    names = {
        series.series_instance_uid: f"{series.series_number or ''} {series.series_description}".strip()
        or series.series_instance_uid
        for series in detail.series
    }
    context = {
        "detail": detail,
        "series_names": names,
        "now": desk.clock(),
        "viewer_link": link_to if is_installed(desk.settings) else None,
        **form_of(detail),
    }
    return pages.TemplateResponse(request, "study.html", context)


def _work_list(
    request: Request, desk: Desk, *, state: ShownState | None, tenant: str, search: str = "", offset: int = 0
) -> Response:
    rows = desk.store.board.work_list(
        states={state} if state else None, search=search, tenant=tenant or None, limit=PAGE_SIZE + 1, offset=offset
    )

    def link(**changed: object) -> str:
        chosen = {"state": state, "tenant": tenant} | changed
        told = urlencode({name: value for name, value in chosen.items() if value not in (None, "")})
        return f"/?{told}" if told else "/"

    context = {
        "rows": rows[:PAGE_SIZE],
        "state": state,
        "tenant": tenant,
        "tenants": [one.name for one in desk.tenants.tenants],
        "link": link,
        "search": search,
        "offset": offset,
        "limit": PAGE_SIZE,
        "next_offset": offset + PAGE_SIZE if len(rows) > PAGE_SIZE else None,
        "now": desk.clock(),
    }
    return pages.TemplateResponse(request, "worklist.html", context)
