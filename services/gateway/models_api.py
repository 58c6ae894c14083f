"""The JSON API of models: which are switched off, switching, and recalling the results of a period."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from services.gateway.days import Moment
from services.gateway.desk import Desk, TheDesk
from services.gateway.people import ThePerson
from services.gateway.problems import ProblemError, documented
from services.gateway.switching import concerns, known_models, require_known, within
from services.triage.errors import SwitchRefused
from services.triage.person import Person
from services.triage.switch import EVERY, Campaign, Kept, ModelScope, Period, Switch

router = APIRouter(prefix="/api", tags=["models"])

ModelName = Annotated[str, Path(max_length=128, description="Name of a model, as GET /api/models has it.")]
Reason = Annotated[str, Field(min_length=1, max_length=500, description="For the history; no patient data.")]


class ScopeIn(BaseModel):
    """Which version, for whose studies; '*': every."""

    model_config = ConfigDict(str_strip_whitespace=True, extra="forbid")

    version: str = Field(EVERY, max_length=64)
    tenant: str = Field(EVERY, max_length=32)
    reason: Reason


class SwitchOnIn(ScopeIn):
    """kept: whether the results that were kept back are sent now, or recalled."""

    kept: Kept


class PeriodIn(ScopeIn):
    """Results frozen from `since` (null: ever) until before `until` (null: now)."""

    since: Moment | None = None
    until: Moment | None = None
    dry_run: StrictBool = Field(False, description="Only count what would be recalled.")


class ScopeOut(BaseModel):
    """A model, a version of it or '*', and a tenant or '*'."""

    model_config = ConfigDict(from_attributes=True)

    model_name: str
    version: str
    tenant: str


class SwitchOut(BaseModel):
    """One switch: off or on, when, by whom and why."""

    model_config = ConfigDict(from_attributes=True)

    scope: ScopeOut
    on: bool
    at: datetime
    actor: str
    reason: str
    kept: Kept | None


class ModelRowOut(BaseModel):
    """One version of a model. version: '' where it has no result yet. outcomes: of results that are not withheld."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    version: str
    outcomes: dict[str, int]
    last_frozen_at: datetime | None


class ModelsOut(BaseModel):
    """Models by their results, what is off now, and every switch, newest first."""

    models: list[ModelRowOut]
    off: list[SwitchOut]
    history: list[SwitchOut]


class CampaignOut(BaseModel):
    """The recall of a period. finished_at: null while `left` are to be recalled. trouble: of the last try to go on."""

    model_config = ConfigDict(from_attributes=True)

    campaign_id: str
    scope: ScopeOut
    since: datetime | None
    until: datetime
    actor: str
    reason: str
    asked_at: datetime
    finished_at: datetime | None
    recalled: int
    left: int
    trouble: str

    @classmethod
    def of(cls, campaign: Campaign) -> "CampaignOut":
        """Of a campaign."""
        told = {name: getattr(campaign, name) for name in cls.model_fields if name not in ("since", "until", "scope")}
        period = campaign.period
        return cls(scope=ScopeOut.model_validate(campaign.scope), since=period.since, until=period.until, **told)


class RecallPeriodOut(BaseModel):
    """results: how many are recalled, or would be. campaign: null on a dry run; its progress is at /api/recalls."""

    results: int
    campaign: CampaignOut | None


class SwitchedOut(BaseModel):
    """changed: false where it was so before. campaign: the recall of what was kept back, where that was chosen."""

    changed: bool
    campaign: CampaignOut | None = None


@router.get(
    "/models",
    summary="Models, and which are switched off",
    response_model=ModelsOut,
)
def list_models(desk: TheDesk, person: ThePerson) -> ModelsOut:
    """By name and version, with the results of the studies that you see."""
    switches = desk.store.switches
    return ModelsOut(
        models=[ModelRowOut.model_validate(row) for row in switches.models(person.tenants or None)],
        off=_told(switches.off(), person),
        history=_told(switches.history(), person),
    )


@router.post(
    "/models/{name}/switch-off",
    summary="Switch a model off at once",
    response_model=SwitchedOut,
    responses=documented(s403="Not your tenant.", s404="No such model, version or tenant."),
)
def switch_off(desk: TheDesk, person: ThePerson, name: ModelName, body: ScopeIn) -> SwitchedOut:
    """New studies are `not_analysed` (model_switched_off); what is in work is finished, kept, and not sent."""
    scope = scope_of(desk, person, ModelScope(model_name=name, version=body.version, tenant=body.tenant))
    changed = desk.store.switches.switch_off(scope, reason=body.reason, actor=person.name, now=desk.clock())
    return SwitchedOut(changed=changed)


@router.post(
    "/models/{name}/switch-on",
    summary="Switch a model on again, and send or recall what was kept back",
    response_model=SwitchedOut,
    responses=documented(s403="Not your tenant.", s404="No such model, version or tenant."),
)
def switch_on(desk: TheDesk, person: ThePerson, name: ModelName, body: SwitchOnIn) -> SwitchedOut:
    """Under the version and tenant that it was switched off under. What is recalled is not sent before."""
    scope = scope_of(desk, person, ModelScope(model_name=name, version=body.version, tenant=body.tenant))
    was_off = any(each.scope == scope for each in desk.store.switches.off())
    campaign = desk.store.switches.switch_on(
        scope, kept=body.kept, reason=body.reason, actor=person.name, now=desk.clock()
    )
    return SwitchedOut(changed=was_off, campaign=CampaignOut.of(campaign) if campaign else None)


@router.post(
    "/models/{name}/recall",
    summary="Recall the results of a period",
    status_code=202,
    response_model=RecallPeriodOut,
    responses=documented(s403="Not your tenant.", s404="No such model, version or tenant."),
)
def recall_period(desk: TheDesk, person: ThePerson, name: ModelName, body: PeriodIn) -> RecallPeriodOut:
    """Every result in which the model looked; each as if it were recalled by itself, in the background."""
    scope = scope_of(desk, person, ModelScope(model_name=name, version=body.version, tenant=body.tenant))
    now = desk.clock()
    period = Period(since=body.since, until=min(body.until or now, now))
    campaigns = desk.store.campaigns
    count = campaigns.count(scope, period)
    if body.dry_run or not count:
        return RecallPeriodOut(results=count, campaign=None)
    campaign = campaigns.ask(scope, period, reason=body.reason, actor=person.name, now=now)
    return RecallPeriodOut(results=campaign.left, campaign=CampaignOut.of(campaign))


@router.get(
    "/recalls",
    summary="Recalls of periods, newest first",
    response_model=list[CampaignOut],
)
def list_recalls(desk: TheDesk, person: ThePerson) -> list[CampaignOut]:
    """With how far each is."""
    return [CampaignOut.of(one) for one in desk.store.campaigns.listed() if concerns(one.scope, person.tenants)]


def scope_of(desk: Desk, person: Person, scope: ModelScope) -> ModelScope:
    """The scope, if it is known and theirs. Raises ProblemError (403, 404)."""
    try:
        scope = within(scope, person.tenants)
        require_known(scope, known_models(desk.settings, desk.store), [one.name for one in desk.tenants.tenants])
    except SwitchRefused as refusal:
        code, text = refusal.reason.code, refusal.reason.text
        status, title = (403, "Not your tenant") if code == "not_your_tenant" else (404, "Unknown model")
        detail = f"{text[:1].upper()}{text[1:]}."
        raise ProblemError(status, code, title, detail=detail, way_out="GET /api/models lists them.") from refusal
    return scope


def _told(switches: tuple[Switch, ...], person: Person) -> list[Any]:
    return [SwitchOut.model_validate(each) for each in switches if concerns(each.scope, person.tenants)]
