"""What the store itself writes into the audit trail, in the transaction of what it tells: as the last thing in it.

Among it what Article 12 of the EU's AI Act asks for: `frozen` and `answered` (docs/audit.md).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services import __version__
from services.backends.store import audit
from services.backends.store.tables import instance, result, result_object
from services.triage.audit import AuditActor, AuditObject, AuditObjectKind, AuditOutcome, digest_over
from services.triage.audit_types import AuditType, audited
from services.triage.errors import Reason
from services.triage.job import Lease
from services.triage.result import ReceiverKind, Result
from services.triage.rollout import Decision
from services.triage.switch import Campaign, Switch
from services.triage.verdict import Verdict
from services.triage.verdict_document import VerdictDocument

FOLDER = "folder"
_RECEIVERS = frozenset(ReceiverKind)


def frozen(
    connection: Connection,
    lease: Lease,
    frozen: Result,
    *,
    result_id: str,
    study_instance_uid: str,
    version: int,
    sha256s: Sequence[str],
    now: datetime,
) -> None:
    """A model's result: its input, the model with its thresholds, what came out."""
    finding, model, limits = frozen.finding, frozen.model, frozen.thresholds
    inputs = _inputs(connection, study_instance_uid, version, frozen.series_instance_uid)
    told = {
        "outcome": finding.outcome.value,
        "flag": finding.flag.value,
        "score": "" if finding.score is None else repr(finding.score),
        "calibrated": str(finding.calibrated).lower(),
        "lesions": str(len(finding.lesions)),
        "reason": finding.reason.code if finding.reason else "",
        "software_version": __version__,
        "job": lease.job_id,
    }
    of_input = {
        "version": str(version),
        "series_instance_uid": frozen.series_instance_uid or "",
        "instances": str(len(inputs)),
        "digest": digest_over(inputs) if inputs else "",
    }
    of_model = {"version": model.version, "weights_sha256": model.weights_sha256}
    if limits is not None:
        of_model |= {name: repr(getattr(limits, name)) for name in limits.__dataclass_fields__}
    objects = (
        study(study_instance_uid, **of_input),
        _an(AuditObjectKind.RESULT, result_id, told),
        _an(AuditObjectKind.MODEL, model.name, of_model),
        *(
            instance_(one.sop_instance_uid, sop_class=one.sop_class_uid, sha256=sha256)
            for one, sha256 in zip(frozen.objects, sha256s, strict=True)
        ),
    )
    audit.append(connection, audited(AuditType.ANALYSIS, AuditActor(name=lease.worker), objects=objects), now=now)


def answered(connection: Connection, given: Verdict) -> None:
    """A reader's verdict, and the result that it answers."""
    told = {
        "answer": given.answer.value,
        "reason": given.reason.value if given.reason else "",
        "tracking_uid": given.tracking_uid or "",
        "undoes": given.undoes or "",
        "blind": str(given.shown.blind).lower(),
        "page": given.shown.page,
    }
    objects = [study(given.study_instance_uid), _an(AuditObjectKind.VERDICT, given.verdict_id, told)]
    if given.result_id is not None:
        objects += of_result(connection, given.result_id)
    event = audited(AuditType.VERDICT, audit.person(given.reader), objects=tuple(objects))
    audit.append(connection, event, now=given.given_at)


def documented(connection: Connection, written: VerdictDocument, *, actor: str) -> None:
    """A reader's verdicts as a document."""
    document = instance_(written.sop_instance_uid, sop_class=written.sop_class_uid, sha256=written.sha256)
    told = study(written.study_instance_uid, verdicts=str(written.verdicts), reader=written.reader)
    event = audited(AuditType.VERDICT_DOCUMENT, AuditActor(name=actor), objects=(told, document))
    audit.append(connection, event, now=written.written_at)


def of_a_study(
    connection: Connection, type_: AuditType, study_instance_uid: str, *, actor: str, now: datetime, **told: str
) -> None:
    """What a person did with a study."""
    of_studies(connection, type_, [study_instance_uid], actor=actor, now=now, **told)


def of_studies(
    connection: Connection, type_: AuditType, uids: Sequence[str], *, actor: str, now: datetime, **told: str
) -> None:
    """The same with several."""
    who = audit.person(actor)
    audit.append_all(connection, [audited(type_, who, objects=(study(uid, **told),)) for uid in uids], now=now)


def recalled(
    connection: Connection, result_id: str, study_instance_uid: str, *, reason: str, actor: str, now: datetime
) -> None:
    """A result was taken back."""
    objects = study(study_instance_uid, why=reason), *of_result(connection, result_id)
    audit.append(connection, audited(AuditType.RECALL, audit.person(actor), objects=objects), now=now)


def switched(connection: Connection, switch: Switch) -> None:
    """A model was switched off or on."""
    told = {"version": switch.scope.version, "tenant": switch.scope.tenant, "why": switch.reason}
    if switch.kept:
        told["kept"] = switch.kept.value
    type_ = AuditType.MODEL_SWITCHED_ON if switch.on else AuditType.MODEL_SWITCHED_OFF
    objects = (_an(AuditObjectKind.MODEL, switch.scope.model_name, told),)
    audit.append(connection, audited(type_, audit.person(switch.actor), objects=objects), now=switch.at)


def rolled_out(connection: Connection, decision: Decision) -> None:
    """Which version of a model looks at what was changed."""
    rollout, canary = decision.rollout, decision.rollout.canary
    told = {
        "step": decision.step.value,
        "active": rollout.active or "",
        "canary": canary.version if canary else "",
        "canary_share": repr(canary.share) if canary else "",
        "shadow": rollout.shadow or "",
        "why": decision.reason,
    }
    objects = (_an(AuditObjectKind.MODEL, rollout.model_name, told),)
    event = audited(AuditType.MODEL_ROLLOUT, audit.person(decision.actor), objects=objects)
    audit.append(connection, event, now=decision.at)


def recalling(connection: Connection, campaign: Campaign) -> None:
    """The results of a period are to be recalled."""
    scope, period = campaign.scope, campaign.period
    told = {
        "version": scope.version,
        "tenant": scope.tenant,
        "since": period.since.isoformat() if period.since else "",
        "until": period.until.isoformat(),
        "why": campaign.reason,
        "campaign": campaign.campaign_id,
    }
    objects = (_an(AuditObjectKind.MODEL, scope.model_name, told),)
    event = audited(AuditType.RECALL_OF_PERIOD, audit.person(campaign.actor), objects=objects)
    audit.append(connection, event, now=campaign.asked_at)


def went_out(
    connection: Connection,
    row: Any,
    objects: Sequence[tuple[str, str, str]],
    *,
    now: datetime,
    failed: Reason | None = None,
) -> None:
    """A delivery reached its destination, or was given up. objects: (SOP Class UID, SOP Instance UID, sha256)."""
    elsewhere = row.kind == FOLDER or row.kind in _RECEIVERS
    told = [study(row.study_instance_uid, delivery=row.delivery_id), _address(row)]
    if row.result_id is not None:
        told.append(_an(AuditObjectKind.RESULT, row.result_id, {"withdrawal": "true"} if row.note else {}))
    told += [instance_(uid, sop_class=sop_class, sha256=sha256) for sop_class, uid, sha256 in objects]
    event = audited(
        AuditType.EXPORTED if elsewhere else AuditType.SENT,
        AuditActor(name="deliver"),
        AuditActor(name=row.destination, requests=False),
        objects=tuple(told),
        outcome=AuditOutcome.SERIOUS_FAILURE if failed else AuditOutcome.SUCCESS,
        reason=failed.code if failed else "",
    )
    audit.append(connection, event, now=now)


def asked_again(connection: Connection, row: Any, *, actor: str, now: datetime) -> None:
    """A delivery that was given up is to be sent again."""
    objects = study(row.study_instance_uid, delivery=row.delivery_id), _address(row)
    audit.append(connection, audited(AuditType.SEND_AGAIN, audit.person(actor), objects=objects), now=now)


def given_up(connection: Connection, row: Any, *, reason: str, actor: str, now: datetime) -> None:
    """A person gave a delivery up, since its destination is there no more."""
    objects = study(row.study_instance_uid, delivery=row.delivery_id), _address(row)
    event = audited(AuditType.DELIVERY_GIVEN_UP, audit.person(actor), objects=objects, reason=reason)
    audit.append(connection, event, now=now)


def study(study_instance_uid: str, **told: str) -> AuditObject:
    """A study."""
    return _an(AuditObjectKind.STUDY, study_instance_uid, told)


def instance_(sop_instance_uid: str, **told: str) -> AuditObject:
    """A DICOM object."""
    return _an(AuditObjectKind.INSTANCE, sop_instance_uid, told)


def of_result(connection: Connection, result_id: str) -> list[AuditObject]:
    """A result, and the objects in which it stands."""
    row = connection.execute(sa.select(result).where(result.c.result_id == result_id)).one()
    told = {"model": row.model_name, "version": row.model_version, "outcome": row.outcome}
    objects = (
        sa.select(result_object)
        .where(result_object.c.result_id == result_id, sa.not_(result_object.c.note))
        .order_by(result_object.c.position)
    )
    return [
        _an(AuditObjectKind.RESULT, result_id, told),
        *(
            instance_(one.sop_instance_uid, sop_class=one.sop_class_uid, sha256=one.sha256)
            for one in connection.execute(objects)
        ),
    ]


def _address(row: Any) -> AuditObject:
    return _an(AuditObjectKind.ADDRESS, row.address, {"kind": row.kind})


def _an(kind: AuditObjectKind, object_id: str, told: Mapping[str, str]) -> AuditObject:
    return AuditObject(kind=kind, object_id=object_id, details={name: value for name, value in told.items() if value})


def _inputs(connection: Connection, uid: str, version: int, series_instance_uid: str | None) -> list[str]:
    """The digests of what was before the model: of each instance of the series, or study, the newest content."""
    where = [instance.c.study_instance_uid == uid, instance.c.since_version <= version]
    if series_instance_uid is not None:
        where.append(instance.c.series_instance_uid == series_instance_uid)
    rows = connection.execute(
        sa.select(instance.c.sop_instance_uid, instance.c.digest).where(*where).order_by(instance.c.id)
    )
    return list({row.sop_instance_uid: row.digest for row in rows}.values())
