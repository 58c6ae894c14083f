"""What a patient registry has said of patients (HL7 v2 ADT), and what follows from it for the images of a study.

A registry knows better than an image header who somebody is: what it said last of an ID holds over what images say that
carry that ID, whichever came first (IHE RAD TF-1, Patient Information Reconciliation).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum

from services.triage.study import StudyAttributes

MAX_ID_CHARACTERS = 64
"""Of a PatientID and of its issuer (VR LO, PS3.5 6.2): no longer one is kept, or searched for."""

IDENTIFIER_TYPES = ("MR", "MRT", "PE", "PI", "PN", "PT", "U")
"""Of HL7 table 0203 those of IDs that are a patient's: medical record, enterprise, person, patient, not specified."""

_BIRTH_DATE_DIGITS = 8


class AdtOutcome(StrEnum):
    """What became of a message."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    """it came before, or a newer one of the same sender did"""
    REFUSED = "refused"
    """it cannot be understood; it is kept for a person"""
    UNSUPPORTED = "unsupported"
    """of a kind that is not taken"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientKey:
    """An ID and who gave it: PatientID and IssuerOfPatientID, CX.1 and the namespace of CX.4 in HL7."""

    patient_id: str
    issuer: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Demographics:
    """What is said of a patient, as DICOM writes it. None: nothing is said; '': it is not known.

    patient_birth_date: YYYYMMDD, or only its beginning (YYYY, YYYYMM) where no more is known.
    """

    patient_name: str | None = None
    patient_birth_date: str | None = None
    patient_sex: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """When something was said, by the clock of the sender that said it (UTC)."""

    at: datetime
    sender: str

    def is_older_than(self, other: "Stamp | None") -> bool:
        """Whether the same sender said the other later; of two senders, whose clocks may differ, neither is older."""
        return other is not None and other.sender == self.sender and self.at < other.at


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientChange:
    """What a message says of one patient.

    keys: the IDs that the patient has. merges: (prior, surviving) each; who had the prior ID has the surviving one now.
    """

    keys: tuple[PatientKey, ...]
    demographics: Demographics
    merges: tuple[tuple[PatientKey, PatientKey], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class AdtMessage:
    """An ADT message that was understood. trigger_event: such as A08. control_id: MSH-10."""

    trigger_event: str
    control_id: str
    stamp: Stamp
    changes: tuple[PatientChange, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """All that the registry has said of one ID. told, merged: when; `merged` also of a merge that was undone."""

    key: PatientKey
    demographics: Demographics = Demographics()
    told: Stamp | None = None
    merged_into: PatientKey | None = None
    merged: Stamp | None = None


class Register:
    """Patients by ID. Merges make a forest: whose ID leads nowhere goes on, all others are of the one they lead to.

    default_issuer: who gave the IDs whose issuer is not told, in images and in messages; no other issuer's patients are
    ever theirs.
    """

    def __init__(self, patients: Iterable[Patient] = (), *, default_issuer: str = "") -> None:
        self._patients = {one.key: one for one in patients}
        self._default_issuer = default_issuer

    def __getitem__(self, key: PatientKey) -> Patient:
        key = self.key(key)
        return self._patients.get(key, Patient(key=key))

    @property
    def patients(self) -> Mapping[PatientKey, Patient]:
        """Those of which anything was said."""
        return self._patients

    def key(self, told: PatientKey) -> PatientKey:
        """An ID with its issuer, where that is known."""
        return told if told.issuer else replace(told, issuer=self._default_issuer)

    def survivor(self, key: PatientKey) -> PatientKey:
        """The ID that this one has become."""
        return self._way(self.key(key))[-1]

    def apply(self, message: AdtMessage) -> list[Patient]:
        """Take in a message; answers whom it changed: nobody, where it came before or is older than what is known."""
        before = dict(self._patients)
        for change in message.changes:
            for prior, surviving in change.merges:
                self._merge(self.key(prior), self.key(surviving), message.stamp)
            for key in change.keys:
                self._tell(self.key(key), change.demographics, message.stamp)
        return [one for key, one in self._patients.items() if before.get(key) != one]

    def holds(self, study: StudyAttributes, *, issuer: str = "") -> StudyAttributes:
        """The attributes of an image under the patient data that hold: ID and issuer, name, birth date and sex.

        issuer: who gave an ID whose issuer is not told, where that is another than by default.
        """
        key = self.key(PatientKey(patient_id=study.patient_id, issuer=study.issuer_of_patient_id or issuer))
        if not key.patient_id:
            return study
        way = self._way(key)
        survivor, held = way[-1], self._held(way)
        if survivor != key:
            study = replace(study, patient_id=survivor.patient_id)
        if survivor.issuer != key.issuer:
            study = replace(study, issuer_of_patient_id=survivor.issuer)
        return replace(
            study,
            patient_name=study.patient_name if held.patient_name is None else held.patient_name,
            patient_birth_date=_birth_date(study.patient_birth_date, held.patient_birth_date),
            patient_sex=study.patient_sex if held.patient_sex is None else held.patient_sex,
        )

    def _held(self, way: Sequence[PatientKey]) -> Demographics:
        """Of the ID that goes on; what was never said of it, as it was said of those before it: one person."""
        held = Demographics()
        for key in way:
            held = _over(held, self[key].demographics)
        return held

    def _tell(self, key: PatientKey, told: Demographics, stamp: Stamp) -> None:
        known = self[key]
        if told != Demographics() and not stamp.is_older_than(known.told):
            self._patients[key] = replace(known, demographics=_over(known.demographics, told), told=stamp)

    def _merge(self, prior: PatientKey, surviving: PatientKey, stamp: Stamp) -> None:
        """Where the surviving ID had become the prior one before, that is undone: the newer message counts."""
        way = self._way(surviving)
        undone = way[: way.index(prior)] if prior in way else []
        decided = [self[prior], *(self[key] for key in undone)]
        if prior == surviving or any(stamp.is_older_than(one.merged) for one in decided):
            return
        self._patients[prior] = replace(self[prior], merged_into=surviving, merged=stamp)
        if undone:
            self._patients[surviving] = replace(self[surviving], merged_into=None, merged=stamp)

    def _way(self, key: PatientKey) -> list[PatientKey]:
        """The IDs from this one to the one that goes on."""
        way = [key]
        while (following := self[way[-1]].merged_into) is not None:
            way.append(following)
        return way


def _over(known: Demographics, told: Demographics) -> Demographics:
    """What is known with what is told over it."""
    said = {one.name: value for one in fields(told) if (value := getattr(told, one.name)) is not None}
    return replace(known, **said)


def _birth_date(own: str, told: str | None) -> str:
    """VR DA has no parts: what is told in part leaves a date that agrees with it, and empties one that does not."""
    if told is None or (told and own.startswith(told)):
        return own
    return told if len(told) == _BIRTH_DATE_DIGITS else ""
