"""Who sees what of the store: whose studies, and whether with the patients' identities.

`SqlStudyStore.seen_by` has every read of the desk and of DICOMweb go through it, so that none can forget.
"""

import hmac
from base64 import b32encode
from dataclasses import dataclass, replace

import sqlalchemy as sa

from services.backends.store import board as shown
from services.backends.store.tables import study
from services.triage.study import StudyAttributes


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """tenants: whose studies are seen; None: everybody's. pseudonyms: without identities, by this key; b'': with."""

    tenants: frozenset[str] | None = None
    pseudonyms: bytes = b""

    def conditions(self) -> tuple[sa.ColumnElement[bool], ...]:
        """Of rows of `study`: they are seen."""
        return () if self.tenants is None else (study.c.tenant.in_(sorted(self.tenants)),)

    @property
    def sees_patients(self) -> bool:
        """Whether identities are shown."""
        return not self.pseudonyms

    def row(self, row: shown.StudyRow) -> shown.StudyRow:
        """A line of the work list. Whatever the headers tell in an identifier or in free text is left out."""
        if self.sees_patients:
            return row
        pseudonym = self._pseudonym(row.study)
        hidden = dict.fromkeys(StudyAttributes.__dataclass_fields__, "")
        hidden |= {"study_instance_uid": row.study.study_instance_uid, "patient_name": pseudonym}
        return replace(row, study=StudyAttributes(**hidden), pseudonym=pseudonym)

    def detail(self, detail: shown.StudyDetail) -> shown.StudyDetail:
        """One study, in the same way."""
        if self.sees_patients:
            return detail
        patients = tuple(
            replace(one, patient_id=f"{detail.row.pseudonym} / {number}", issuer_of_patient_id="")
            for number, one in enumerate(detail.patients, start=1)
        )
        series = tuple(replace(one, series_description="") for one in detail.series)
        return replace(detail, patients=patients, series=series)

    def _pseudonym(self, of: StudyAttributes) -> str:
        """The same for all studies of a patient, by ID and issuer; of one without an ID, of the study."""
        patient = f"{of.issuer_of_patient_id}\n{of.patient_id}" if of.patient_id else of.study_instance_uid
        letters = b32encode(hmac.digest(self.pseudonyms, patient.encode(), "sha256")).decode()
        return f"Patient {letters[:4]}-{letters[4:8]}"


EVERYTHING = Sight()
