"""The audit trail over every implementation: nothing is lost, taken out, put in or changed unseen."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import sqlalchemy as sa

from services.backends.store import SqlStudyStore, connect
from services.backends.store.audit import BEFORE_THE_FIRST, chained
from services.backends.store.tables import audit_record
from services.triage.audit import (
    AuditAction,
    AuditActor,
    AuditEvent,
    AuditKind,
    AuditObject,
    AuditObjectKind,
    AuditOutcome,
)
from tests.support.records import STUDY, after


def event(name: str = "reader.one", **told: object) -> AuditEvent:
    return AuditEvent(
        kind=AuditKind.INSTANCES_ACCESSED,
        type="study_page",
        action=AuditAction.READ,
        actors=(AuditActor(name=name, address="192.0.2.7"),),
        objects=(AuditObject(kind=AuditObjectKind.STUDY, object_id=STUDY, details={"instances": "12"}),),
        **told,
    )


def test_an_event_is_kept_whole(store: SqlStudyStore) -> None:
    store.audit.record(event(outcome=AuditOutcome.SERIOUS_FAILURE, reason="not_your_part"), now=after(5))

    (kept,) = store.audit.records()
    assert (kept.sequence, kept.recorded_at) == (1, after(5))
    assert json.loads(kept.document) == {
        "sequence": 1,
        "recorded_at": after(5).isoformat(),
        "kind": "110103",
        "type": "study_page",
        "action": "R",
        "outcome": 8,
        "reason": "not_your_part",
        "actors": [{"name": "reader.one", "address": "192.0.2.7", "requests": True}],
        "objects": [{"kind": "study", "object_id": STUDY, "details": {"instances": "12"}}],
    }


def test_records_written_together_stand_in_one_chain(store: SqlStudyStore) -> None:
    with ThreadPoolExecutor(8) as many:
        list(many.map(lambda number: store.audit.record(event(f"reader.{number}"), now=after(number)), range(40)))

    records = list(store.audit.records())
    assert [one.sequence for one in records] == list(range(1, 41))
    assert records[0].digest == chained(BEFORE_THE_FIRST, records[0].document)
    assert all(later.digest == chained(one.digest, later.document) for one, later in pairwise(records))
    assert {json.loads(one.document)["actors"][0]["name"] for one in records} == {f"reader.{n}" for n in range(40)}


def test_records_after_one_are_read_in_pages(store: SqlStudyStore, store_url: str) -> None:
    store.audit.record(event(), now=after(0))
    engine = connect(store_url)
    with engine.begin() as connection:
        more = [{"sequence": n, "recorded_at": after(n), "document": "{}", "digest": "0" * 64} for n in range(2, 2502)]
        connection.execute(sa.insert(audit_record), more)
    engine.dispose()

    assert [one.sequence for one in store.audit.records(after=1)] == list(range(2, 2502))
