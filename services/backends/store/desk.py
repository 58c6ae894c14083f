"""The reads of the desk: the work list, one study with all its history, and counts."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import board as shown
from services.backends.store import history, versions
from services.backends.store.deliveries import kinds
from services.backends.store.engine import reading
from services.backends.store.tables import (
    board,
    delivery,
    instance,
    job,
    recall,
    result,
    result_object,
    study,
    study_version,
)
from services.triage.completeness import is_routable
from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.job import JobKind, JobState, OrderPriority
from services.triage.model import ModelIdentity
from services.triage.result import DeliveryState, Recall
from services.triage.study import Event, InstanceHeader, StudyState

_SEARCHED = (
    study.c.study_instance_uid,
    study.c.patient_id,
    study.c.patient_name,
    study.c.accession_number,
    study.c.study_description,
)
_LINES = (
    sa.select(
        study,
        *(column.label(f"board_{column.name}") for column in board.c),
        *(column.label(f"result_{column.name}") for column in result.c),
    )
    .join_from(board, study, board.c.study_instance_uid == study.c.study_instance_uid)
    .add_columns(recall.c.recalled_at)
    .outerjoin(result, board.c.result_id == result.c.result_id)
    .outerjoin(recall, board.c.result_id == recall.c.result_id)
)


class Board:
    """What the desk may ask. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def work_list(
        self, *, states: Collection[str] | None = None, search: str = "", limit: int = 100, offset: int = 0
    ) -> list[shown.StudyRow]:
        """By order priority, then the AI's flag, then arrival (oldest first).

        states: those to show; None: all but out of scope. search: part of a patient name or id, an accession number,
        a description or a UID, in any case.
        """
        wanted = sorted(shown.LISTED if states is None else states)
        lines = _LINES.where(board.c.state.in_(wanted))
        if search:
            lines = lines.where(sa.or_(*(column.icontains(search, autoescape=True) for column in _SEARCHED)))
        lines = lines.order_by(board.c.priority, board.c.urgency, board.c.received_at, board.c.study_instance_uid)
        with reading(self._engine) as connection:
            return [_study_row(row) for row in connection.execute(lines.limit(limit).offset(offset))]

    def study(self, study_instance_uid: str) -> shown.StudyDetail | None:
        """All of one study, None if it is unknown."""
        with reading(self._engine) as connection:
            row = connection.execute(_LINES.where(study.c.study_instance_uid == study_instance_uid)).first()
            if row is None:
                return None
            events = history.read(connection, study_instance_uid)
            return shown.StudyDetail(
                row=_study_row(row),
                patients=_patients(connection, study_instance_uid),
                series=_series(connection, study_instance_uid),
                versions=_versions(connection, study_instance_uid, events),
                events=tuple(one for kind, _, one in events if kind in ("study", "version")),
            )

    def result_object(self, sop_instance_uid: str) -> str | None:
        """The SHA-256 of a frozen object, its name in `StudyFiles.result_path`."""
        with reading(self._engine) as connection:
            return connection.scalar(
                sa.select(result_object.c.sha256).where(result_object.c.sop_instance_uid == sop_instance_uid)
            )

    def counts(self) -> shown.Counts:
        """For metrics."""
        with reading(self._engine) as connection:
            deliveries = _count_by(connection, delivery.c.destination, delivery.c.state)
            outcomes = _count_by(connection, result.c.model_name, result.c.outcome, result.c.flag)
            return shown.Counts(
                studies={key[0]: n for key, n in _count_by(connection, board.c.state).items()},
                jobs={key[0]: n for key, n in _count_by(connection, job.c.state).items()},
                deliveries={(name, state): n for (name, state), n in deliveries.items()},
                outcomes={(model, outcome, flag): n for (model, outcome, flag), n in outcomes.items()},
                oldest_queued_at=connection.scalar(
                    sa.select(sa.func.min(job.c.queued_at)).where(job.c.state == JobState.QUEUED)
                ),
                oldest_unfinished_at=connection.scalar(
                    sa.select(sa.func.min(job.c.queued_at)).where(
                        job.c.state.in_((JobState.QUEUED, JobState.ANALYSING))
                    )
                ),
                oldest_pending_delivery_at=connection.scalar(
                    sa.select(sa.func.min(delivery.c.created_at)).where(delivery.c.state == DeliveryState.PENDING)
                ),
            )


def _count_by(connection: Connection, *columns: sa.Column[Any]) -> dict[tuple[str, ...], int]:
    rows = connection.execute(sa.select(*columns, sa.func.count()).group_by(*columns))
    return {tuple(row[:-1]): int(row[-1]) for row in rows}


def _study_row(row: sa.Row[Any]) -> shown.StudyRow:
    has_result = row.result_result_id is not None
    recalled = row.recalled_at is not None
    lesions = () if recalled or not has_result else row.result_lesions
    return shown.StudyRow(
        study=versions.attributes_of(row),
        state=shown.ShownState(row.board_state),
        priority=OrderPriority(row.board_priority),
        version=row.board_version,
        modalities=row.board_modalities,
        series_count=row.board_series_count,
        instance_count=row.board_instance_count,
        received_at=row.board_received_at,
        last_instance_at=row.board_last_instance_at,
        completed_at=row.board_completed_at,
        frozen_at=row.result_frozen_at,
        result_version=row.result_version,
        outcome=Outcome(row.result_outcome) if has_result and not recalled else None,
        flag=Flag(row.result_flag) if has_result and not recalled else None,
        score=None if recalled else row.result_score,
        calibrated=bool(row.result_calibrated),
        model=_model(row.result_model_name, row.result_model_version, row.result_weights_sha256)
        if has_result
        else None,
        recalled=recalled,
        already_reported=row.board_already_reported,
        lesion_count=len(lesions),
        largest_long_axis_mm=max((lesion.long_axis_mm for lesion in lesions), default=None),
        reason=_reason(row.board_reason_code, row.board_reason_text),
    )


def _patients(connection: Connection, uid: str) -> tuple[shown.PatientRow, ...]:
    """Of the newest content of each image, by falling number of images."""
    images = (one for one in versions.newest(connection, uid) if is_routable(one.header))
    counts = Counter((one.study.patient_id, one.study.issuer_of_patient_id) for one in images)
    return tuple(
        shown.PatientRow(patient_id=patient_id, issuer_of_patient_id=issuer, image_count=count)
        for (patient_id, issuer), count in counts.most_common()
    )


def _series(connection: Connection, uid: str) -> tuple[shown.SeriesRow, ...]:
    rows = connection.execute(
        sa.select(instance.c.sop_instance_uid, instance.c.header)
        .where(instance.c.study_instance_uid == uid)
        .order_by(instance.c.id)
    )
    first: dict[str, InstanceHeader] = {}
    contents: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for sop_instance_uid, header in rows:
        first.setdefault(header.series_instance_uid, header)
        contents[header.series_instance_uid][sop_instance_uid] += 1
    return tuple(
        shown.SeriesRow(
            series_instance_uid=series_uid,
            modality=header.modality,
            series_number=header.series_number,
            series_description=header.series_description,
            instance_count=len(contents[series_uid]),
            conflicts=tuple(sop for sop, count in contents[series_uid].items() if count > 1),
        )
        for series_uid, header in first.items()
    )


_Events = Sequence[tuple[str, str, Event]]


def _versions(connection: Connection, uid: str, events: _Events) -> tuple[shown.VersionRow, ...]:
    results = _results(connection, uid, events)
    jobs: dict[int, list[shown.JobRow]] = defaultdict(list)
    rows = connection.execute(
        sa.select(job).where(job.c.study_instance_uid == uid).order_by(job.c.queued_at, job.c.job_id)
    )
    for row in rows:
        jobs[row.version].append(
            shown.JobRow(
                job_id=row.job_id,
                kind=JobKind.ANALYSE if row.reconciles is None else JobKind.RECONCILE,
                model_name=row.model_name,
                series_instance_uid=row.plan.series_instance_uid,
                state=JobState(row.state),
                attempt=row.attempt,
                refusal=row.plan.refusal,
                refused_series=row.plan.refused_series,
                queued_at=row.queued_at,
                result=results.get(row.job_id),
                events=_of("job", row.job_id, events),
            )
        )
    rows_of_versions = connection.execute(
        sa.select(study_version)
        .where(study_version.c.study_instance_uid == uid)
        .order_by(study_version.c.number.desc())
    )
    return tuple(
        shown.VersionRow(
            number=row.number,
            state=StudyState(row.state),
            opened_at=row.opened_at,
            completed_at=row.completed_at,
            out_of_scope=_reason(row.out_of_scope_code, row.out_of_scope_text),
            jobs=tuple(jobs[row.number]),
        )
        for row in rows_of_versions
    )


def _results(connection: Connection, uid: str, events: _Events) -> dict[str, shown.ResultRow]:
    """By job id."""
    objects, deliveries = _objects(connection, uid), _deliveries(connection, uid, events)
    rows = connection.execute(
        sa.select(result).where(result.c.study_instance_uid == uid).order_by(result.c.version, result.c.frozen_at)
    ).all()
    following = {
        earlier.result_id: later.result_id
        for _, of_model in groupby(sorted(rows, key=attrgetter("model_name")), key=attrgetter("model_name"))
        for earlier, later in pairwise(of_model)
    }
    recalls = {
        row.result_id: Recall(recalled_at=row.recalled_at, actor=row.actor, reason=row.reason)
        for row in connection.execute(sa.select(recall).where(recall.c.study_instance_uid == uid))
    }
    return {
        row.job_id: shown.ResultRow(
            result_id=row.result_id,
            model=_model(row.model_name, row.model_version, row.weights_sha256),
            series_instance_uid=row.series_instance_uid,
            outcome=Outcome(row.outcome),
            score=row.score,
            flag=Flag(row.flag),
            calibrated=row.calibrated,
            reason=_reason(row.reason_code, row.reason_text),
            lesions=row.lesions,
            objects=tuple(objects[row.result_id]),
            deliveries=tuple(deliveries[row.result_id]),
            timings_s=row.timings_s,
            peak_memory_mb=row.peak_memory_mb,
            frozen_at=row.frozen_at,
            superseded_by=following.get(row.result_id),
            recall=recalls.get(row.result_id),
        )
        for row in rows
    }


def _objects(connection: Connection, uid: str) -> dict[str, list[shown.ObjectRow]]:
    """By result id."""
    found: dict[str, list[shown.ObjectRow]] = defaultdict(list)
    rows = connection.execute(
        sa.select(result_object)
        .join(result, result.c.result_id == result_object.c.result_id)
        .where(result.c.study_instance_uid == uid)
        .order_by(result_object.c.position)
    )
    for row in rows:
        found[row.result_id].append(
            shown.ObjectRow(
                modality=row.modality,
                sop_class_uid=row.sop_class_uid,
                sop_instance_uid=row.sop_instance_uid,
                series_instance_uid=row.series_instance_uid,
                sha256=row.sha256,
                size_bytes=row.size_bytes,
                note=row.note,
            )
        )
    return found


def _deliveries(connection: Connection, uid: str, events: _Events) -> dict[str, list[shown.DeliveryRow]]:
    """By result id."""
    found: dict[str, list[shown.DeliveryRow]] = defaultdict(list)
    rows = connection.execute(
        sa.select(delivery)
        .where(delivery.c.study_instance_uid == uid)
        .order_by(delivery.c.destination, delivery.c.created_at)
    )
    for row in rows:
        found[row.result_id].append(
            shown.DeliveryRow(
                delivery_id=row.delivery_id,
                destination=row.destination,
                address=row.address,
                objects=kinds(connection, row),
                state=DeliveryState(row.state),
                attempt=row.attempt,
                next_at=row.next_at,
                reason=_reason(row.reason_code, row.reason_text),
                note=row.note,
                events=_of("delivery", row.delivery_id, events),
            )
        )
    return found


def _of(kind: str, subject: str, events: _Events) -> tuple[Event, ...]:
    return tuple(one for its_kind, its_subject, one in events if (its_kind, its_subject) == (kind, subject))


def _model(name: str, version: str, weights_sha256: str) -> ModelIdentity:
    return ModelIdentity(name=name, version=version, weights_sha256=weights_sha256)


def _reason(code: str | None, text: str | None) -> Reason | None:
    return None if code is None else Reason(code=code, text=text or "")
