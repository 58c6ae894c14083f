"""Versions in which only the patient or order data of the images changed: what earlier results say of them still holds.

IHE calls it patient information reconciliation (RAD TF-1 section 7, PIR).
"""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.tables import result, result_object, study_version
from services.triage.errors import Reason
from services.triage.finding import Finding, Flag, Outcome
from services.triage.job import JobPlan
from services.triage.model import ModelIdentity
from services.triage.result import FrozenResult
from services.triage.study import VersionKey

_ANALYSED = [outcome for outcome in Outcome if outcome.analysed]


def answered(connection: Connection, version: VersionKey, plans: Iterable[JobPlan]) -> dict[str, str]:
    """By model name, the newest result in which the model looked at the same series of the same images."""
    since = connection.scalar(
        sa.select(study_version.c.images_since).where(
            study_version.c.study_instance_uid == version.study_instance_uid,
            study_version.c.number == version.number,
        )
    )
    if since is None or since == version.number:
        return {}
    found = {}
    for plan in plans:
        newest = connection.scalar(
            sa.select(result.c.result_id)
            .where(
                result.c.study_instance_uid == version.study_instance_uid,
                result.c.version.between(since, version.number - 1),
                result.c.model_name == plan.model_name,
                result.c.series_instance_uid == plan.series_instance_uid,
                result.c.outcome.in_(_ANALYSED),
            )
            .order_by(result.c.version.desc(), result.c.frozen_at.desc())
            .limit(1)
        )
        if newest is not None:
            found[plan.model_name] = newest
    return found


def frozen_result(connection: Connection, result_id: str) -> FrozenResult:
    """A result as it was frozen."""
    row = connection.execute(sa.select(result).where(result.c.result_id == result_id)).one()
    sha256s = connection.scalars(
        sa.select(result_object.c.sha256)
        .where(result_object.c.result_id == result_id)
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
    )
