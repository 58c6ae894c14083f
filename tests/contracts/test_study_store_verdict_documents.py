"""The contract of `StudyStore.verdict_documents`: a document is owed with the verdict, and frozen once."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from services.backends.store import SqlStudyStore
from services.backends.store.archive import StudyFilter
from services.triage.result import DeliveryState, ObjectKind
from services.triage.tenant import Tenant
from services.triage.verdict import Answer, Shown, Verdict
from services.triage.verdict_document import VerdictDocument
from tests.support.records import PACS, STUDY, after, analyse, digest_of, report, sent

QUIET = timedelta(seconds=60)
READER = "Dr A"
DESTINATIONS = [replace(PACS, name="desk", verdicts=True), PACS, replace(PACS, name="b", verdicts=True, tenants={"b"})]


@pytest.fixture
def given(store: SqlStudyStore) -> Verdict:
    analyse(store)
    detail = store.board.study(STUDY)
    assert detail is not None
    verdict = Verdict(
        verdict_id=uuid4().hex,
        study_instance_uid=STUDY,
        result_id=detail.results[0].result_id,
        answer=Answer.ACCEPT,
        reader=READER,
        given_at=after(100),
        shown=Shown(page="study"),
    )
    store.verdicts.give(verdict)
    return verdict


def written(verdicts: int = 1, *, uid: str = "2.25.7", at: float = 200, reader: str = READER) -> VerdictDocument:
    return VerdictDocument(
        study_instance_uid=STUDY,
        reader=reader,
        verdicts=verdicts,
        written_at=after(at),
        verified=False,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
        series_instance_uid=f"{uid}.1",
        sop_instance_uid=uid,
        sha256=digest_of(uid),
        size_bytes=1234,
    )


def again(verdict: Verdict, at: float, **told: object) -> Verdict:
    return replace(verdict, verdict_id=uuid4().hex, given_at=after(at), **told)  # type: ignore[arg-type]


def due(store: SqlStudyStore, at: float) -> list[tuple[str, bool]]:
    found = store.verdict_documents.due(now=after(at), quiet=QUIET)
    return [(one.reader, one.verified_at is not None) for one in found]


def test_a_document_is_owed_once_the_reader_is_quiet_or_says_so(store: SqlStudyStore, given: Verdict) -> None:
    store.verdicts.give(again(given, 150, reader="Dr B"))
    assert due(store, 159) == []
    assert due(store, 160) == [(READER, False)]
    assert store.verdict_documents.finish(STUDY, "Dr B", authenticated=True, now=after(161))
    assert due(store, 161) == [(READER, False), ("Dr B", True)]


def test_who_goes_on_has_not_finished(store: SqlStudyStore, given: Verdict) -> None:
    store.verdict_documents.finish(STUDY, READER, authenticated=True, now=after(101))
    store.verdicts.give(again(given, 102, answer=Answer.NOT_MY_QUESTION))
    assert due(store, 103) == []
    assert due(store, 162) == [(READER, False)]


def test_it_is_frozen_once_and_goes_to_those_who_get_verdicts(store: SqlStudyStore, given: Verdict) -> None:
    assert store.verdict_documents.freeze(written(), DESTINATIONS, actor="deliver")
    assert not store.verdict_documents.freeze(written(uid="2.25.8"), DESTINATIONS, actor="deliver")
    assert store.verdict_documents.of_study(STUDY) == (written(),)
    assert due(store, 10_000) == []
    assert not store.verdict_documents.finish(STUDY, READER, authenticated=True, now=after(300))
    (line,) = [one for one in store.deliveries({DeliveryState.PENDING}) if one.verdicts]
    assert (line.destination_name, line.objects) == ("desk", (ObjectKind.SR,))
    assert store.board.result_object("2.25.7") == digest_of("2.25.7")


def test_what_was_said_meanwhile_is_not_left_out(store: SqlStudyStore, given: Verdict) -> None:
    store.verdicts.give(again(given, 150))
    assert not store.verdict_documents.freeze(written(1), DESTINATIONS, actor="deliver")
    assert store.verdict_documents.of_study(STUDY) == ()
    assert due(store, 1000) == [(READER, False)]
    assert store.verdict_documents.freeze(written(2), DESTINATIONS, actor="deliver")


def test_it_is_delivered_as_a_result_is(store: SqlStudyStore, given: Verdict) -> None:
    store.verdict_documents.freeze(written(), DESTINATIONS, actor="deliver")
    claimed = store.claim_delivery("desk", now=after(201), duration=QUIET)
    assert claimed is not None
    assert claimed.objects == (("1.2.840.10008.5.1.4.1.1.88.34", "2.25.7", digest_of("2.25.7")),)
    store.delivered(claimed.delivery_id, now=after(202), ask_commitment=True)
    assert store.claim_commitment("desk", now=after(203), duration=QUIET) is not None
    detail = store.board.study(STUDY)
    assert detail is not None
    (row,) = detail.verdict_documents
    assert [(one.destination, one.state) for one in row.deliveries] == [("desk", DeliveryState.SENT)]
    assert all(one.destination != "desk" for one in detail.results[0].deliveries)
    assert (detail.events[-1].what, detail.events[-1].cause) == ("verdict_document", READER)


def test_it_is_found_by_dicomweb_and_opens_no_version_when_it_comes_back(store: SqlStudyStore, given: Verdict) -> None:
    store.verdict_documents.freeze(written(), DESTINATIONS, actor="deliver")
    before = store.archive.studies(StudyFilter(study_instance_uids=[STUDY]), limit=1, offset=0)
    assert store.archive.studies(StudyFilter(sop_instance_uids=["2.25.7"]), limit=1, offset=0) == before
    assert "SR" in before[0].modalities
    (found,) = store.archive.instances(STUDY, sop_instance_uid="2.25.7")
    assert (found.is_result, found.modality, found.digest) == (True, "SR", digest_of("2.25.7"))
    back = report(1, sop_instance_uid="2.25.7", series_instance_uid="2.25.7.1", manufacturer="Vigie")
    (recorded,) = store.record(sent(back), now=after(300))
    assert recorded.version is None
    assert store.archive.studies(StudyFilter(study_instance_uids=[STUDY]), limit=1, offset=0) == before


def test_of_a_study_that_is_moved_nothing_more_goes_to_the_old_tenants_destinations(
    store: SqlStudyStore, given: Verdict
) -> None:
    store.verdict_documents.freeze(written(), DESTINATIONS, actor="deliver")
    store.move(STUDY, Tenant(name="b", called_ae_titles=frozenset({"B"})), actor="me", now=after(300))
    assert store.claim_delivery("desk", now=after(301), duration=QUIET) is None
    store.verdicts.give(again(given, 302))
    assert store.verdict_documents.freeze(written(2, uid="2.25.9", at=400), DESTINATIONS, actor="deliver")
    assert store.claim_delivery("b", now=after(401), duration=QUIET) is not None
