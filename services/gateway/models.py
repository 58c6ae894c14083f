"""The page of models: which are switched off, switching them, and recalling the results of a period."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from starlette.responses import RedirectResponse

from services.backends.store.switches import ModelRow
from services.gateway.desk import Desk, TheDesk
from services.gateway.language import noted
from services.gateway.language import translated as _
from services.gateway.models_api import scope_of
from services.gateway.people import ThePerson
from services.gateway.problems import ProblemError
from services.gateway.switching import concerns, known_models
from services.gateway.templates import pages
from services.triage.finding import Outcome
from services.triage.person import Person
from services.triage.switch import EVERY, Kept, ModelScope, Period, Switch

router = APIRouter(include_in_schema=False)

Which = Annotated[str, Form(max_length=200, description="Model and version, as the form offers them.")]
Tenant = Annotated[str, Form(max_length=32)]
Why = Annotated[str, Form(min_length=1, max_length=500)]
Local = Annotated[str, Form(max_length=32, description="A moment in the server's time zone, or nothing.")]

_SEPARATOR = "\t"  # in no name of a model, and in no version
OUTCOME_WORDS = {
    Outcome.FOUND: noted("found"),
    Outcome.EQUIVOCAL: noted("equivocal"),
    Outcome.NOTHING_FOUND: noted("nothing found"),
    Outcome.NOT_ANALYSED: noted("not analysed"),
    Outcome.FAILED: noted("failed"),
}


@router.get("/models")
def show(request: Request, desk: TheDesk, person: ThePerson) -> Response:
    """The page."""
    return _page(request, desk, person)


@router.post("/models/switch-off")
def switch_off(
    desk: TheDesk,
    person: ThePerson,
    which: Which,
    reason: Why,
    tenant: Tenant = EVERY,
) -> Response:
    """Switch off, and show the page."""
    scope = scope_of(desk, person, _scope(which, tenant))
    desk.store.switches.switch_off(scope, reason=reason.strip(), actor=person.name, now=desk.clock())
    return RedirectResponse("/models", status_code=303)


@router.post("/models/switch-on")
def switch_on(
    desk: TheDesk,
    person: ThePerson,
    which: Which,
    reason: Why,
    kept: Annotated[Kept, Form()],
    tenant: Tenant = EVERY,
) -> Response:
    """Switch on, and show the page."""
    scope = scope_of(desk, person, _scope(which, tenant))
    desk.store.switches.switch_on(scope, kept=kept, reason=reason.strip(), actor=person.name, now=desk.clock())
    return RedirectResponse("/models", status_code=303)


@router.post("/models/recall")
def recall(
    request: Request,
    desk: TheDesk,
    person: ThePerson,
    which: Which,
    reason: Why,
    tenant: Tenant = EVERY,
    since: Local = "",
    until: Local = "",
    counted: Annotated[bool, Form(description="The count was shown, and is to be recalled.")] = False,
) -> Response:
    """First count and ask, then recall."""
    scope, now = scope_of(desk, person, _scope(which, tenant)), desk.clock()
    period = Period(since=_moment(since), until=min(_moment(until) or now, now))
    if counted:
        desk.store.campaigns.ask(scope, period, reason=reason.strip(), actor=person.name, now=now)
        return RedirectResponse("/models", status_code=303)
    context = {
        "count": desk.store.campaigns.count(scope, period),
        "scope": scope,
        "period": period,
        "which": _which(scope),
        "reason": reason.strip(),
        "notes": desk.settings.recall_notes,
    }
    return pages.TemplateResponse(request, "recall.html", context)


def _page(request: Request, desk: Desk, person: Person) -> Response:
    switches, now = desk.store.switches, desk.clock()
    off = [each for each in switches.off() if concerns(each.scope, person.tenants)]
    context = {
        "models": [(row, _off(row, off)) for row in switches.models(person.tenants or None)],
        "off": [(each, _which(each.scope), _kept(desk, each, now)) for each in off],
        "choices": _choices(known_models(desk.settings, desk.store)),
        "tenants": [one.name for one in desk.tenants.tenants],
        "may_choose_all": len(person.tenants) == 0,
        "history": [each for each in switches.history() if concerns(each.scope, person.tenants)],
        "campaigns": [each for each in desk.store.campaigns.listed() if concerns(each.scope, person.tenants)],
        "outcome_words": OUTCOME_WORDS,
        "every": EVERY,
        "now": now,
    }
    return pages.TemplateResponse(request, "models.html", context)


def _kept(desk: Desk, switch: Switch, now: datetime) -> int:
    """How many results would be sent, or recalled, were it switched on now."""
    return desk.store.campaigns.count(switch.scope, Period(since=switch.at, until=now, kept=True))


def _off(row: ModelRow, off: Sequence[Switch]) -> list[Switch]:
    """What switches this version off, for anybody."""
    return [each for each in off if each.scope.model_name == row.name and each.scope.version in (EVERY, row.version)]


def _choices(known: dict[str, tuple[str, ...]]) -> list[tuple[str, str, str]]:
    """(value, model, version) of what can be chosen."""
    found = [(name, version) for name, versions in known.items() for version in (EVERY, *versions)]
    return [(_SEPARATOR.join(each), *each) for each in found]


def _which(scope: ModelScope) -> str:
    return f"{scope.model_name}{_SEPARATOR}{scope.version}"


def _scope(which: str, tenant: str) -> ModelScope:
    name, _sep, version = which.partition(_SEPARATOR)
    return ModelScope(model_name=name, version=version or EVERY, tenant=tenant)


def _moment(text: str) -> datetime | None:
    """Of <input type="datetime-local">. Raises ProblemError (422)."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise ProblemError(
            422,
            "invalid_request",
            _("Not a moment"),
            detail=_("From or until is no date with a time."),
            way_out=_("Write it as the form does: 2026-03-02T09:00."),
        ) from error
