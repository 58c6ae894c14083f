"""A reader's own assessment of a study whose AI result is withheld: its form on the study's page, and keeping it."""

import re
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Depends, Form
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator

from services import __version__
from services.backends.store.board import StudyDetail, WithheldRow
from services.gateway.desk import TheDesk, UidInPath
from services.gateway.language import noted
from services.gateway.people import ThePerson, only
from services.gateway.problems import ProblemError
from services.triage.errors import VerdictRefused
from services.triage.person import Person
from services.triage.verdict import OWN_ASSESSMENTS, Answer, Confidence, OwnAssessment, Shown, Verdict

router = APIRouter(include_in_schema=False)

ANSWER_WORDS = {
    Answer.PRESENT: noted("Lesion present"),
    Answer.ABSENT: noted("No lesion"),
    Answer.UNSURE: noted("Unsure"),
}
ANSWER_KEYS = {Answer.PRESENT: "p", Answer.ABSENT: "b", Answer.UNSURE: "s"}
CONFIDENCE_WORDS = {
    Confidence.LOW: noted("Low"),
    Confidence.MEDIUM: noted("Medium"),
    Confidence.HIGH: noted("High"),
}


class Assessment(BaseModel):
    """The fields of the form; what is left empty is not told."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    result_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    verdict_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    answer: Answer
    lesion_count: int | None = Field(None, ge=0, le=999)
    largest_mm: float | None = Field(None, gt=0, le=999)
    location: str = Field("", max_length=64)
    confidence: Confidence | None = None

    @field_validator("lesion_count", "largest_mm", "confidence", mode="before")
    @classmethod
    def _left_empty(cls, value: object) -> object:
        if isinstance(value, str):
            value = value.strip()
            # a French reader writes 7,5
            value = value.replace(",", ".") if re.fullmatch(r"[0-9]+,[0-9]+", value) else value
        return None if value == "" else value

    @field_validator("answer")
    @classmethod
    def _is_an_assessment(cls, value: Answer) -> Answer:
        if value not in OWN_ASSESSMENTS:
            raise ValueError("it is no assessment of one's own")
        return value


def form_of(detail: StudyDetail, person: Person) -> dict[str, Any]:
    """What templates/blind_form.html is told on the page of a study.

    questions: of each model the newest result that is withheld, and an id for the verdict on it; for readers.
    """
    newest: dict[str, WithheldRow] = {}
    for version in detail.versions if person.reads else ():
        for job in version.jobs:
            if job.withheld is not None:
                newest.setdefault(job.withheld.model.name, job.withheld)
    return {
        "questions": [(one, uuid4().hex) for one in newest.values()],
        "answer_words": ANSWER_WORDS,
        "answer_keys": ANSWER_KEYS,
        "confidence_words": CONFIDENCE_WORDS,
    }


@router.post("/studies/{uid}/assessment", dependencies=[Depends(only(lambda who: who.reads))])
def assess(desk: TheDesk, person: ThePerson, uid: UidInPath, form: Annotated[Assessment, Form()]) -> RedirectResponse:
    """Keep the reader's assessment, and show what the AI says. Raises ProblemError (409), StoreUnavailable."""
    told = OwnAssessment(
        lesion_count=form.lesion_count,
        largest_mm=form.largest_mm,
        location=form.location,
        confidence=form.confidence,
    )
    given = Verdict(
        verdict_id=form.verdict_id,
        study_instance_uid=uid,
        result_id=form.result_id,
        answer=form.answer,
        reader=person.name,
        given_at=desk.clock(),
        shown=Shown(page="study", vigie_version=__version__),
        assessment=told if told != OwnAssessment() else None,
    )
    try:
        desk.store.verdicts.give(given)
    except VerdictRefused as refused:
        raise ProblemError(
            409,
            refused.reason.code,
            "The assessment cannot be kept",
            detail=f"It is refused: {refused.reason.text}.",
            way_out="Open the study again from the work list; nothing was changed.",
        ) from refused
    return RedirectResponse(f"/studies/{uid}", status_code=303)
