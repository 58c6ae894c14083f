"""What is needed to show the most suspicious lesion of a result."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.tables import recall, result, result_object
from services.backends.store.withheld import is_held
from services.triage.lesion import Lesion


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyLesion:
    """The most suspicious lesion of a result that stands.

    series_instance_uid: the analysed series. segmentations, captures: SOP Instance UIDs of SEG and of Secondary
    Captures, by their place in the result; seg_series_instance_uid: of the first SEG.
    """

    study_instance_uid: str
    result_id: str
    series_instance_uid: str | None
    lesion: Lesion
    segmentations: Sequence[str]
    captures: Sequence[str]
    seg_series_instance_uid: str | None


_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def key_lesion(connection: Connection, study_instance_uid: str, result_id: str, *, now: datetime) -> KeyLesion | None:
    """None where there is no such result, it was recalled or is withheld, or it tells of no lesion."""
    row = connection.execute(
        sa.select(result.c.series_instance_uid, result.c.lesions)
        .outerjoin(recall, recall.c.result_id == result.c.result_id)
        .where(
            result.c.result_id == result_id,
            result.c.study_instance_uid == study_instance_uid,
            recall.c.result_id.is_(None),
            sa.not_(is_held(result.c.result_id, now)),
        )
    ).first()
    if row is None or not row.lesions:
        return None
    objects = connection.execute(
        sa.select(result_object)
        .where(result_object.c.result_id == result_id, sa.not_(result_object.c.note))
        .order_by(result_object.c.position)
    ).all()
    segmentations = [one for one in objects if one.sop_class_uid == _SEGMENTATION]
    return KeyLesion(
        study_instance_uid=study_instance_uid,
        result_id=result_id,
        series_instance_uid=row.series_instance_uid,
        lesion=row.lesions[0],
        segmentations=[one.sop_instance_uid for one in segmentations],
        captures=[one.sop_instance_uid for one in objects if one.sop_class_uid == _CAPTURE],
        seg_series_instance_uid=segmentations[0].series_instance_uid if segmentations else None,
    )
