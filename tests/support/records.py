"""Builders of what the store, the files and the queue hold. Times count from `NOON`."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from services.backends.store import SqlStudyStore
from services.backends.store.engine import locked, writing
from services.backends.store.jobs import study_of, take
from services.triage.errors import Reason
from services.triage.finding import Finding, Flag, Outcome
from services.triage.inference import Inference
from services.triage.job import Job, JobMessage, JobPlan, Lease, OrderPriority, Plan
from services.triage.lesion import Lesion
from services.triage.model import ModelIdentity
from services.triage.organ import Organ
from services.triage.patient import AdtMessage, Demographics, PatientChange, PatientKey, Stamp
from services.triage.result import LABEL_MAP_STORAGE, Destination, ObjectKind, Result, ResultObject
from services.triage.study import Instance, InstanceHeader, StudyAttributes, VersionKey
from services.triage.uncertainty import Uncertainty

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUIET = timedelta(seconds=15)
LEASE = timedelta(seconds=60)
STUDY = "1.2.826.0.1.1"
PACS = Destination(name="pacs", kind="dicom", address="PACS@localhost:104")
MODEL = ModelIdentity(name="lung", version="1.0", weights_sha256="ab" * 32)
SEGMENTATION_OF = {ObjectKind.SEG: "1.2.840.10008.5.1.4.1.1.66.4", ObjectKind.LABELMAP: LABEL_MAP_STORAGE}
EVERY_FORM = (ObjectKind.SEG, ObjectKind.LABELMAP, None)
_uids = count(1)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def new_study_uid() -> str:
    return f"1.2.826.0.2.{next(_uids)}"


def image(number: int, *, study: str = STUDY, series: int = 1, content: str = "", **header: Any) -> Instance:
    """A CT slice. `content` stands for its bytes: the same number with other content is the same UID changed."""
    default = InstanceHeader(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"{study}.{series}.{number}",
        series_instance_uid=f"{study}.{series}",
        study_instance_uid=study,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="CT",
        series_number=series,
        instance_number=number,
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        manufacturer="ACME",
        rows=512,
        columns=512,
        has_pixel_data=True,
        slice_thickness_mm=1.0,
        pixel_spacing_mm=(0.7, 0.7),
        image_orientation_patient=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        image_position_patient=(0.0, 0.0, float(number)),
    )
    return Instance(
        header=replace(default, **header),
        study=StudyAttributes(study_instance_uid=study, patient_id="P1", patient_name="Doe^Jane"),
        digest=digest_of(f"{study}/{series}/{number}/{content}"),
    )


def report(number: int, *, study: str = STUDY, **header: Any) -> Instance:
    """A structured report: never routable."""
    return image(
        number, study=study, series=99, **{"modality": "SR", "has_pixel_data": False, "image_type": (), **header}
    )


def sent(*instances: Instance, sender: str = "CT1") -> list[tuple[Instance, str]]:
    return [(one, sender) for one in instances]


def one_job(study: str = STUDY, model: str = MODEL.name) -> Plan:
    return Plan(jobs=(JobPlan(model_name=model, series_instance_uid=f"{study}.1"),))


OUT_OF_SCOPE = Plan(jobs=(), out_of_scope=Reason(code="no_rule", text="no rule claims it"))


def lesion(number: int = 1, *, score: float = 0.9, long_axis_mm: float = 20.0) -> Lesion:
    return Lesion(
        number=number,
        tracking_uid=f"2.25.{number}",
        label=f"Lesion {number}",
        class_value=1,
        score=score,
        volume_ml=4.2,
        long_axis_mm=long_axis_mm,
        short_axis_mm=10.0,
        max_diameter_3d_mm=22.0,
        centroid_lps_mm=(1.0, 2.0, 3.0),
        slice_range=(3, 9),
        key_slice=5,
        long_axis_ends=((5.0, 1.0, 1.0), (5.0, 9.0, 9.0)),
        mean_intensity=35.0,
        sd_intensity=12.0,
    )


def a_result(
    *,
    outcome: Outcome = Outcome.FOUND,
    flag: Flag = Flag.ROUTINE,
    score: float | None = 0.9,
    lesions: tuple[Lesion, ...] = (),
    reason: Reason | None = None,
    cautions: tuple[Reason, ...] = (),
    uncertainty: Uncertainty | None = None,
    inference: Inference | None = None,
    organs: tuple[Organ, ...] = (),
    model: ModelIdentity = MODEL,
    forms: Sequence[ObjectKind | None] = (ObjectKind.SEG,),
) -> tuple[Result, list[str]]:
    """A result in these forms (`write_report`), and the digests of their bytes."""
    root = f"2.25.9{next(_uids):09d}"
    kinds: list[tuple[str, str, ObjectKind | None]] = []
    for form in forms:
        kinds += [("SEG", SEGMENTATION_OF[form], None)] if form else []
        kinds += [("SR", "1.2.840.10008.5.1.4.1.1.88.34", form)] if form is not ObjectKind.LABELMAP else []
    objects = tuple(
        ResultObject(
            modality=modality,
            sop_class_uid=sop_class,
            sop_instance_uid=f"{root}.{number}",
            series_instance_uid=f"{root}.{number}0",
            content=f"{root} {number} {modality}".encode(),
            names=names,
        )
        for number, (modality, sop_class, names) in enumerate(kinds, start=1)
    )
    finding = Finding(
        outcome=outcome,
        score=score,
        flag=flag,
        calibrated=False,
        lesions=lesions,
        reason=reason,
        cautions=cautions,
        uncertainty=uncertainty,
        organs=organs,
    )
    result = Result(
        model=model,
        series_instance_uid=f"{STUDY}.1",
        finding=finding,
        objects=objects,
        timings_s={"segment": 2.5},
        inference=inference,
    )
    return result, [hashlib.sha256(one.content).hexdigest() for one in objects]


def complete_study(
    store: SqlStudyStore,
    *,
    study: str = STUDY,
    plan: Plan | None = None,
    priority: OrderPriority = OrderPriority.ROUTINE,
    at: float = 0.0,
    images: int = 2,
    number: int = 1,
    traceparent: str | None = None,
) -> VersionKey:
    """A study whose version `number` is complete and planned. Later versions get one image more."""
    arrived = [image(one, study=study) for one in range(1, images + number)]
    store.record(sent(*arrived), now=after(at))
    version = VersionKey(study_instance_uid=study, number=number)
    planned, now = plan or one_job(study), after(at + 15)
    done = store.complete(version, planned, priority=priority, seen=len(arrived), now=now, traceparent=traceparent)
    assert done
    return version


def adt(
    *keys: str,
    merges: Sequence[tuple[str, str]] = (),
    at: float = 0.0,
    sender: str = "HIS",
    control_id: str = "1",
    **told: str,
) -> AdtMessage:
    """An ADT message of one patient, an update without `merges`; an ID is written ID or ID@ISSUER."""
    pairs = tuple((_key(prior), _key(surviving)) for prior, surviving in merges)
    patients = tuple(map(_key, keys)) or tuple(surviving for _, surviving in pairs)
    change = PatientChange(keys=patients, demographics=Demographics(**told), merges=pairs)
    event = "A40" if merges else "A08"
    return AdtMessage(
        trigger_event=event, control_id=control_id, stamp=Stamp(at=after(at), sender=sender), changes=(change,)
    )


def _key(text: str) -> PatientKey:
    patient_id, _, issuer = text.partition("@")
    return PatientKey(patient_id=patient_id, issuer=issuer)


def publish(store: SqlStudyStore) -> list[JobMessage]:
    """Publish what is in the outbox."""
    messages = store.unpublished(limit=100)
    store.published(messages)
    return messages


def lease_next(store: SqlStudyStore, *, worker: str = "worker-1", at: float = 20.0) -> tuple[Lease, Job]:
    """Publish what is in the outbox, and lease the next job."""
    publish(store)
    leased = store.lease_next(worker=worker, now=after(at), duration=LEASE)
    assert leased is not None
    return leased


def lease_job(
    store: SqlStudyStore, job_id: str, *, worker: str, now: datetime, duration: timedelta = LEASE
) -> tuple[Lease, Job] | None:
    """Lease one job whoever is next; None when it is not due."""
    with writing(store._engine) as connection:
        uid = study_of(connection, job_id) or ""
        locked(connection, [uid])
        return take(connection, job_id, uid, worker=worker, now=now, duration=duration)


def analyse(store: SqlStudyStore, *, study: str = STUDY, at: float = 0.0, number: int = 1, **finding: Any) -> Result:
    """A study the whole way to a frozen result with one delivery."""
    complete_study(store, study=study, at=at, number=number)
    lease, _ = lease_next(store, at=at + 20)
    result, sha256s = a_result(**finding)
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(at + 30))
    return result
