"""What readers answered to the AI, append-only: `SqlStudyStore.verdicts` is one."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import audit_events, blind, history, verdict_documents
from services.backends.store.engine import insert_one, locked, reading, writing
from services.backends.store.readings import settle
from services.backends.store.tables import job, result, study, verdict
from services.triage.errors import VerdictRefused
from services.triage.verdict import OWN_ASSESSMENTS, Answer, Verdict, not_undone

Studies = Collection[str] | sa.Select[tuple[str]]


class Verdicts:
    """What the desk may ask and add. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def give(self, given: Verdict) -> bool:
        """Keep a verdict. False, and nothing changes: it is there already.

        Raises VerdictRefused: other_answer (its `verdict_id` is that of another), unknown_study, unknown_result,
        unknown_lesion, unknown_verdict, superseded_result, not_yours, already_undone, withheld, blind_stands.

        An assessment of the reader's own ends what withholds the AI's results, in the same transaction; `shown.blind`
        is kept as it was: whether anything withheld this one. An undo is kept as of what it undoes.
        """
        with writing(self._engine) as connection:
            locked(connection, [given.study_instance_uid])
            given = _of_the_undone(connection, given)
            if (row := _row(connection, given.verdict_id)) is not None:
                # an older process kept it as it was asked for
                if given.says_the_same(_of_the_undone(connection, verdict_of(row))):
                    return False
                raise _other_answer()
            _check(connection, given)
            given = _blind_or_not(connection, given)
            if not insert_one(connection, verdict, {c.name: getattr(given, c.name) for c in verdict.columns}):
                # of another study, which our lock does not hold
                raise _other_answer()
            line = history.line(
                given.study_instance_uid,
                "study",
                "study",
                time=given.given_at,
                actor=given.reader,
                what=f"verdict_{given.answer}",
                cause=given.reason or "",
            )
            history.write(connection, [line])
            settle(connection, given.study_instance_uid, actor=given.reader, now=given.given_at)
            verdict_documents.owe(connection, given.study_instance_uid, given.reader, now=given.given_at)
            audit_events.answered(connection, given)
        return True

    def of_study(self, study_instance_uid: str) -> tuple[Verdict, ...]:
        """All that were given, oldest first; `triage.verdict.standing` tells which hold."""
        mine = verdict.c.study_instance_uid == study_instance_uid
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(verdict).where(mine).order_by(verdict.c.given_at, verdict.c.verdict_id))
            return tuple(verdict_of(row) for row in rows)


def verdict_of(row: sa.Row[Any]) -> Verdict:
    """The verdict of a row of its table."""
    return Verdict(**{**row._asdict(), "answer": Answer(row.answer)})


def answers(connection: Connection, study_instance_uids: Studies) -> dict[str, list[Verdict]]:
    """What is not undone, by the analysis that it answers to: all of it names that, also what answers to a copy."""
    origin = origins(connection, study_instance_uids)
    given: dict[str, list[Verdict]] = defaultdict(list)
    rows = connection.execute(sa.select(verdict).where(verdict.c.study_instance_uid.in_(study_instance_uids)))
    for one in not_undone(map(verdict_of, rows)):
        if one.result_id is not None:
            analysis = origin.get(one.result_id, one.result_id)
            given[analysis].append(replace(one, result_id=analysis))
    return given


def origins(connection: Connection, study_instance_uids: Studies) -> dict[str, str]:
    """By the result that was only written again under another identity: the analysis of which it is a copy."""
    copies = sa.select(result.c.result_id, job.c.reconciles).join(job, job.c.job_id == result.c.job_id)
    mine = result.c.study_instance_uid.in_(study_instance_uids), job.c.reconciles.is_not(None)
    copied: dict[str, str] = {row.result_id: row.reconciles for row in connection.execute(copies.where(*mine))}
    origin = {}
    for copy, of in copied.items():
        while of in copied:
            of = copied[of]
        origin[copy] = of
    return origin


def _row(connection: Connection, verdict_id: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(verdict).where(verdict.c.verdict_id == verdict_id)).first()


def _other_answer() -> VerdictRefused:
    return VerdictRefused("other_answer", "another answer was kept under this verdict_id")


def _check(connection: Connection, given: Verdict) -> None:
    uid = given.study_instance_uid
    if connection.scalar(sa.select(study.c.study_instance_uid).where(study.c.study_instance_uid == uid)) is None:
        raise VerdictRefused("unknown_study", "no instance of this study was kept")
    if given.result_id is not None:
        _check_result(connection, given, given.result_id)
    held = blind.held_now(connection, uid, now=given.given_at)
    # an assessment of one's own names the result that it comes before
    is_about_it = given.result_id is None or (given.result_id in held and given.answer not in OWN_ASSESSMENTS)
    if held and is_about_it and given.answer is not Answer.UNDO:
        raise VerdictRefused("withheld", "the AI's result is withheld: assess the study yourself first")
    if given.undoes is not None:
        _check_undo(connection, given, given.undoes)


def _of_the_undone(connection: Connection, given: Verdict) -> Verdict:
    """An undo of the result and the lesion whose verdict it undoes, whatever it names itself."""
    undone = None if given.undoes is None else _row(connection, given.undoes)
    if undone is None or undone.study_instance_uid != given.study_instance_uid:
        return given
    return replace(given, result_id=undone.result_id, tracking_uid=undone.tracking_uid)


def _blind_or_not(connection: Connection, given: Verdict) -> Verdict:
    """The verdict with what was shown, as the store knows it."""
    if given.answer not in OWN_ASSESSMENTS:
        return given
    uid, now = given.result_id, given.given_at
    was_held = uid is not None and blind.end_by_read(connection, uid, reader=given.reader, now=now)
    return replace(given, shown=replace(given.shown, blind=was_held))


def _check_result(connection: Connection, given: Verdict, result_id: str) -> None:
    lesions = connection.scalar(
        sa.select(result.c.lesions).where(
            result.c.result_id == result_id, result.c.study_instance_uid == given.study_instance_uid
        )
    )
    if lesions is None:
        raise VerdictRefused("unknown_result", "this study has no such result")
    of_the_ai = given.tracking_uid is not None and given.answer not in (Answer.ADD, Answer.UNDO)
    if of_the_ai and given.tracking_uid not in {lesion.tracking_uid for lesion in lesions}:
        raise VerdictRefused("unknown_lesion", "this result has no such lesion")
    # an assessment of one's own is of the images, whatever the AI says of them by now
    is_about_it = given.answer not in (Answer.UNDO, *OWN_ASSESSMENTS)
    if is_about_it and _is_superseded(connection, given.study_instance_uid, result_id):
        raise VerdictRefused("superseded_result", "its model has a newer result: nobody is asked about this one")


def _is_superseded(connection: Connection, study_instance_uid: str, result_id: str) -> bool:
    """Whether its model has looked again since; the same result under corrected patient data is no new look."""
    of_model = sa.select(result.c.model_name).where(result.c.result_id == result_id).scalar_subquery()
    rows = connection.execute(
        sa.select(result.c.result_id, job.c.reconciles)
        .join(job, job.c.job_id == result.c.job_id)
        .where(result.c.study_instance_uid == study_instance_uid, result.c.model_name == of_model)
        .order_by(result.c.version, result.c.frozen_at)
    ).all()
    again = {row.reconciles: row.result_id for row in rows}
    while result_id in again:
        result_id = again[result_id]
    return bool(rows[-1].result_id != result_id)


def _check_undo(connection: Connection, given: Verdict, verdict_id: str) -> None:
    undone = _row(connection, verdict_id)
    if undone is None or undone.study_instance_uid != given.study_instance_uid or undone.answer == Answer.UNDO:
        raise VerdictRefused("unknown_verdict", "this study has no such verdict that could be undone")
    if undone.reader != given.reader:
        raise VerdictRefused("not_yours", "a verdict is undone by who gave it")
    if undone.shown.blind:
        raise VerdictRefused("blind_stands", "an assessment made before the AI's result was shown stays as it was")
    if connection.scalar(sa.select(sa.func.count()).where(verdict.c.undoes == verdict_id)):
        raise VerdictRefused("already_undone", "this verdict was undone before")
