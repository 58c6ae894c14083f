"""Whom and what a result is of, in a row of its own: the headers are too large to be read again for each figure."""

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.engine import insert_new
from services.backends.store.tables import instance, result, result_traits, study
from services.triage.study import InstanceHeader

_DAYS_A_YEAR = 365.25
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / _DAYS_A_YEAR, "D": 1 / _DAYS_A_YEAR}
_OLDEST = 130
_SEXES = frozenset({"F", "M", "O"})  # the defined terms of Patient's Sex (0010,0040)


def keep(connection: Connection, result_id: str, study_instance_uid: str, series_instance_uid: str | None) -> None:
    """Write the traits of a result: those of the first image of its series, or of the study where none was chosen."""
    of_study = connection.execute(
        sa.select(study.c.patient_sex, study.c.patient_age, study.c.patient_birth_date, study.c.study_date).where(
            study.c.study_instance_uid == study_instance_uid
        )
    ).one()
    images = sa.select(instance.c.header).where(instance.c.study_instance_uid == study_instance_uid)
    if series_instance_uid is not None:
        images = images.where(instance.c.series_instance_uid == series_instance_uid)
    header: InstanceHeader | None = connection.scalar(images.order_by(instance.c.id).limit(1))
    sex = of_study.patient_sex.strip().upper()
    row = {
        "result_id": result_id,
        "sex": sex if sex in _SEXES else "",
        "age_years": age_years(of_study.patient_age, of_study.patient_birth_date, of_study.study_date),
        "manufacturer": header.manufacturer.strip() if header else "",
        "manufacturer_model_name": header.manufacturer_model_name.strip() if header else "",
        "convolution_kernel": header.convolution_kernel.strip() if header else "",
        "slice_thickness_mm": header.slice_thickness_mm if header else None,
    }
    insert_new(connection, result_traits, [row])


def fill(connection: Connection, *, limit: int) -> int:
    """Write them of so many results that have none; answers of how many."""
    rows = connection.execute(
        sa.select(result.c.result_id, result.c.study_instance_uid, result.c.series_instance_uid)
        .outerjoin(result_traits, result_traits.c.result_id == result.c.result_id)
        .where(result_traits.c.result_id.is_(None))
        .limit(limit)
    ).all()
    for row in rows:
        keep(connection, *row)
    return len(rows)


def age_years(age: str, birth_date: str, study_date: str) -> int | None:
    """Whole years at the study, by Patient's Age (VR AS) or else by the two dates (VR DA); None: not told."""
    if len(age) == 4 and age[:3].isdigit() and age[3] in _YEARS:
        return int(int(age[:3]) * _YEARS[age[3]])
    if not all(len(each) == 8 and each.isdigit() for each in (birth_date, study_date)):
        return None
    years = int(study_date[:4]) - int(birth_date[:4]) - (study_date[4:] < birth_date[4:])
    return years if 0 <= years <= _OLDEST else None
