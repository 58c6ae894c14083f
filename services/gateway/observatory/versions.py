"""The page of versions, and its JSON: who has which part, and how a shadow compares with what answered."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.gateway.days import Day
from services.gateway.desk import PAGE_SIZE, Desk, TheDesk
from services.gateway.observatory import words
from services.gateway.observatory.api import EstimateOut
from services.gateway.observatory.looking import LONGEST, Window
from services.gateway.observatory.pages import observers
from services.gateway.people import ThePerson
from services.gateway.problems import ProblemError
from services.gateway.templates import pages
from services.observatory.paired import Comparison, Pair, Pairing, Spread, compare, pairings
from services.triage.finding import Outcome
from services.triage.inference import InferenceMode
from services.triage.rollout import Step
from services.triage.shadow import ShadowState

router = APIRouter(dependencies=[observers])

_Word = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairChoice:
    """What was asked for. found: all pairs of the window. pairing: None while there is none."""

    window: Window
    found: dict[Pairing, list[Pair]]
    pairing: Pairing | None

    @property
    def pairs(self) -> list[Pair]:
        """Those of the pairing."""
        return self.found.get(self.pairing, []) if self.pairing else []

    def query(self, pairing: Pairing | None = None, **told: Any) -> str:
        """The query string that asks for a pairing, or something of it."""
        model, answer, shadow = pairing or self.pairing or ("", "", "")
        window = {"from": self.window.first.isoformat(), "to": self.window.last.isoformat()}
        return urlencode({**window, "model": model, "answer": answer, "shadow": shadow, **told})


def chosen(
    desk: TheDesk,
    first: Annotated[Day | None, Query(alias="from", description="First day (UTC); default: 30 days ago.")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Last day (UTC), inclusive; default: today.")] = None,
    model: _Word = "",
    answer: Annotated[str, Query(max_length=200, description="The version that answered.")] = "",
    shadow: Annotated[str, Query(max_length=200, description="The version that was tried out.")] = "",
) -> PairChoice:
    """The choice that a request makes."""
    now = desk.clock()
    last = last or now.date()
    window = Window(first=first or date.fromordinal(last.toordinal() - 29), last=last)
    if window.first > window.last or window.until - window.since > LONGEST:
        raise ProblemError(
            422,
            "invalid_window",
            "Invalid window",
            detail="The first day comes after the last one, or the window is longer than a year.",
            way_out="Choose from one day to 366.",
        )
    found = pairings(desk.store.shadows.pairs(since=window.since, until=window.until, now=now))
    asked = (model, answer, shadow) if model else next(iter(found), None)
    return PairChoice(window=window, found=found, pairing=asked)


TheChoice = Annotated[PairChoice, Depends(chosen)]


class _Schema(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class RolloutOut(_Schema):
    """What was decided last about a model. active: null is the standing version, the first that was added."""

    model: str
    active: str | None
    canary: str | None
    canary_share: float | None
    shadow: str | None
    step: Step
    at: datetime
    actor: str
    reason: str


class SpreadOut(_Schema):
    """A median with its interval, and the quartiles."""

    median: EstimateOut
    lower_quartile: float | None
    upper_quartile: float | None


class CellOut(_Schema):
    """How many studies have these two outcomes."""

    answer: Outcome
    shadow: Outcome
    studies: int


class ModesOut(_Schema):
    """How the networks of answer and shadow ran, and in how many studies; null: an older Vigie asked it."""

    answer: InferenceMode | None
    shadow: InferenceMode | None
    studies: int


class ComparisonOut(_Schema):
    """One answering version and one shadow, of each study the newest pair.

    All but `outcomes` are figures of the studies that both looked at.
    """

    model: str
    answer: str = Field(description="The version whose results were sent.")
    shadow: str = Field(description="The version whose results were kept.")
    outcomes: list[CellOut]
    outcome: EstimateOut = Field(description="Share with the same outcome.")
    flag: EstimateOut = Field(description="Share with the same flag.")
    lesions: EstimateOut = Field(description="Share of lesions that touch one of the other version.")
    dice: SpreadOut = Field(description="Of all lesions' voxels, where either version has any.")
    score_shift: EstimateOut = Field(description="Mean of shadow minus answer.")
    score_spread: SpreadOut
    time: SpreadOut = Field(description="Shadow over answer: seconds from the voxels to the finding.")
    energy: SpreadOut = Field(description="Shadow over answer.")
    inference: list[ModesOut] = Field(description="Where modes differ, figures differ for that, too.")


class VersionsOut(_Schema):
    """shadow_runs: how many there are, by model and state."""

    rollouts: list[RolloutOut]
    shadow_runs: dict[str, dict[ShadowState, int]]
    minimum: int = Field(description="No figure is told that was counted from fewer studies.")
    comparisons: list[ComparisonOut]


@router.get(
    "/api/observatory/versions",
    tags=["observatory"],
    summary="Which version of a model has which part, and how shadows compare",
    response_model=VersionsOut,
)
def get_versions(desk: TheDesk, choice: TheChoice) -> VersionsOut:
    """All pairings of the window, the most frequent first. No study is named."""
    minimum = desk.settings.observatory_minimum
    return VersionsOut(
        rollouts=_rollouts(desk),
        shadow_runs=_runs(desk),
        minimum=minimum,
        comparisons=[_told(compare(pairing, pairs, minimum=minimum)) for pairing, pairs in choice.found.items()],
    )


@router.get("/observatory/versions", include_in_schema=False)
def show_versions(request: Request, desk: TheDesk, choice: TheChoice) -> Response:
    """The page."""
    minimum = desk.settings.observatory_minimum
    context = {
        "choice": choice,
        "rollouts": _rollouts(desk),
        "runs": _runs(desk),
        "comparison": compare(choice.pairing, choice.pairs, minimum=minimum) if choice.pairing else None,
        "minimum": minimum,
        "words": words,
        "outcomes": list(Outcome),
    }
    return pages.TemplateResponse(request, "observatory/versions.html", context)


@router.get("/observatory/versions/studies", include_in_schema=False)
def show_pairs(
    request: Request,
    desk: TheDesk,
    choice: TheChoice,
    person: ThePerson,
    answered: Outcome | None = None,
    said: Outcome | None = None,
    agree: bool = False,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """The studies behind a number: of these two outcomes, or those in which both looked, and agree; or all."""
    wanted = [
        pair
        for pair in choice.pairs
        if answered in (None, pair.answer.outcome)
        and said in (None, pair.shadow.outcome)
        and (not agree or (pair.looked and pair.answer.outcome is pair.shadow.outcome))
    ]
    shown = wanted[offset : offset + PAGE_SIZE]
    uids = [one.study_instance_uid for one in shown]
    told: dict[str, Any] = {"answered": answered, "said": said, "agree": agree or None}
    context = {
        "choice": choice,
        "rows": shown,
        "whose": desk.store.observations.attributes(uids) if person.sees_patients else {},
        "sees_patients": person.sees_patients,
        "here": choice.query(None, **{name: value for name, value in told.items() if value}),
        "offset": offset,
        "limit": PAGE_SIZE,
        "more": len(wanted) > offset + PAGE_SIZE,
        "words": words,
    }
    return pages.TemplateResponse(request, "observatory/pairs.html", context)


def _rollouts(desk: Desk) -> list[RolloutOut]:
    return [
        RolloutOut(
            model=one.rollout.model_name,
            active=one.rollout.active,
            canary=one.rollout.canary.version if one.rollout.canary else None,
            canary_share=one.rollout.canary.share if one.rollout.canary else None,
            shadow=one.rollout.shadow,
            step=one.step,
            at=one.at,
            actor=one.actor,
            reason=one.reason,
        )
        for one in desk.store.rollouts.in_force()
    ]


def _runs(desk: Desk) -> dict[str, dict[ShadowState, int]]:
    runs: dict[str, dict[ShadowState, int]] = {}
    for (model, state), count in desk.store.shadows.counts().items():
        runs.setdefault(model, {})[state] = count
    return runs


def _told(comparison: Comparison) -> ComparisonOut:
    counted = {"outcomes", "inference"}
    told = {name: getattr(comparison, name) for name in ComparisonOut.model_fields.keys() - counted}
    cells = [
        CellOut(answer=answer, shadow=shadow, studies=count)
        for (answer, shadow), count in sorted(comparison.outcomes.items())
    ]
    return ComparisonOut(
        outcomes=cells,
        inference=[
            ModesOut(answer=answer, shadow=shadow, studies=count)
            for (answer, shadow), count in comparison.inference.items()
        ],
        **{
            name: SpreadOut.model_validate(value)
            if isinstance(value, Spread)
            else value
            if isinstance(value, str)
            else EstimateOut.model_validate(value)
            for name, value in told.items()
        },
    )
