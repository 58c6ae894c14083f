"""Whose study it is: what of patient and order a result repeats, and whether the images of a study agree on it.

Only images count (`completeness.is_routable`): our own objects come back with the identity that they were written
under, and a dose report or a key object is no part of what a model looks at.
"""

from collections.abc import Iterable

from services.triage.completeness import is_routable
from services.triage.errors import Reason
from services.triage.study import Instance, StudyAttributes

TWO_PATIENTS = "two_patients"
NOT_AGREED = Reason(
    code="identity_not_agreed",
    text="the images do not agree on patient or order data yet; the result stands under the earlier ones",
)

Identity = tuple[str, ...]


def identity(study: StudyAttributes) -> Identity:
    """What makes a result belong to a patient and an order; two that differ need two results.

    Descriptions, dates and the age are left out: archives write them anew, and nobody files a result by them.
    """
    return (*_patient(study), study.accession_number, study.study_id)


def agree(instances: Iterable[Instance], series_instance_uid: str | None) -> bool:
    """Whether all images of a study tell one patient, and those of a series one order.

    The order is that of the series alone: a study may hold the images of two.
    """
    images = [one for one in instances if is_routable(one.header)]
    patients = {_patient(one.study) for one in images}
    orders = {identity(one.study) for one in images if one.header.series_instance_uid == series_instance_uid}
    return max(len(patients), len(orders)) <= 1


def two_patients(instances: Iterable[Instance]) -> Reason | None:
    """Why nothing can be said of anybody: the images are of two patients, by ID or by issuer (PS3.3 C.7.1.1).

    An ID, or an issuer, that an image leaves out contradicts none.
    """
    images = [one.study for one in instances if is_routable(one.header)]
    ids = {study.patient_id for study in images if study.patient_id}
    issuers = {study.issuer_of_patient_id for study in images if study.issuer_of_patient_id}
    if max(len(ids), len(issuers)) < 2:
        return None
    told = f"{len(ids)} patient IDs" if len(ids) > 1 else f"a patient ID of {len(issuers)} issuers"
    return Reason(
        code=TWO_PATIENTS, text=f"the images carry {told}; nothing is written to the PACS until that is corrected"
    )


def _patient(study: StudyAttributes) -> Identity:
    return (
        study.patient_id,
        study.issuer_of_patient_id,
        _person(study.patient_name),
        study.patient_birth_date,
        study.patient_sex,
    )


def _person(name: str) -> str:
    """A name (PS3.5 6.2.1) without the delimiters that a writer may leave out at an end."""
    return "=".join(group.rstrip("^ ") for group in name.split("=")).rstrip("=")
