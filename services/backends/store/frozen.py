"""A result as it was frozen, and whether it was recalled since; and which objects are our own."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.tables import recall, result, result_object, verdict_document
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
        ),
        sha256s=tuple(sha256s),
        recall=recall_of(connection, result_id),
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


def sha256_of(connection: Connection, sop_instance_uid: str) -> str | None:
    """The digest of such an object's bytes, its name in `StudyFiles.result_path`."""
    digests = (
        connection.scalar(sa.select(table.c.sha256).where(table.c.sop_instance_uid == sop_instance_uid))
        for table in (result_object, verdict_document)
    )
    return next((one for one in digests if one is not None), None)
