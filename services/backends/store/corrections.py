"""Versions in which only the patient or order data of the images changed: what earlier results say of them still holds.

IHE calls it Patient Information Reconciliation (RAD TF-1, PIR).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.frozen import recall_of
from services.backends.store.tables import result, study_version
from services.triage.finding import Outcome
from services.triage.job import JobPlan
from services.triage.study import VersionKey

_ANALYSED = [outcome for outcome in Outcome if outcome.analysed]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An earlier result in which a model looked at the same series of the same images."""

    result_id: str
    recalled: bool


def answered(connection: Connection, version: VersionKey, plans: Iterable[JobPlan]) -> dict[str, Answer]:
    """What of the plans is answered, by model name; by the newest result."""
    since = connection.scalar(
        sa.select(study_version.c.images_since).where(
            study_version.c.study_instance_uid == version.study_instance_uid,
            study_version.c.number == version.number,
            sa.not_(study_version.c.rerun),
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
            recalled = recall_of(connection, newest) is not None
            found[plan.model_name] = Answer(result_id=newest, recalled=recalled)
    return found
