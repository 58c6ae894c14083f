"""The API of verdicts: what a reader is asked, what they answer, and what they saved in a viewer as evidence."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from services.backends.evidence import read_evidence
from services.backends.store.archive import StoredInstance
from services.backends.store.board import ResultRow, VerdictDocumentRow
from services.gateway.answering import finish, give, questions, saved_by_viewers
from services.gateway.desk import Desk, TheDesk, UidInPath, unknown_study
from services.gateway.json_body import json_body
from services.gateway.people import only
from services.gateway.problems import documented
from services.gateway.schemas import DeliveryOut, ModelOut
from services.gateway.verdict_schemas import (
    AskedLesionOut,
    EvidenceListOut,
    EvidenceOut,
    FinishedOut,
    MarkOut,
    QuestionOut,
    VerdictDocumentOut,
    VerdictIn,
    VerdictOut,
    VerdictsOut,
    told,
)
from services.triage.errors import VerdictRefused
from services.triage.person import Person
from services.triage.verdict import standing

router = APIRouter(prefix="/api/studies/{uid}", tags=["verdicts"])

Reader = Annotated[Person, Depends(only(lambda who: who.reads))]
Looker = Annotated[Person, Depends(only(lambda who: who.sees_patients))]


@router.get(
    "/verdicts",
    summary="What readers are asked about a study, and what they answered",
    responses=documented(s404="No instance of this study was kept."),
    response_model=VerdictsOut,
)
def list_verdicts(desk: TheDesk, person: Looker, uid: UidInPath) -> VerdictsOut:
    """Every verdict, those that were undone too; `stands` says which hold."""
    detail = desk.store.board.study(uid)
    if detail is None:
        raise unknown_study()
    verdicts = desk.store.verdicts.of_study(uid)
    return VerdictsOut(
        study_instance_uid=uid,
        reader=person.name,
        questions=[_question(one) for one in questions(detail)],
        verdicts=told(verdicts, standing(verdicts), reader=person.name),
        documents=[_document(one) for one in detail.verdict_documents],
    )


@router.post(
    "/verdicts",
    summary="Answer to the AI, or take an answer back",
    status_code=201,
    responses={
        200: {"description": "The same answer was given before, and is kept once.", "model": VerdictOut},
        **documented(
            s403="The verdict is not yours to undo.",
            s404="The study, result, lesion, verdict or object is unknown.",
            s409="It was undone before; the result was recalled, its model is switched off or has a newer result; "
            "another answer was kept under the verdict_id.",
            s415="The body does not say that it is JSON.",
        ),
    },
    response_model=VerdictOut,
    dependencies=[Depends(json_body)],
)
def give_verdict(desk: TheDesk, person: Reader, uid: UidInPath, body: VerdictIn, response: Response) -> VerdictOut:
    """An answer is never changed: another to the same question takes its place, and `undo` takes it back.

    Only the reader who gave a verdict undoes it. The AI's result is not altered by any of it.
    """
    verdict, created = give(desk, person, uid, body)
    response.status_code = 201 if created else 200
    stands = {one.verdict_id for one in standing(desk.store.verdicts.of_study(uid))}
    return VerdictOut.of(verdict, stands=verdict.verdict_id in stands, mine=verdict.reader == person.name)


@router.post(
    "/verdicts/finished",
    summary="Say that you have finished with a study",
    responses=documented(s404="No instance of this study was kept."),
    response_model=FinishedOut,
)
def finish_verdicts(desk: TheDesk, person: Reader, uid: UidInPath) -> FinishedOut:
    """Your verdicts become a DICOM document now; without it they do after `VIGIE_VERDICT_QUIET_S`."""
    if desk.store.board.study(uid) is None:
        raise unknown_study()
    return FinishedOut(owed=finish(desk, person, uid))


@router.get(
    "/evidence",
    summary="What viewers saved of a study: measurements and segmentations",
    responses=documented(s404="No instance of this study was kept."),
    response_model=EvidenceListOut,
)
def list_evidence(desk: TheDesk, _person: Looker, uid: UidInPath) -> EvidenceListOut:
    """SR and SEG that came by STOW-RS or C-STORE; each can be evidence for a modified or an added lesion."""
    if desk.store.board.study(uid) is None:
        raise unknown_study()
    return EvidenceListOut(objects=[_evidence(desk, one) for one in saved_by_viewers(desk, uid)])


def _question(result: ResultRow) -> QuestionOut:
    objects = [one for one in result.objects if not one.note]
    return QuestionOut(
        result_id=result.result_id,
        model=ModelOut.model_validate(result.model),
        outcome=result.outcome,
        series_instance_uid=result.series_instance_uid,
        seg_series_instance_uid=next((one.series_instance_uid for one in objects if one.modality == "SEG"), None),
        newer_images=result.newer_images,
        lesions=[AskedLesionOut.model_validate(one) for one in result.lesions],
    )


def _document(row: VerdictDocumentRow) -> VerdictDocumentOut:
    names = ("sop_instance_uid", "series_instance_uid", "reader", "written_at", "verified")
    deliveries = [DeliveryOut.model_validate(one) for one in row.deliveries]
    return VerdictDocumentOut(**{name: getattr(row.document, name) for name in names}, deliveries=deliveries)


def _evidence(desk: Desk, stored: StoredInstance) -> EvidenceOut:
    try:
        marks = read_evidence(desk.files.path(stored.digest))
    except VerdictRefused as refused:
        return _evidence_out(stored, [], refused.reason.code)
    return _evidence_out(stored, [MarkOut.model_validate(one) for one in marks], None)


def _evidence_out(stored: StoredInstance, marks: list[MarkOut], refused: str | None) -> EvidenceOut:
    return EvidenceOut(sop_instance_uid=stored.sop_instance_uid, modality=stored.modality, marks=marks, refused=refused)
