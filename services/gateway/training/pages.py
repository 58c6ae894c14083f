"""The pages of training: pick a round, read each case in the viewer, answer, and learn what readers and the AI said."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Path, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.backends.store.training import Case, Round, new_key
from services.gateway.blind import ANSWER_KEYS, ANSWER_WORDS, CONFIDENCE_WORDS
from services.gateway.desk import Desk, TheDesk, UidInPath
from services.gateway.language import noted
from services.gateway.people import ThePerson, only
from services.gateway.problems import ProblemError
from services.gateway.templates import pages
from services.gateway.training.archive import CaseArchive
from services.gateway.training.eligible import eligible, exclusions
from services.gateway.viewer import is_installed
from services.triage.person import Person
from services.triage.training import EXCLUSIONS, Kind, Mix, choose
from services.triage.verdict import OWN_ASSESSMENTS, Answer, Confidence, Truth

MAX_CASES = 50

MIX_WORDS = {
    Mix.ANY: noted("As they come"),
    Mix.BALANCED: noted("As many with as without lesions"),
    Mix.LESIONS: noted("With lesions"),
    Mix.NORMAL: noted("Without lesions"),
    Mix.AI_WRONG: noted("Where the AI was wrong"),
}
KIND_WORDS = {
    Kind.AI_FOUND: noted("Lesion, and the AI found one"),
    Kind.AI_MISSED: noted("Lesion, and the AI missed it"),
    Kind.AI_SILENT: noted("No lesion, and the AI found none"),
    Kind.AI_FALSE_ALARM: noted("No lesion, and the AI raised a false alarm"),
}
EXCLUSION_WORDS = {
    "burned_in": noted("Text is burned into the images"),
    "may_be_burned_in": noted("Text may be burned into the images"),
    "face": noted("The images show a head, from which a face can be made"),
    "may_be_a_face": noted("It is not told that the images end below the face"),
}
assert EXCLUSION_WORDS.keys() == {each.code for each in EXCLUSIONS}  # noqa: S101

_GONE = noted("The images of this case are no longer kept here")

router = APIRouter(prefix="/training", include_in_schema=False, dependencies=[Depends(only(lambda who: who.learns))])
RoundInPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


class Wanted(BaseModel):
    """What a learner picks."""

    model_config = ConfigDict(extra="forbid")

    model_name: str = Field(max_length=200)
    mix: Mix
    size: int = Field(ge=1, le=MAX_CASES)


class Given(BaseModel):
    """What a learner answers."""

    model_config = ConfigDict(extra="forbid")

    answer: Answer
    confidence: Confidence | None = None

    @field_validator("confidence", mode="before")
    @classmethod
    def _left_empty(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("answer")
    @classmethod
    def _is_an_assessment(cls, value: Answer) -> Answer:
        if value not in OWN_ASSESSMENTS:
            raise ValueError("it is no assessment of one's own")
        return value


@router.get("")
def show_training(request: Request, desk: TheDesk, person: ThePerson) -> Response:
    """What there is to learn from, the learner's rounds, and how well they do."""
    shown, excluded, unseen = eligible(desk, desk.store.training.candidates())
    context = {
        "models": sorted({one.model_name for one in shown}),
        "available": len(shown),
        "excluded": [(EXCLUSION_WORDS[code], count) for code, count in sorted(excluded.items())],
        "unseen": unseen,
        "rounds": desk.store.training.rounds(person.name),
        "progress": desk.store.training.progress(person.name),
        "max_cases": MAX_CASES,
    }
    return _page(request, "training.html", context)


@router.post("/rounds")
def begin_round(desk: TheDesk, person: ThePerson, wanted: Annotated[Wanted, Form()]) -> Response:
    """Pick the cases of a round. Raises ProblemError (409)."""
    shown, _, _ = eligible(desk, desk.store.training.candidates())
    key = new_key()
    cases = choose([one for one in shown if one.model_name == wanted.model_name], wanted.mix, wanted.size, key=key)
    if not cases:
        raise ProblemError(
            409,
            "no_cases",
            "No such cases",
            detail="No answered study that may be shown is of this kind.",
            way_out="Pick another mix, or come back when readers have answered more studies.",
        )
    round_id = desk.store.training.begin(
        cases, learner=person.name, model_name=wanted.model_name, mix=wanted.mix, key=key, now=desk.clock()
    )
    return RedirectResponse(f"/training/rounds/{round_id}", status_code=303)


@router.get("/rounds/{round_id}")
def show_round(request: Request, desk: TheDesk, person: ThePerson, round_id: RoundInPath) -> Response:
    """The first case that is not answered; then what came of the round."""
    found = _round(desk, person, round_id)
    following = next((one for one in found.cases if one.answer is None), None)
    if following is not None:
        return RedirectResponse(f"/training/cases/{following.name}", status_code=303)
    return _page(request, "training_round.html", {"round": found})


@router.get("/cases/{name}")
def show_case(request: Request, desk: TheDesk, person: ThePerson, name: UidInPath) -> Response:
    """A case: its form, or once it is answered, what readers and the AI said."""
    case = _case(desk, person, name)
    archive = CaseArchive(desk.store, person.name)
    gone = archive.gone(name)
    # what is gone is not looked at: what was found of it would stay, should it come again
    excluded = None if gone else EXCLUSION_WORDS.get(exclusions(desk, [case])[case.result_id])
    instances = archive.instances(name)
    series = next((one.series_instance_uid for one in instances if not one.is_result), None)
    overlay = next((one.series_instance_uid for one in instances if one.is_result), None)
    context = {
        "case": case,
        "round": _round(desk, person, case.round_id),
        "said": desk.store.training.said(case) if case.answer is not None else None,
        "not_shown": _GONE if gone else excluded,
        "viewer_link": _viewer_link(name, series, overlay) if is_installed(desk.settings) else None,
        "has_overlay": overlay is not None,
    }
    return _page(request, "training_case.html", context)


@router.post("/cases/{name}")
def answer_case(desk: TheDesk, person: ThePerson, name: UidInPath, given: Annotated[Given, Form()]) -> Response:
    """Keep the answer, the first that is given, and show the feedback."""
    desk.store.training.answer(_case(desk, person, name), given.answer, given.confidence, now=desk.clock())
    return RedirectResponse(f"/training/cases/{name}", status_code=303)


def _page(request: Request, template: str, context: dict[str, Any]) -> Response:
    words = {
        "mix_words": MIX_WORDS,
        "kind_words": KIND_WORDS,
        "truth_words": {Truth.PRESENT: ANSWER_WORDS[Answer.PRESENT], Truth.ABSENT: ANSWER_WORDS[Answer.ABSENT]},
        "answer_words": ANSWER_WORDS,
        "answer_keys": ANSWER_KEYS,
        "confidence_words": CONFIDENCE_WORDS,
    }
    return pages.TemplateResponse(request, template, words | context)


def _round(desk: Desk, person: Person, round_id: str) -> Round:
    found = desk.store.training.rounds(person.name, round_id)
    if not found:
        raise _not_there()
    return found[0]


def _case(desk: Desk, person: Person, name: str) -> Case:
    case = desk.store.training.case(person.name, name)
    if case is None:
        raise _not_there()
    return case


def _not_there() -> ProblemError:
    return ProblemError(
        404,
        "unknown_case",
        "Unknown case",
        detail="You have no such round or case.",
        way_out="Begin a round at /training, or go on with one of yours.",
    )


def _viewer_link(name: str, series: str | None, overlay: str | None) -> str:
    """The viewer on the data source of training."""
    asked = {"StudyInstanceUIDs": name, "initialSeriesInstanceUID": series, "seg": overlay}
    return f"/ohif/viewer/training?{urlencode({key: value for key, value in asked.items() if value})}"
