"""Study, series and instance as Vigie knows them: headers only, never pixels.

Attribute names are the DICOM keywords of PS3.6 in snake_case; lengths are in millimetres.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class StudyState(StrEnum):
    """The one axis of a study version: instances still arrive, or the version is complete."""

    RECEIVING = "receiving"
    COMPLETE = "complete"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyAttributes:
    """Patient and study level attributes for the work list. Never in logs, metrics or messages."""

    study_instance_uid: str
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    patient_age: str = ""
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    study_id: str = ""
    accession_number: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """How planes lie along their normal.

    places: where there is at least one. gap_mm: the usual way from one to the next. length_mm: from the first to the
    last, and one gap more.
    """

    places: int
    gap_mm: float
    length_mm: float


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceHeader:
    """What routing and completeness need of one instance.

    `image_orientation_patient`: 6 direction cosines, `image_position_patient`: mm in LPS (PS3.3 C.7.6.2);
    for multi-frame objects both are of the first frame, or None. `number_of_frames` is 1 for classic images; `frames`:
    how those of a multi-frame object lie along the first one's normal, None where not each tells its position, and for
    what an earlier version of Vigie read.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    modality: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    series_description: str = ""
    protocol_name: str = ""
    body_part_examined: str = ""
    contrast_bolus_agent: str = ""
    image_type: tuple[str, ...] = ()
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    convolution_kernel: str = ""
    frame_of_reference_uid: str = ""
    rows: int | None = None
    columns: int | None = None
    number_of_frames: int = 1
    samples_per_pixel: int | None = None
    photometric_interpretation: str = ""
    has_pixel_data: bool = False
    requested_procedure_priority: str = ""
    slice_thickness_mm: float | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    image_orientation_patient: tuple[float, ...] | None = None
    image_position_patient: tuple[float, ...] | None = None
    frames: Stack | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """One kept instance: its header, the patient and study that it is of, and its name in `StudyFiles`.

    as_received: what it tells of them itself, where a patient registry knows better (`patient.Register`); else None.
    size_bytes: of its file; 0 where that was not looked at.
    """

    header: InstanceHeader
    study: StudyAttributes
    digest: str
    as_received: StudyAttributes | None = None
    size_bytes: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """The instances of one series, in order of arrival."""

    series_instance_uid: str
    instances: tuple[Instance, ...]

    @property
    def header(self) -> InstanceHeader:
        """The header of the first instance; stands for the series where an attribute is of series level."""
        return self.instances[0].header


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionKey:
    """One version of a study: `number` counts from 1."""

    study_instance_uid: str
    number: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One line of a history: when, who (a component, a person, an AE title) and why."""

    time: datetime
    actor: str
    what: str
    cause: str = ""


def by_series(instances: Sequence[Instance]) -> tuple[Series, ...]:
    """Group instances into series; both keep their order of arrival."""
    groups: dict[str, list[Instance]] = {}
    for instance in instances:
        groups.setdefault(instance.header.series_instance_uid, []).append(instance)
    return tuple(Series(series_instance_uid=uid, instances=tuple(group)) for uid, group in groups.items())
