"""The page of one study: what the AI says, what readers answer to it. It works without scripts (static/study.js)."""

from dataclasses import dataclass, replace
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from services.backends.store.board import ResultRow, StudyDetail
from services.gateway import verdict_words
from services.gateway.answering import finish, give, no_questions, questions
from services.gateway.blind import form_of
from services.gateway.desk import Desk, TheDesk, UidInPath, unknown_study
from services.gateway.language import noted, translated
from services.gateway.people import ThePerson, only
from services.gateway.templates import pages
from services.gateway.verdict_schemas import VerdictIn
from services.gateway.viewer import is_installed, link_to
from services.triage.job import JobState
from services.triage.lesion import Lesion
from services.triage.person import Person
from services.triage.result import DeliveryState
from services.triage.switch import Switch
from services.triage.verdict import Answer, Verdict, standing

router = APIRouter(include_in_schema=False)

Reader = Annotated[Person, Depends(only(lambda who: who.reads))]
_LESION_FIELDS = ("finding", "long_axis_mm", "volume_ml", "object_sop_instance_uid", "object_item")


JOB_WORDS = {
    JobState.QUEUED: noted("Queued"),
    JobState.ANALYSING: noted("Analysing"),
    JobState.FROZEN: noted("Frozen"),
    JobState.CANCELLED: noted("Cancelled"),
}
DELIVERY_WORDS = {
    DeliveryState.PENDING: noted("pending"),
    DeliveryState.SENT: noted("sent"),
    DeliveryState.COMMITTED: noted("committed"),
    DeliveryState.GIVEN_UP: noted("given up"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What can be answered to: a lesion of a result, or with lesion None the study. stands: everybody's answers."""

    lesion: Lesion | None
    tracking_uid: str | None
    stands: tuple[Verdict, ...]


@router.get("/studies/{uid}")
def show_study(request: Request, desk: TheDesk, person: ThePerson, uid: UidInPath) -> Response:
    """One study."""
    detail = desk.store.board.study(uid)
    if detail is None:
        raise unknown_study()
    verdicts = desk.store.verdicts.of_study(uid)
    if not person.sees_patients:
        verdicts = tuple(map(_without_own_words, verdicts))
    stands = standing(verdicts)
    asked = questions(detail) if person.reads else ()
    context = {
        "detail": detail,
        "series_names": _series_names(detail),
        "now": desk.clock(),
        "viewer_link": link_to if is_installed(desk.settings) and not detail.row.images_deleted_at else None,
        "person": person,
        "asked": {one.result_id for one in asked},
        "may_report": {one.result_id for one in no_questions(detail)} if person.reads else set(),
        "targets": {one.result_id: _targets(detail, one, stands) for one in detail.results},
        "without_result": [one for one in stands if one.result_id is None],
        "off": _switched_off(desk, detail),
        "verdicts": verdicts,
        "holds": {one.verdict_id for one in stands},
        "undone": {one.undoes for one in verdicts},
        "names": _names(detail),
        "told_answers": {answer: verdict_words.answer_words(answer) for answer in Answer},
        "job_words": _translated(JOB_WORDS),
        "delivery_words": _translated(DELIVERY_WORDS),
        "reasons": _translated(verdict_words.REASONS),
        "findings": _translated(verdict_words.FINDINGS),
        "newer_images": translated(verdict_words.NEWER_IMAGES),
        "said": verdict_words.verdict_words,
        "new_id": lambda: uuid4().hex,
        "trace_url": desk.settings.trace_url,
        "waits": _waits(detail, verdicts, person),
        **form_of(detail, person),
    }
    return pages.TemplateResponse(request, "study.html", context)


def _without_own_words(verdict: Verdict) -> Verdict:
    """What a reader wrote in words of their own may name the patient."""
    lesion, assessment = verdict.lesion, verdict.assessment
    if lesion and lesion.finding not in verdict_words.FINDINGS:
        lesion = replace(lesion, finding="")
    if assessment:
        assessment = replace(assessment, location="")
    return replace(verdict, comment="", lesion=lesion, assessment=assessment)


async def _filled_in(request: Request) -> dict[str, str]:
    """The fields of a form that are filled in."""
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str) and value.strip()}


@router.post("/studies/{uid}/verdicts")
def answer(
    desk: TheDesk, person: Reader, uid: UidInPath, form: Annotated[dict[str, str], Depends(_filled_in)]
) -> Response:
    """A form of the page; static/study.js asks the API instead."""
    give(desk, person, uid, _asked(form))
    return RedirectResponse(f"/studies/{uid}#answers", status_code=303)


@router.post("/studies/{uid}/finished")
def finished(desk: TheDesk, person: Reader, uid: UidInPath, next_page: Annotated[str, Form()] = "") -> Response:
    """The reader has finished with the study."""
    finish(desk, person, uid)
    return RedirectResponse("/" if next_page == "list" else f"/studies/{uid}#answers", status_code=303)


def _asked(form: dict[str, str]) -> VerdictIn:
    """What a form says; a button's value is an answer, or 'reject:' and its reason. Raises RequestValidationError."""
    told, _, reason = form.get("answer", "").partition(":")
    asked: dict[str, Any] = {"verdict_id": form.get("verdict_id"), "answer": told, "reason": reason or None}
    asked |= {name: form.get(name) for name in ("result_id", "tracking_uid", "undoes")}
    asked["comment"] = form.get("comment", "")
    if told in (Answer.MODIFY, Answer.ADD):
        asked["lesion"] = {name: form[name] for name in _LESION_FIELDS if name in form}
    try:
        return VerdictIn.model_validate(asked)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _series_names(detail: StudyDetail) -> dict[str, str]:
    return {
        series.series_instance_uid: f"{series.series_number or ''} {series.series_description}".strip()
        or series.series_instance_uid
        for series in detail.series
    }


def _targets(detail: StudyDetail, result: ResultRow, stands: tuple[Verdict, ...]) -> list[Target]:
    """The study, each lesion, each lesion that a reader added."""
    mine = [one for one in stands if one.result_id and detail.as_it_is_now(one.result_id).result_id == result.result_id]

    def target(uid: str | None, lesion: Lesion | None) -> Target:
        return Target(lesion=lesion, tracking_uid=uid, stands=tuple(one for one in mine if one.tracking_uid == uid))

    lesions = [target(one.tracking_uid, one) for one in result.lesions]
    added = dict.fromkeys(one.tracking_uid for one in mine if one.answer is Answer.ADD)
    return [target(None, None), *lesions, *(target(uid, None) for uid in added)]


def _switched_off(desk: Desk, detail: StudyDetail) -> dict[str, Switch]:
    """Since when and why, by the results whose model is switched off; of several switches the first."""
    mine = [one for one in detail.results if one.switched_off]
    switches = desk.store.switches.off() if mine else ()
    return {
        one.result_id: switch
        for one in mine
        for switch in reversed(switches)
        if switch.scope.holds(one.model.name, one.model.version, detail.row.tenant)
    }


def _names(detail: StudyDetail) -> dict[str | None, str]:
    """Of lesions, by their Tracking UIDs."""
    return {lesion.tracking_uid: lesion.label for result in detail.results for lesion in result.lesions}


def _translated(words: Any) -> dict[str, str]:
    return {key: translated(text) for key, text in words.items()}


def _waits(detail: StudyDetail, verdicts: tuple[Verdict, ...], person: Person) -> bool:
    """Whether the reader's newest verdicts are in no document yet."""
    given = sum(one.reader == person.name for one in verdicts)
    told = [one.document.verdicts for one in detail.verdict_documents if one.document.reader == person.name]
    return given > max(told, default=0)
