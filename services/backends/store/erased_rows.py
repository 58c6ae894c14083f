"""All rows of a study, in the order in which they can go; and what a registry told of patients."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.tables import (
    announcement,
    archive_inquiry,
    assignment,
    blind_hold,
    board,
    commitment,
    commitment_request,
    deletion,
    delivery,
    event,
    inquiry,
    instance,
    job,
    lost_file,
    patient,
    recall,
    requested_instance,
    result,
    result_object,
    result_traits,
    shadow_run,
    study,
    study_patient,
    study_version,
    training_case,
    training_check,
    training_round,
    verdict,
    verdict_document,
    verdict_document_owed,
    workitem,
)
from services.triage.patient import PatientKey

# by the study, unless said otherwise below; each refers only to what comes after it
_ORDER = (
    training_check,
    training_case,
    shadow_run,
    result_traits,
    blind_hold,
    workitem,
    recall,
    commitment,
    delivery,
    verdict_document_owed,
    verdict_document,
    verdict,
    assignment,
    board,
    result_object,
    result,
    job,
    inquiry,
    announcement,
    event,
    study_version,
    instance,
    study_patient,
    lost_file,
    deletion,
    study,
)


def delete_rows(connection: Connection, study_instance_uid: str) -> None:
    """Delete a study, which is locked, and all that was derived from it."""
    uids = connection.scalars(
        sa.select(instance.c.sop_instance_uid).where(instance.c.study_instance_uid == study_instance_uid)
    ).all()
    rounds = connection.scalars(
        sa.select(training_case.c.round_id).where(training_case.c.study_instance_uid == study_instance_uid)
    ).all()
    _withdraw_requests(connection, set(uids))
    results = sa.select(result.c.result_id).where(result.c.study_instance_uid == study_instance_uid)
    deliveries = sa.select(delivery.c.delivery_id).where(delivery.c.study_instance_uid == study_instance_uid)
    for table in _ORDER:
        if "study_instance_uid" in table.c:
            mine = table.c.study_instance_uid == study_instance_uid
        elif table is commitment:
            mine = table.c.delivery_id.in_(deliveries)
        else:
            mine = table.c.result_id.in_(results)
        connection.execute(sa.delete(table).where(mine))
    empty = ~sa.exists().where(training_case.c.round_id == training_round.c.round_id)
    connection.execute(sa.delete(training_round).where(training_round.c.round_id.in_(rounds), empty))


def delete_patients(connection: Connection, keys: Collection[PatientKey]) -> int:
    """Delete what a registry told of these IDs, and that it merged them."""
    count = 0
    for key in keys:
        mine = patient.c.patient_id == key.patient_id, patient.c.issuer == key.issuer
        count += connection.execute(sa.delete(patient).where(*mine)).rowcount
    return count


def _withdraw_requests(connection: Connection, uids: set[str]) -> None:
    """Take instances out of what others asked us to commit; a request that was about nothing else goes."""
    # by the request, for its rows may be thousands
    requests: set[str] = set()
    for chunk in _chunks(sorted(uids)):
        of_these = requested_instance.c.sop_instance_uid.in_(chunk)
        requests.update(connection.scalars(sa.select(requested_instance.c.transaction_uid).where(of_these)))
        connection.execute(sa.delete(requested_instance).where(of_these))
    for transaction_uid in sorted(requests):
        left = sa.exists().where(requested_instance.c.transaction_uid == transaction_uid)
        inquiries = archive_inquiry.c.request_uid == transaction_uid
        if not connection.scalar(sa.select(left)):
            connection.execute(sa.delete(archive_inquiry).where(inquiries))
            this = commitment_request.c.transaction_uid == transaction_uid
            connection.execute(sa.delete(commitment_request).where(this))
            continue
        for row in connection.execute(sa.select(archive_inquiry).where(inquiries)).all():
            rest = tuple(uid for uid in row.instances if uid not in uids)
            this = archive_inquiry.c.transaction_uid == row.transaction_uid
            connection.execute(sa.update(archive_inquiry).where(this).values(instances=rest))


def _chunks(values: Sequence[str]) -> list[Sequence[str]]:
    return [values[start : start + 500] for start in range(0, len(values), 500)]
