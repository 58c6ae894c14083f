"""One study as the desk shows it: its series, versions, jobs, results and deliveries, each with its history."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby, pairwise
from operator import attrgetter

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import blind, history, verdict_documents, versions
from services.backends.store import board as shown
from services.backends.store.deliveries import kinds
from services.backends.store.reading_state import newer_images_at
from services.backends.store.tables import (
    delivery,
    instance,
    job,
    recall,
    result,
    result_object,
    study_version,
)
from services.backends.store.withheld import kept_back, switched_off
from services.triage.completeness import is_routable
from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.job import JobKind, JobState
from services.triage.model import ModelIdentity
from services.triage.result import DeliveryState, EnergySource, ObjectKind, Recall
from services.triage.study import Event, InstanceHeader, StudyState
from services.triage.trace import TraceContext

_Events = Sequence[tuple[str, str, Event]]
_Deliveries = Mapping[str, Sequence[shown.DeliveryRow]]
# which destinations its objects suit tells which it has
_TELLING = frozenset({"nothing_to_deliver"})


def study_detail(connection: Connection, row: shown.StudyRow, *, now: datetime) -> shown.StudyDetail:
    """All of the study that has this row in the work list, but for what is withheld at this time."""
    uid = row.study.study_instance_uid
    events = history.read(connection, uid)
    deliveries = _deliveries(connection, uid, events)
    return shown.StudyDetail(
        row=row,
        patients=_patients(connection, uid),
        series=_series(connection, uid),
        versions=_versions(connection, uid, events, deliveries, now),
        events=tuple(one for kind, _, one in events if kind in ("study", "version")),
        verdict_documents=_verdict_documents(connection, uid, deliveries),
    )


def _patients(connection: Connection, uid: str) -> tuple[shown.PatientRow, ...]:
    """Of the newest content of each image, by falling number of images."""
    images = (one for one in versions.newest(connection, uid) if is_routable(one.header))
    counts = Counter((one.study.patient_id, one.study.issuer_of_patient_id) for one in images)
    return tuple(
        shown.PatientRow(patient_id=patient_id, issuer_of_patient_id=issuer, image_count=count)
        for (patient_id, issuer), count in counts.most_common()
    )


def _series(connection: Connection, uid: str) -> tuple[shown.SeriesRow, ...]:
    rows = connection.execute(
        sa.select(instance.c.sop_instance_uid, instance.c.header, instance.c.deleted_at)
        .where(instance.c.study_instance_uid == uid)
        .order_by(instance.c.id)
    )
    first: dict[str, InstanceHeader] = {}
    contents: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    gone: dict[str, set[str]] = defaultdict(set)
    for sop_instance_uid, header, deleted_at in rows:
        first.setdefault(header.series_instance_uid, header)
        if deleted_at is not None:
            gone[header.series_instance_uid].add(sop_instance_uid)
        contents[header.series_instance_uid][sop_instance_uid] += 1
    return tuple(
        shown.SeriesRow(
            series_instance_uid=series_uid,
            modality=header.modality,
            series_number=header.series_number,
            series_description=header.series_description,
            instance_count=len(contents[series_uid]),
            conflicts=tuple(sop for sop, count in contents[series_uid].items() if count > 1),
            deleted_count=len(gone[series_uid]),
        )
        for series_uid, header in first.items()
    )


def _versions(
    connection: Connection, uid: str, events: _Events, deliveries: _Deliveries, now: datetime
) -> tuple[shown.VersionRow, ...]:
    results = _results(connection, uid, deliveries)
    holds = {one.result_id: one for one in blind.of_study(connection, uid)}
    jobs: dict[int, list[shown.JobRow]] = defaultdict(list)
    rows = connection.execute(
        sa.select(job).where(job.c.study_instance_uid == uid).order_by(job.c.queued_at, job.c.job_id)
    )
    for row in rows:
        found = results.get(row.job_id)
        hold = holds.get(found.result_id) if found else None
        is_held = hold is not None and hold.is_running(now)
        jobs[row.version].append(
            shown.JobRow(
                job_id=row.job_id,
                kind=JobKind.ANALYSE if row.reconciles is None else JobKind.RECONCILE,
                model_name=row.model_name,
                series_instance_uid=row.plan.series_instance_uid,
                state=JobState(row.state),
                attempt=row.attempt,
                refusal=row.plan.refusal,
                refused_series=row.plan.refused_series,
                queued_at=row.queued_at,
                result=None if is_held else found,
                withheld=_withheld(found, hold.until) if found and hold and is_held else None,
                hold=hold,
                events=_of("job", row.job_id, events, silent=is_held),
            )
        )
    rows_of_versions = connection.execute(
        sa.select(study_version)
        .where(study_version.c.study_instance_uid == uid)
        .order_by(study_version.c.number.desc())
    )
    return tuple(
        shown.VersionRow(
            number=row.number,
            state=StudyState(row.state),
            opened_at=row.opened_at,
            completed_at=row.completed_at,
            out_of_scope=reason_of(row.out_of_scope_code, row.out_of_scope_text),
            jobs=tuple(jobs[row.number]),
            trace_id=trace_id_of(row.traceparent),
        )
        for row in rows_of_versions
    )


def trace_id_of(traceparent: str | None) -> str | None:
    """Of a traceparent, None where there is none."""
    context = TraceContext.parse(traceparent)
    return context.trace_id if context else None


def _withheld(result: shown.ResultRow, until: datetime) -> shown.WithheldRow:
    return shown.WithheldRow(
        result_id=result.result_id,
        model=result.model,
        series_instance_uid=result.series_instance_uid,
        frozen_at=result.frozen_at,
        until=until,
    )


def _results(connection: Connection, uid: str, deliveries: _Deliveries) -> dict[str, shown.ResultRow]:
    """By job id."""
    objects = _objects(connection, uid)
    rows = connection.execute(
        sa.select(
            result,
            job.c.reconciles,
            switched_off().label("switched_off"),
            kept_back(result.c.result_id).label("kept_back"),
            newer_images_at().label("newer_images_at"),
        )
        .join(job, job.c.job_id == result.c.job_id)
        .where(result.c.study_instance_uid == uid)
        .order_by(result.c.version, result.c.frozen_at)
    ).all()
    following = {
        earlier.result_id: later.result_id
        for _, of_model in groupby(sorted(rows, key=attrgetter("model_name")), key=attrgetter("model_name"))
        for earlier, later in pairwise(of_model)
    }
    recalls = {
        row.result_id: Recall(recalled_at=row.recalled_at, actor=row.actor, reason=row.reason)
        for row in connection.execute(sa.select(recall).where(recall.c.study_instance_uid == uid))
    }
    return {
        row.job_id: shown.ResultRow(
            result_id=row.result_id,
            model=model_of(row.model_name, row.model_version, row.weights_sha256),
            series_instance_uid=row.series_instance_uid,
            outcome=Outcome(row.outcome),
            score=row.score,
            flag=Flag(row.flag),
            calibrated=row.calibrated,
            reason=reason_of(row.reason_code, row.reason_text),
            lesions=row.lesions,
            cautions=row.cautions or (),
            uncertainty=row.uncertainty,
            organs=row.organs or (),
            inference=row.inference,
            objects=tuple(objects[row.result_id]),
            deliveries=tuple(deliveries.get(row.result_id, ())),
            timings_s=row.timings_s,
            peak_memory_mb=row.peak_memory_mb,
            frozen_at=row.frozen_at,
            superseded_by=following.get(row.result_id),
            recall=recalls.get(row.result_id),
            rewrites=row.reconciles,
            newer_images=row.newer_images_at is not None,
            energy_j=row.energy_j,
            energy_source=EnergySource(row.energy_source) if row.energy_source else None,
            switched_off=bool(row.switched_off),
            kept_back=bool(row.kept_back),
        )
        for row in rows
    }


def _objects(connection: Connection, uid: str) -> dict[str, list[shown.ObjectRow]]:
    """By result id."""
    found: dict[str, list[shown.ObjectRow]] = defaultdict(list)
    rows = connection.execute(
        sa.select(result_object)
        .join(result, result.c.result_id == result_object.c.result_id)
        .where(result.c.study_instance_uid == uid)
        .order_by(result_object.c.position)
    )
    for row in rows:
        found[row.result_id].append(
            shown.ObjectRow(
                modality=row.modality,
                sop_class_uid=row.sop_class_uid,
                sop_instance_uid=row.sop_instance_uid,
                series_instance_uid=row.series_instance_uid,
                sha256=row.sha256,
                size_bytes=row.size_bytes,
                note=row.note,
                names=ObjectKind(row.names) if row.names else None,
            )
        )
    return found


def _verdict_documents(
    connection: Connection, uid: str, deliveries: _Deliveries
) -> tuple[shown.VerdictDocumentRow, ...]:
    return tuple(
        shown.VerdictDocumentRow(document=one, deliveries=tuple(deliveries.get(one.sop_instance_uid, ())))
        for one in verdict_documents.of_study(connection, uid)
    )


def _deliveries(connection: Connection, uid: str, events: _Events) -> _Deliveries:
    """By result id, or by the SOP Instance UID of the document of verdicts."""
    found: dict[str, list[shown.DeliveryRow]] = defaultdict(list)
    rows = connection.execute(
        sa.select(delivery)
        .where(delivery.c.study_instance_uid == uid)
        .order_by(delivery.c.destination, delivery.c.created_at)
    )
    for row in rows:
        found[row.verdict_document or row.result_id].append(
            shown.DeliveryRow(
                delivery_id=row.delivery_id,
                destination=row.destination,
                address=row.address,
                objects=kinds(connection, row),
                state=DeliveryState(row.state),
                attempt=row.attempt,
                next_at=row.next_at,
                reason=reason_of(row.reason_code, row.reason_text),
                note=row.note,
                events=_of("delivery", row.delivery_id, events),
            )
        )
    return found


def _of(kind: str, subject: str, events: _Events, *, silent: bool = False) -> tuple[Event, ...]:
    """silent: of a result that is withheld; not what it says, nor what is owed to whom because of it."""
    mine = [one for its_kind, its_subject, one in events if (its_kind, its_subject) == (kind, subject)]
    if silent:
        mine = [replace(one, cause="") if one.what == "frozen" else one for one in mine if one.what not in _TELLING]
    return tuple(mine)


def model_of(name: str, version: str, weights_sha256: str) -> ModelIdentity:
    """The model of a row."""
    return ModelIdentity(name=name, version=version, weights_sha256=weights_sha256)


def reason_of(code: str | None, text: str | None) -> Reason | None:
    """The reason of a row, None where it has none."""
    return None if code is None else Reason(code=code, text=text or "")
