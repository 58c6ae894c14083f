"""The audit trail over every implementation: nothing is lost, taken out, put in or changed unseen."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa

from services.backends.store import SqlStudyStore, connect
from services.backends.store.audit import BEFORE_THE_FIRST, SEARCHED, AuditQuery, chained
from services.backends.store.audit_check import check
from services.backends.store.audit_pruning import SHORTEST
from services.backends.store.tables import audit_pruned, audit_record
from services.triage.audit import (
    AuditAction,
    AuditActor,
    AuditAnchor,
    AuditEvent,
    AuditKind,
    AuditObject,
    AuditObjectKind,
    AuditOutcome,
    AuditRecord,
)
from services.triage.audit_types import AuditType, audited
from tests.support.records import LEASE, STUDY, after, image, sent


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


def test_of_two_events_with_one_key_the_trail_takes_the_first(store: SqlStudyStore) -> None:
    with ThreadPoolExecutor(4) as many:
        list(many.map(lambda n: store.audit.record(event(f"reader.{n}", key="ab" * 32), now=after(n)), range(4)))
    assert len(list(store.audit.records())) == 1


def test_no_record_is_changed_or_deleted_even_by_who_may_write(store: SqlStudyStore, store_url: str) -> None:
    for number in range(3):
        store.audit.record(event(), now=after(number))
    engine = connect(store_url)
    for harm in (
        sa.update(audit_record).values(document="{}"),
        sa.delete(audit_record).where(audit_record.c.sequence == 3),
        sa.delete(audit_record),
    ):
        with pytest.raises(sa.exc.DBAPIError, match="only added to"), engine.begin() as connection:
            connection.execute(harm)
    engine.dispose()
    assert check(store.audit).breaks == ()


@contextmanager
def unguarded(store_url: str) -> Iterator[sa.Connection]:
    """As one who owns the table, and takes the triggers away for a moment."""
    engine = connect(store_url)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE audit_record DISABLE TRIGGER USER")
            yield connection
            connection.exec_driver_sql("ALTER TABLE audit_record ENABLE TRIGGER USER")
        else:
            rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
            for name, _ in rows:
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
            yield connection
            for _, sql in rows:
                connection.exec_driver_sql(sql)
    engine.dispose()


def test_whoever_changes_takes_out_or_puts_in_a_record_is_found(store: SqlStudyStore, store_url: str) -> None:
    for number in range(1, 8):
        store.audit.record(event(f"reader.{number}"), now=after(number))
    assert check(store.audit).breaks == ()
    row = audit_record.c
    forged = store.audit.get(3).document.replace("reader.3", "reader.x")
    with unguarded(store_url) as connection:
        connection.execute(sa.delete(audit_record).where(row.sequence == 5))
        connection.execute(sa.update(audit_record).where(row.sequence == 3).values(document=forged))
        connection.execute(sa.update(audit_record).where(row.sequence == 7).values(asked_by="reader.y"))

    assert [(one.sequence, one.what.split(",")[0]) for one in check(store.audit).breaks] == [
        (3, "its digest is not that of the record before and of its text"),
        (3, "it is found by another asked_by than its text tells"),
        (5, "missing: 5"),
        (7, "it is found by another asked_by than its text tells"),
    ]


@pytest.mark.parametrize("hidden", [[2], [1, 2]], ids=["within", "from the first on"])
def test_a_record_that_is_hidden_from_every_search_is_found(
    store: SqlStudyStore, store_url: str, hidden: list[int]
) -> None:
    """What a restore erases again is looked for by the same columns."""
    erased = AuditObject(kind=AuditObjectKind.STUDY, object_id=STUDY)
    store.audit.record(event(), now=after(1))
    store.audit.record(audited(AuditType.ERASURE, AuditActor(name="ops"), objects=(erased,)), now=after(2))
    store.audit.record(event(), now=after(3))
    assert store.restored.erased() == (STUDY,)
    with unguarded(store_url) as connection:
        nothing = dict.fromkeys(SEARCHED)
        connection.execute(sa.update(audit_record).where(audit_record.c.sequence.in_(hidden)).values(nothing))
    assert store.restored.erased() == ()

    for since, found in ((None, hidden), (after(2), [2])):
        breaks = check(store.audit, since=since).breaks
        assert [(one.sequence, one.what.split(",")[0]) for one in breaks] == [(n, "no search finds it") for n in found]
        assert "`vigie audit show 2`" in breaks[-1].what


def test_a_chain_that_was_made_anew_or_cut_at_its_end_is_found_by_an_anchor(
    store: SqlStudyStore, store_url: str
) -> None:
    for number in range(1, 6):
        store.audit.record(event(), now=after(number))
    head = store.audit.head()
    anchor = AuditAnchor(sequence=head.sequence, digest=head.digest, at=after(9))
    with unguarded(store_url) as connection:
        connection.execute(sa.delete(audit_record).where(audit_record.c.sequence >= 4))

    assert check(store.audit).breaks == ()
    assert [one.sequence for one in check(store.audit, anchors=[anchor]).breaks] == [5]
    assert [one.sequence for one in check(store.audit, at_least=5).breaks] == [4]

    for number in range(2):  # and goes on as if nothing had been
        store.audit.record(event("reader.z"), now=after(20 + number))
    assert check(store.audit).breaks == ()
    (broken,) = check(store.audit, anchors=[anchor]).breaks
    assert (broken.sequence, "another digest" in broken.what) == (5, True)


def test_the_beginning_is_taken_away_and_the_rest_is_verified_from_its_anchor(store: SqlStudyStore) -> None:
    for number in range(1, 7):
        store.audit.record(event(), now=after(number))
    kept = store.audit.get(4)
    gone = store.prune_audit(before=after(5), actor="ops", now=after(100))

    assert (gone.sequence, gone.digest) == (4, kept.digest)
    assert [one.sequence for one in store.audit.records()] == [5, 6, 7]
    assert json.loads(store.audit.head().document)["type"] == "trail_pruned"
    assert (check(store.audit).breaks, check(store.audit).first) == ((), 5)
    assert store.prune_audit(before=after(5), actor="ops", now=after(101)) is None


def anchor_of(record: AuditRecord, *, at: datetime | None = None) -> AuditAnchor:
    return AuditAnchor(sequence=record.sequence, digest=record.digest, at=at or record.recorded_at)


def behead(store: SqlStudyStore, store_url: str, until: int, *, at: datetime) -> None:
    """As one who may add a row to audit_pruned, and then delete what the triggers let go."""
    row = {"sequence": until, "digest": store.audit.get(until).digest, "pruned_at": at}
    engine = connect(store_url)
    with engine.begin() as connection:
        connection.execute(sa.insert(audit_pruned), [row])
        connection.execute(sa.delete(audit_record).where(audit_record.c.sequence <= until))
    engine.dispose()


def test_a_beheaded_trail_is_found_by_the_record_that_a_prune_leaves(store: SqlStudyStore, store_url: str) -> None:
    for number in range(1, 11):
        store.audit.record(event(), now=after(number))
    assert store.prune_audit(before=after(4), actor="ops", now=after(11) + SHORTEST).sequence == 3
    assert check(store.audit).breaks == ()
    behead(store, store_url, 8, at=after(12) + SHORTEST)

    for since in (None, after(10)):
        (broken,) = check(store.audit, since=since, at_least=10).breaks
        assert (broken.sequence, "no later trail_pruned" in broken.what) == (8, True)


def test_records_that_anchors_know_to_be_young_were_not_pruned(store: SqlStudyStore, store_url: str) -> None:
    for number in range(1, 11):
        store.audit.record(event(), now=after(number))
    anchors = [anchor_of(one) for one in store.audit.records()]
    gone = store.audit.get(8)
    behead(store, store_url, 8, at=after(11))
    what = AuditObject(kind=AuditObjectKind.RECORD, object_id="8", details={"digest": gone.digest})
    forged = audited(AuditType.TRAIL_PRUNED, AuditActor(name="ops"), objects=(what,))
    store.audit.record(forged, now=after(12) + 2 * SHORTEST)  # it says that it is of years to come

    assert check(store.audit).breaks == ()
    (broken,) = check(store.audit, anchors=[*anchors, anchor_of(store.audit.head(), at=after(13))]).breaks
    assert (broken.sequence, "taken away within 183 days" in broken.what) == (2, True)


def test_the_last_that_was_taken_away_is_compared_with_its_anchor(store: SqlStudyStore) -> None:
    for number in range(1, 7):
        store.audit.record(event(), now=after(number))
    anchors = [anchor_of(store.audit.get(4)), AuditAnchor(sequence=4, digest="ab" * 32, at=after(4))]
    store.prune_audit(before=after(5), actor="ops", now=after(100) + SHORTEST)

    assert check(store.audit, anchors=anchors[:1]).breaks == ()
    (broken,) = check(store.audit, anchors=anchors).breaks
    assert (broken.sequence, "another digest" in broken.what) == (4, True)


def test_a_trail_that_was_shortened_time_and_again_is_whole_by_all_its_anchors(store: SqlStudyStore) -> None:
    """Each time up to the shortest time that is allowed, where an anchor is younger than that and its record is not."""
    anchors, gone = [], []
    for number in range(400):
        morning = after(0) + timedelta(days=number)
        store.audit.record(event(), now=morning)
        if number in (190, 191, 390):
            noon = morning + timedelta(hours=1)
            gone.append(store.prune_audit(before=noon - SHORTEST, actor="ops", now=noon).sequence)
        anchors.append(anchor_of(store.audit.head(), at=morning + timedelta(hours=3)))
        if number in (190, 191, 390, 399):
            assert check(store.audit, anchors=anchors).breaks == ()
    assert gone == [8, 9, 210]


def test_what_a_receiver_lacks_is_not_taken_away(store: SqlStudyStore) -> None:
    for number in range(1, 7):
        store.audit.record(event(), now=after(number))
    claim = store.audit_feeds.claim("syslog", now=after(10), duration=LEASE)
    assert store.audit_feeds.told(claim, 2, now=after(10), duration=timedelta(0))
    assert store.prune_audit(before=after(6), actor="ops", now=after(100)).sequence == 2


def test_of_two_processes_one_sends_and_the_other_goes_on_after_its_death(store: SqlStudyStore) -> None:
    assert store.audit_feeds.claim("syslog", now=after(0), duration=LEASE) is None  # there is nothing to send
    for number in range(4):
        store.audit.record(event(), now=after(number))
    dead = store.audit_feeds.claim("syslog", now=after(10), duration=LEASE)
    assert dead.sequence == 0
    assert store.audit_feeds.told(dead, 2, now=after(11), duration=LEASE)
    assert store.audit_feeds.claim("syslog", now=after(12), duration=LEASE) is None
    heir = store.audit_feeds.claim("syslog", now=after(200), duration=LEASE)
    assert heir.sequence == 2
    assert not store.audit_feeds.told(dead, 4, now=after(201), duration=LEASE)
    (state,) = store.audit_feeds.states()
    assert (state.sequence, state.backlog, state.oldest_at) == (2, 2, after(2))


def test_a_patient_is_found_by_a_keyed_digest_and_by_the_studies_that_were_theirs(store: SqlStudyStore) -> None:
    store.audit.record(event("before"), now=after(0))  # nothing of the study is recorded yet
    store.record(sent(image(1)), now=after(1))
    store.audit.record(event("while"), now=after(2))
    store.record(sent(image(1, study="1.2.9")), now=after(3))
    store.audit.record(
        AuditEvent(
            kind=AuditKind.INSTANCES_ACCESSED,
            type="study_page",
            action=AuditAction.READ,
            actors=(AuditActor(name="elsewhere"),),
            objects=(AuditObject(kind=AuditObjectKind.STUDY, object_id="1.2.8"),),
        ),
        now=after(4),
    )
    digest = store.audit.patient("P1")
    found = store.audit.find(AuditQuery(patient=digest), limit=10)
    assert [json.loads(one.document)["actors"][0]["name"] for one in found] == ["while", "before"]
    everything = "".join(one.document for one in store.audit.records())
    assert digest in everything
    assert "P1" not in everything
    assert "Doe" not in everything
    assert store.audit.patient("P2") != digest


def test_records_are_found_by_person_study_type_and_time(store: SqlStudyStore) -> None:
    for number in range(6):
        store.audit.record(event(f"reader.{number % 2}"), now=after(number))

    def numbers(**asked: object) -> list[int]:
        return [one.sequence for one in store.audit.find(AuditQuery(**asked), limit=10)]

    assert numbers(asked_by="reader.1") == [6, 4, 2]
    assert numbers(study_instance_uid=STUDY, since=after(2), until=after(4)) == [4, 3]
    assert numbers(type="verdict") == []
    assert numbers(before=3) == [2, 1]
