"""Giving a verdict, from the API as from the page: what is asked, what may be answered, what is saved beside it."""

from collections.abc import Sequence
from datetime import datetime

from services import __version__
from services.backends.evidence import EVIDENCE, Mark, read_evidence
from services.backends.store.archive import StoredInstance
from services.backends.store.board import ResultRow, StudyDetail
from services.gateway.access.caller import LOCAL
from services.gateway.desk import Desk, unknown_study
from services.gateway.language import noted
from services.gateway.language import translated as _
from services.gateway.problems import ProblemError
from services.gateway.verdict_schemas import MarkedLesionIn, VerdictIn
from services.triage.errors import VerdictRefused
from services.triage.person import Person
from services.triage.switch import MODEL_SWITCHED_OFF
from services.triage.verdict import Answer, MarkedLesion, Shown, Verdict

_JUDGES = frozenset({Answer.ACCEPT, Answer.REJECT, Answer.MODIFY})
_STATUS = {
    "already_undone": 409,
    "recalled_result": 409,
    "superseded_result": 409,
    "other_answer": 409,
    "model_switched_off": 409,
    "no_images": 409,
    "not_yours": 403,
}
_ASK_AGAIN = "GET /api/studies/{uid}/verdicts lists what can be answered, and what was; then answer again."
# cause and way out, for readers whose page is no longer what there is
_CAME_BETWEEN = {
    "superseded_result": (
        noted("The AI has looked at this study again since: this answers to its earlier result."),
        noted("Open the study again: it shows the newer result, and asks about that. This answer was not kept."),
    ),
    "other_answer": (
        noted("Another answer was kept under this verdict_id, and stays; this one was not kept."),
        noted("Open the study again: it shows what was kept. Then answer anew, under a new verdict_id."),
    ),
}
_KEPT_BACK = {
    True: (MODEL_SWITCHED_OFF.code, "the model of this result is switched off: nobody is asked about it"),
    False: ("recalled_result", "this result is being recalled: nobody is asked about it"),
}
_UNKNOWN = 404
_WRONG = 422


def questions(detail: StudyDetail) -> tuple[ResultRow, ...]:
    """The results that may be answered to: of each model the newest, unless it counts no more."""
    return tuple(one for one in detail.results if one.superseded_by is None and not one.counts_no_more)


def no_questions(detail: StudyDetail) -> tuple[ResultRow, ...]:
    """The others of the newest: they count no more, and what they missed is reported without naming them."""
    return tuple(one for one in detail.results if one.superseded_by is None and one.counts_no_more)


def give(desk: Desk, person: Person, uid: str, asked: VerdictIn) -> tuple[Verdict, bool]:
    """Keep a reader's answer; True: it is new. Raises ProblemError (403, 404, 409, 422), StoreUnavailable."""
    detail = desk.store.board.study(uid)
    if detail is None:
        raise unknown_study()
    try:
        # what was kept before is not refused for what came since
        if asked.verdict_id not in _given(desk, uid):
            _check(detail, asked)
        verdict = _verdict(desk, person, uid, asked, now=desk.clock())
        created = desk.store.verdicts.give(verdict)
    except VerdictRefused as refused:
        raise _problem(refused) from refused
    except ValueError as error:
        raise _problem(VerdictRefused("invalid_verdict", str(error))) from error
    return _given(desk, uid)[asked.verdict_id], created


def finish(desk: Desk, person: Person, uid: str) -> bool:
    """The reader says that they have finished. False: nothing of theirs waits to become a document."""
    # nobody has shown who they are to a desk that knows nobody
    authenticated = person != LOCAL
    return desk.store.verdict_documents.finish(uid, person.name, authenticated=authenticated, now=desk.clock())


def saved_by_viewers(desk: Desk, uid: str) -> Sequence[StoredInstance]:
    """The Segmentations and reports of a study that were sent here, and not made here."""
    stored = desk.store.archive.instances(uid)
    return [one for one in stored if not one.is_result and one.sop_class_uid in EVIDENCE]


def _given(desk: Desk, uid: str) -> dict[str, Verdict]:
    """All verdicts of a study, by verdict_id."""
    return {one.verdict_id: one for one in desk.store.verdicts.of_study(uid)}


def _check(detail: StudyDetail, asked: VerdictIn) -> None:
    """That there is something to answer to, shown to readers."""
    if not detail.versions:
        raise VerdictRefused("no_images", "no image of this study has come")
    result = next((one for one in detail.results if one.result_id == asked.result_id), None)
    if result is None or asked.answer is Answer.UNDO:
        return
    if result.recall is not None:
        raise VerdictRefused("recalled_result", "this result was recalled: nobody is asked about it")
    if result.kept_back:
        raise VerdictRefused(*_KEPT_BACK[result.switched_off])
    if asked.answer in _JUDGES and not result.outcome.analysed:
        raise VerdictRefused("nothing_to_judge", "the model did not look at this study")


def _verdict(desk: Desk, person: Person, uid: str, asked: VerdictIn, *, now: datetime) -> Verdict:
    added = asked.answer is Answer.ADD
    return Verdict(
        verdict_id=asked.verdict_id,
        study_instance_uid=uid,
        result_id=asked.result_id,
        answer=Answer(asked.answer),
        reader=person.name,
        given_at=now,
        shown=Shown(page=asked.page, vigie_version=__version__),
        # a repeated request adds one lesion, not two
        tracking_uid=asked.tracking_uid or f"2.25.{int(asked.verdict_id, 16)}" if added else asked.tracking_uid,
        reason=asked.reason,
        comment=asked.comment,
        lesion=_marked(desk, uid, asked.lesion) if asked.lesion else None,
        undoes=asked.undoes,
    )


def _marked(desk: Desk, uid: str, lesion: MarkedLesionIn) -> MarkedLesion:
    image = lesion.image_sop_instance_uid
    if image is not None and not desk.store.archive.instances(uid, sop_instance_uid=image):
        raise VerdictRefused("unknown_image", "this study has no such image")
    mark = _mark(desk, uid, lesion) if lesion.object_sop_instance_uid else None
    return MarkedLesion(
        finding=lesion.finding,
        long_axis_mm=mark.long_axis_mm if mark and mark.long_axis_mm else lesion.long_axis_mm,
        volume_ml=mark.volume_ml if mark and mark.volume_ml else lesion.volume_ml,
        object_sop_instance_uid=lesion.object_sop_instance_uid,
        image_sop_instance_uid=image or (mark.image_sop_instance_uid if mark else None),
    )


def _mark(desk: Desk, uid: str, lesion: MarkedLesionIn) -> Mark:
    found = desk.store.archive.instances(uid, sop_instance_uid=lesion.object_sop_instance_uid)
    if not found:
        raise VerdictRefused("unknown_object", "this study has no such object; if it was saved just now, try again")
    if found[0].is_result:
        raise VerdictRefused("own_object", "it was written by Vigie, not saved by a reader")
    marks = read_evidence(desk.files.path(found[0].digest))
    if lesion.object_item is None and len(marks) > 1:
        raise VerdictRefused("several_items", f"it has {len(marks)} items: say which by object_item")
    wanted = lesion.object_item or marks[0].number
    mark = next((one for one in marks if one.number == wanted), None)
    if mark is None:
        raise VerdictRefused("unknown_item", "it has no such segment or measurement")
    return mark


def _problem(refused: VerdictRefused) -> ProblemError:
    code, text = refused.reason.code, refused.reason.text
    detail, way_out = _CAME_BETWEEN.get(code, (f"{text[:1].upper()}{text[1:]}.", _ASK_AGAIN))
    return ProblemError(
        _STATUS.get(code, _UNKNOWN if code.startswith("unknown_") else _WRONG),
        code,
        _("No such verdict can be given"),
        detail=_(detail),
        way_out=_(way_out),
    )
