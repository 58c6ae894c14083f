"""A result as it was frozen, and whether it was recalled since; and which objects are our own."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.sight import Sight
from services.backends.store.tables import recall, result, result_object, study, verdict_document
from services.backends.store.withheld import is_held
from services.triage.errors import Reason
from services.triage.finding import Finding, Flag, Outcome
from services.triage.model import ModelIdentity
from services.triage.result import FrozenResult, Recall


def frozen_result(connection: Connection, result_id: str) -> FrozenResult | None:
    """A result as it was frozen, None if it is unknown."""
    row = connection.execute(sa.select(result).where(result.c.result_id == result_id)).first()
    if row is None:
        return None
    sha256s = connection.scalars(
        sa.select(result_object.c.sha256)
        .where(result_object.c.result_id == result_id, sa.not_(result_object.c.note))
        .order_by(result_object.c.position)
    )
    return FrozenResult(
        result_id=result_id,
        model=ModelIdentity(name=row.model_name, version=row.model_version, weights_sha256=row.weights_sha256),
        series_instance_uid=row.series_instance_uid,
        finding=Finding(
            outcome=Outcome(row.outcome),
            score=row.score,
            flag=Flag(row.flag),
            calibrated=row.calibrated,
            lesions=row.lesions,
            reason=Reason(code=row.reason_code, text=row.reason_text) if row.reason_code else None,
            cautions=row.cautions or (),
            uncertainty=row.uncertainty,
            organs=row.organs or (),
        ),
        sha256s=tuple(sha256s),
        recall=recall_of(connection, result_id),
        inference=row.inference,
    )


def recall_of(connection: Connection, result_id: str) -> Recall | None:
    """How a result was recalled, None if it was not."""
    row = connection.execute(sa.select(recall).where(recall.c.result_id == result_id)).first()
    return None if row is None else Recall(recalled_at=row.recalled_at, actor=row.actor, reason=row.reason)


def own_objects(sop_instance_uids: Sequence[str] | None = None) -> sa.CompoundSelect[tuple[str]]:
    """The SOP Instance UIDs, among these, of what was written here: results and documents of verdicts."""
    every = [
        sa.select(table.c.sop_instance_uid)
        if sop_instance_uids is None
        else sa.select(table.c.sop_instance_uid).where(table.c.sop_instance_uid.in_(sop_instance_uids))
        for table in (result_object, verdict_document)
    ]
    return sa.union_all(*every)


def sha256_of(connection: Connection, sop_instance_uid: str, *, now: datetime, sight: Sight) -> str | None:
    """The digest of such an object's bytes, its name in `StudyFiles.result_path`; None while its result is withheld."""
    of_result = (
        sa.select(result_object.c.sha256)
        .join(result, result.c.result_id == result_object.c.result_id)
        .join(study, study.c.study_instance_uid == result.c.study_instance_uid)
        .where(result_object.c.sop_instance_uid == sop_instance_uid, sa.not_(is_held(result.c.result_id, now)))
    )
    of_reader = (
        sa.select(verdict_document.c.sha256)
        .join(study, study.c.study_instance_uid == verdict_document.c.study_instance_uid)
        .where(verdict_document.c.sop_instance_uid == sop_instance_uid)
    )
    digests = (connection.scalar(found.where(*sight.conditions())) for found in (of_result, of_reader))
    return next((one for one in digests if one is not None), None)
