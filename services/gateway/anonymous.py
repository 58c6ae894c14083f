"""A study as those see it who keep the service running: which one it is, and not whose."""

from dataclasses import fields, replace
from hashlib import sha256

from services.backends.store.board import StudyRow
from services.triage.person import Person
from services.triage.study import StudyAttributes

_KEPT = frozenset({"study_instance_uid", "study_date", "study_time"})


def pseudonym(study_instance_uid: str) -> str:
    """A short name of a study, e.g. 'F3A9-07C1'. It tells of the patient no more than the UID does."""
    digest = sha256(study_instance_uid.encode()).hexdigest()[:8].upper()
    return f"{digest[:4]}-{digest[4:]}"


def as_seen_by(person: Person, row: StudyRow) -> StudyRow:
    """The row as this person may see it: without the patient, and the words of the order, where that is not theirs."""
    if person.sees_patients:
        return row
    blank = {one.name: "" for one in fields(StudyAttributes) if one.name not in _KEPT}
    return replace(row, study=replace(row.study, **blank))
