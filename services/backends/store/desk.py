"""The reads of the desk: the work list, one study with all its history, and counts."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from services.backends.store import board as shown
from services.backends.store import inquiries, versions
from services.backends.store.detail import model_of, reason_of, study_detail
from services.backends.store.engine import reading
from services.backends.store.flagging import times_since
from services.backends.store.tables import (
    adt_count,
    board,
    commitment_request,
    delivery,
    job,
    recall,
    result,
    result_object,
    study,
    study_version,
    workitem,
)
from services.triage.commitment import RequestState
from services.triage.finding import Flag, Outcome
from services.triage.job import JobState, OrderPriority
from services.triage.result import DeliveryState
from services.triage.workitem import ProcedureStepState

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
    .add_columns(recall.c.recalled_at, workitem.c.state.label("review"))
    .outerjoin(result, board.c.result_id == result.c.result_id)
    .outerjoin(recall, board.c.result_id == recall.c.result_id)
    .outerjoin(workitem, board.c.result_id == workitem.c.result_id)
)


class Board:
    """What the desk may ask. Raises StoreUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def work_list(
        self,
        *,
        states: Collection[str] | None = None,
        search: str = "",
        tenant: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[shown.StudyRow]:
        """By order priority, then the AI's flag, then arrival (oldest first).

        states: those to show; None: all but out of scope. search: part of a patient name or id, an accession number,
        a description or a UID, in any case. tenant: whose; None: everybody's.
        """
        wanted = sorted(shown.LISTED if states is None else states)
        lines = _LINES.where(board.c.state.in_(wanted))
        if search:
            lines = lines.where(sa.or_(*(column.icontains(search, autoescape=True) for column in _SEARCHED)))
        if tenant is not None:
            lines = lines.where(study.c.tenant == tenant)
        lines = lines.order_by(board.c.priority, board.c.urgency, board.c.received_at, board.c.study_instance_uid)
        with reading(self._engine) as connection:
            return [_study_row(row) for row in connection.execute(lines.limit(limit).offset(offset))]

    def study(self, study_instance_uid: str) -> shown.StudyDetail | None:
        """All of one study, None if it is unknown."""
        with reading(self._engine) as connection:
            row = connection.execute(_LINES.where(study.c.study_instance_uid == study_instance_uid)).first()
            if row is None:
                return None
            return study_detail(connection, _study_row(row))

    def result_object(self, sop_instance_uid: str) -> str | None:
        """The SHA-256 of a frozen object, its name in `StudyFiles.result_path`."""
        with reading(self._engine) as connection:
            return connection.scalar(
                sa.select(result_object.c.sha256).where(result_object.c.sop_instance_uid == sop_instance_uid)
            )

    def studies_by_tenant(self) -> dict[str, int]:
        """How many studies each tenant has; NO_TENANT is a key, too."""
        with reading(self._engine) as connection:
            return {key[0]: n for key, n in _count_by(connection, study.c.tenant).items()}

    def times_to_flag(self, *, since: datetime, percents: Sequence[int]) -> shown.FlagTimes:
        """Of all studies that got since then the flag that they have now; percents: 1 to 100 each."""
        with reading(self._engine) as connection:
            return times_since(connection, since, percents)

    def counts(self) -> shown.Counts:
        """For metrics."""
        with reading(self._engine) as connection:
            deliveries = _count_by(connection, delivery.c.destination, delivery.c.state)
            commitments = _count_by(connection, commitment_request.c.calling_ae_title, commitment_request.c.state)
            outcomes = _count_by(connection, result.c.model_name, result.c.outcome, result.c.flag)
            return shown.Counts(
                studies={key[0]: n for key, n in _count_by(connection, board.c.state).items()},
                jobs={key[0]: n for key, n in _count_by(connection, job.c.state).items()},
                deliveries={(name, state): n for (name, state), n in deliveries.items()},
                commitments={(ae_title, state): n for (ae_title, state), n in commitments.items()},
                adt={
                    (row.trigger_event, row.outcome): row.messages for row in connection.execute(sa.select(adt_count))
                },
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
                completions={
                    code: n for (code,), n in _count_by(connection, study_version.c.completed_on).items() if code
                },
                waiting_for_pacs=inquiries.waiting(connection),
                oldest_open_commitment_at=connection.scalar(
                    sa.select(sa.func.min(commitment_request.c.asked_at)).where(
                        commitment_request.c.state.in_((RequestState.ASKED, RequestState.DECIDED))
                    )
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
        model=model_of(row.result_model_name, row.result_model_version, row.result_weights_sha256)
        if has_result
        else None,
        recalled=recalled,
        already_reported=row.board_already_reported,
        review=ProcedureStepState(row.review) if row.review is not None else None,
        lesion_count=len(lesions),
        largest_long_axis_mm=max((lesion.long_axis_mm for lesion in lesions), default=None),
        reason=reason_of(row.board_reason_code, row.board_reason_text),
        tenant=row.tenant,
        time_to_flag=shown.TimeToFlag.between(row.board_first_image_at, row.board_last_image_at, row.board_flagged_at)
        if row.board_flagged_at
        else None,
    )
