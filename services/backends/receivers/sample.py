"""A made-up result, so that who sets up a receiver sees what it would be sent."""

from collections.abc import Mapping
from datetime import UTC, datetime

from services.triage.errors import Reason
from services.triage.finding import Finding, Flag, Outcome
from services.triage.lesion import Lesion
from services.triage.model import ModelIdentity
from services.triage.notification import Notification
from services.triage.result import RECALLED, FrozenResult
from services.triage.study import Instance, InstanceHeader, StudyAttributes

_STUDY = StudyAttributes(
    study_instance_uid="1.2.826.0.1.3680043.10.1.1",
    patient_id="SAMPLE-1",
    issuer_of_patient_id="HOSPITAL",
    patient_name="Sample^Ada^^Dr",
    patient_birth_date="19600229",
    patient_sex="F",
    study_date="20260301",
    study_time="114500",
    study_description="CT chest",
    study_id="S1",
    accession_number="ACC-1",
)
_HEADER = InstanceHeader(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.826.0.1.3680043.10.1.1.1.1",
    series_instance_uid="1.2.826.0.1.3680043.10.1.1.1",
    study_instance_uid=_STUDY.study_instance_uid,
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    modality="CT",
    series_number=2,
    series_description="chest 1.0 mm",
    has_pixel_data=True,
)
_LESION = Lesion(
    number=1,
    tracking_uid="2.25.1001",
    label="Lesion 1",
    class_value=1,
    score=0.93,
    volume_ml=4.2,
    long_axis_mm=23.4,
    short_axis_mm=18.1,
    max_diameter_3d_mm=25.0,
    centroid_lps_mm=(41.0, -12.5, 103.0),
    slice_range=(30, 52),
    key_slice=41,
    long_axis_ends=((41.0, 100.0, 200.0), (41.0, 120.0, 225.0)),
    mean_intensity=35.0,
    sd_intensity=12.0,
)
ORDER: Mapping[str, str] = {"PlacerOrderNumberImagingServiceRequest": "PLACER-1", "RequestedProcedureID": "RP-1"}
"""What an image of the study tells beside its kept attributes."""

_SEEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_TAKEN_BACK = datetime(2026, 3, 1, 14, 30, tzinfo=UTC)


def sample(*, withdrawn: bool = False) -> Notification:
    """A lesion found, flagged urgent; or its recall."""
    model = ModelIdentity(name="ct_lung_lesion", version="1.2.0", weights_sha256="0123456789abcdef" * 4)
    finding = Finding(outcome=Outcome.FOUND, score=0.93, flag=Flag.URGENT, calibrated=False, lesions=(_LESION,))
    return Notification(
        notification_id="f" * 31 + "2" if withdrawn else "f" * 31 + "1",
        owed_at=_TAKEN_BACK if withdrawn else _SEEN,
        result=FrozenResult(
            result_id="5a" * 16,
            model=model,
            series_instance_uid=_HEADER.series_instance_uid,
            finding=finding,
            sha256s=(),
        ),
        frozen_at=_SEEN,
        instances=(Instance(header=_HEADER, study=_STUDY, digest="0" * 64),),
        withdrawn=Reason(code=RECALLED.code, text="it segments the diaphragm") if withdrawn else None,
    )
