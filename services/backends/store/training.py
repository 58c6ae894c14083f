"""Training: answered studies, rounds of cases, and what learners answered. `SqlStudyStore.training` is one."""

import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store.engine import put, reading, writing
from services.backends.store.tables import (
    instance,
    recall,
    result,
    training_case,
    training_check,
    training_round,
    verdict,
)
from services.backends.store.verdicts import Studies, answers, origins
from services.backends.store.withheld import is_held, kept_back
from services.triage.finding import Outcome
from services.triage.lesion import Lesion
from services.triage.training import (
    RULES,
    Agreement,
    Candidate,
    Kind,
    Mix,
    agreement,
    agrees,
    consensus,
    pseudonym,
)
from services.triage.verdict import Answer, Confidence, Truth, Verdict, truth_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A study of a round. name: the Study Instance UID that the learner sees. key: of every other such UID of it.

    stands: what the AI said of it may be told; it is not recalled, kept back or withheld.
    """

    round_id: str
    position: int
    name: str
    key: bytes
    study_instance_uid: str
    result_id: str
    series_instance_uid: str
    model_name: str
    stands: bool
    kind: Kind
    truth: Truth
    answer: Answer | None
    confidence: Confidence | None
    answered_at: datetime | None

    @property
    def agrees(self) -> bool:
        """Whether the learner answered as the readers did."""
        return self.answer is not None and agrees(self.answer, self.truth)


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """What a learner picked; its cases in their order."""

    round_id: str
    learner: str
    model_name: str
    mix: Mix
    created_at: datetime
    cases: tuple[Case, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What the readers and the AI said of a case. readers: how many of them found which."""

    outcome: Outcome
    score: float | None
    calibrated: bool
    lesions: tuple[Lesion, ...]
    readers: Mapping[Truth, int]


# of some image at least: what is left of such a study is not what the result is of
_WITHOUT_IMAGES = sa.select(instance.c.study_instance_uid).where(instance.c.deleted_at.is_not(None))


class Training:
    """What the pages of training may ask and change. Raises StoreUnavailable."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def candidates(self) -> list[Candidate]:
        """Studies that readers agree on, by the newest result of each model that stands and may be seen."""
        answered = sa.select(verdict.c.study_instance_uid)
        found = (
            sa.select(result)
            .where(
                result.c.outcome.in_([one for one in Outcome if one.analysed]),
                result.c.series_instance_uid.is_not(None),
                result.c.study_instance_uid.in_(answered),
                result.c.study_instance_uid.not_in(_WITHOUT_IMAGES),
            )
            .order_by(result.c.version, result.c.frozen_at)
        )
        with reading(self._engine) as connection:
            origin = origins(connection, answered)
            withdrawn = _withdrawn(connection, answered, origin, self._clock())
            given = answers(connection, answered)
            rows = [(origin.get(row.result_id, row.result_id), row) for row in connection.execute(found)]
        newest = {
            (row.study_instance_uid, row.model_name): (row, given[analysis])
            for analysis, row in rows
            if analysis in given and analysis not in withdrawn
        }
        return [one for one in (_candidate(*each) for each in newest.values()) if one is not None]

    def checked(self, result_ids: Collection[str]) -> dict[str, str]:
        """Of those looked at by today's rules: the code of why their images are not shown, '' where they are."""
        found = sa.select(training_check).where(
            training_check.c.result_id.in_(result_ids), training_check.c.rules == RULES
        )
        with reading(self._engine) as connection:
            rows = connection.execute(found)
            return {row.result_id: row.exclusion for row in rows}

    def note_checked(self, exclusions: Mapping[str, str]) -> None:
        """Keep what was found of them."""
        rows = [{"result_id": each, "exclusion": code, "rules": RULES} for each, code in exclusions.items()]
        if rows:
            with writing(self._engine) as connection:
                put(connection, training_check, rows)

    def begin(
        self, cases: Sequence[Candidate], *, learner: str, model_name: str, mix: Mix, key: bytes, now: datetime
    ) -> str:
        """Keep a round; its id."""
        round_id = uuid4().hex
        with writing(self._engine) as connection:
            connection.execute(
                sa.insert(training_round).values(
                    round_id=round_id, learner=learner, model_name=model_name, mix=mix, key=key.hex(), created_at=now
                )
            )
            rows = [
                {
                    "round_id": round_id,
                    "position": position,
                    "name": pseudonym(one.study_instance_uid, key=key),
                    "study_instance_uid": one.study_instance_uid,
                    "result_id": one.result_id,
                    "kind": one.kind,
                    "truth": one.truth,
                }
                for position, one in enumerate(cases, start=1)
            ]
            connection.execute(sa.insert(training_case), rows)
        return round_id

    def rounds(self, learner: str, round_id: str | None = None) -> list[Round]:
        """Of a learner, newest first; one of them."""
        mine = [training_round.c.learner == learner]
        if round_id is not None:
            mine.append(training_round.c.round_id == round_id)
        with reading(self._engine) as connection:
            rows = connection.execute(
                sa.select(training_round).where(*mine).order_by(training_round.c.created_at.desc())
            ).all()
            cases: dict[str, list[Case]] = defaultdict(list)
            for case in self._cases(connection, *mine):
                cases[case.round_id].append(case)
        return [
            Round(
                round_id=row.round_id,
                learner=row.learner,
                model_name=row.model_name,
                mix=Mix(row.mix),
                created_at=row.created_at,
                cases=tuple(cases[row.round_id]),
            )
            for row in rows
        ]

    def case(self, learner: str, name: str) -> Case | None:
        """Of a learner, by the Study Instance UID that they see."""
        with reading(self._engine) as connection:
            named = training_case.c.name == name, training_round.c.learner == learner
            return next(iter(self._cases(connection, *named)), None)

    def answer(self, case: Case, answer: Answer, confidence: Confidence | None, *, now: datetime) -> bool:
        """Keep a learner's answer, once. False, and nothing changes: there is one."""
        this = training_case.c.name == case.name, training_case.c.answer.is_(None)
        values = {"answer": answer, "confidence": confidence, "answered_at": now}
        with writing(self._engine) as connection:
            return bool(connection.execute(sa.update(training_case).where(*this).values(values)).rowcount)

    def said(self, case: Case) -> Said | None:
        """What is told of a case once it is answered; None: its result counts no more, and nothing of it is told."""
        if not case.stands:
            return None
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(result).where(result.c.result_id == case.result_id)).one()
            analysis = origins(connection, [case.study_instance_uid]).get(case.result_id, case.result_id)
            given = answers(connection, [case.study_instance_uid])
        truths = _truths(row, given[analysis])
        return Said(
            outcome=Outcome(row.outcome),
            score=row.score,
            calibrated=row.calibrated,
            lesions=row.lesions,
            readers={each: truths.count(each) for each in (Truth.PRESENT, Truth.ABSENT)},
        )

    def progress(self, learner: str) -> dict[Kind | None, Agreement]:
        """Of all that a learner has answered, by kind; None: of any."""
        mine = training_round.c.learner == learner, training_case.c.answer.is_not(None)
        with reading(self._engine) as connection:
            answered = self._cases(connection, *mine)
        groups: dict[Kind | None, list[Case]] = {None: answered}
        groups |= {kind: [one for one in answered if one.stands and one.kind is kind] for kind in Kind}
        return {kind: agreement(sum(one.agrees for one in group), len(group)) for kind, group in groups.items()}

    def _cases(self, connection: Connection, *where: sa.ColumnElement[bool]) -> list[Case]:
        """Of these rounds and cases, in their order."""
        found = _CASES.where(*where)
        studies = found.with_only_columns(training_case.c.study_instance_uid).order_by(None)
        origin = origins(connection, studies)
        withdrawn = _withdrawn(connection, studies, origin, self._clock())
        return [
            _case(row, stands=origin.get(row.result_id, row.result_id) not in withdrawn)
            for row in connection.execute(found)
        ]


def new_key() -> bytes:
    """The key of a round's pseudonyms."""
    return secrets.token_bytes(32)


def _withdrawn(connection: Connection, studies: Studies, origin: Mapping[str, str], now: datetime) -> set[str]:
    """Analyses that are recalled, kept back or withheld, or of which a copy is."""
    this = result.c.result_id
    is_so = sa.or_(sa.exists().where(recall.c.result_id == this), kept_back(this), is_held(this, now))
    found = connection.scalars(sa.select(this).where(result.c.study_instance_uid.in_(studies), is_so))
    return {origin.get(one, one) for one in found}


_CASES = (
    sa.select(training_case, training_round.c.key, training_round.c.model_name, result.c.series_instance_uid)
    .join(training_round, training_round.c.round_id == training_case.c.round_id)
    .join(result, result.c.result_id == training_case.c.result_id)
    .order_by(training_case.c.round_id, training_case.c.position)
)


def _case(row: sa.Row[Any], *, stands: bool) -> Case:
    return Case(
        round_id=row.round_id,
        position=row.position,
        name=row.name,
        key=bytes.fromhex(row.key),
        study_instance_uid=row.study_instance_uid,
        result_id=row.result_id,
        series_instance_uid=row.series_instance_uid,
        model_name=row.model_name,
        stands=stands,
        kind=Kind(row.kind),
        truth=Truth(row.truth),
        answer=Answer(row.answer) if row.answer else None,
        confidence=Confidence(row.confidence) if row.confidence else None,
        answered_at=row.answered_at,
    )


def _truths(row: sa.Row[Any], given: Sequence[Verdict]) -> list[Truth]:
    """What each reader says."""
    of_readers: dict[str, list[Verdict]] = defaultdict(list)
    for one in given:
        of_readers[one.reader].append(one)
    uids = [lesion.tracking_uid for lesion in row.lesions]
    return [truth_of(Outcome(row.outcome), uids, theirs) for theirs in of_readers.values()]


def _candidate(row: sa.Row[Any], given: Sequence[Verdict]) -> Candidate | None:
    truths = _truths(row, given)
    truth = consensus(truths)
    if truth is Truth.UNKNOWN:
        return None
    return Candidate(
        study_instance_uid=row.study_instance_uid,
        result_id=row.result_id,
        series_instance_uid=row.series_instance_uid,
        model_name=row.model_name,
        outcome=Outcome(row.outcome),
        truth=truth,
        readers=truths.count(truth),
    )
