"""The contract of `StudyStore`: a study is one tenant's, whoever sends of it, and its results go to that tenant."""

from dataclasses import replace

import pytest

from services.backends.store import SqlStudyStore
from services.backends.store.archive import StudyFilter
from services.triage.identity import two_patients
from services.triage.ports import Arrival
from services.triage.result import DeliveryState, Destination
from services.triage.study import Instance, VersionKey
from services.triage.tenant import NO_TENANT, Tenant
from tests.support.other_process import at_once, record_as
from tests.support.records import (
    PACS,
    STUDY,
    a_result,
    adt,
    after,
    complete_study,
    image,
    lease_next,
    new_study_uid,
    one_job,
    sent,
)

A = Tenant(name="a", issuer_of_patient_id="HOSPITAL-A")
B = Tenant(name="b", issuer_of_patient_id="HOSPITAL-B")
PACS_A = Destination(name="pacs-a", kind="dicom", address="A@localhost:104", tenants=frozenset({"a"}))
PACS_B = Destination(name="pacs-b", kind="dicom", address="B@localhost:104", tenants=frozenset({"b"}))
SHARED = Destination(name="shared", kind="folder", address="/srv", tenants=frozenset({"a", "b"}))
ALL = [PACS, PACS_A, PACS_B, SHARED]
VERSION = VersionKey(study_instance_uid=STUDY, number=1)


def record(store: SqlStudyStore, *instances: Instance, tenant: Tenant | None, at: float = 0) -> list[Arrival]:
    return [one.arrival for one in store.record(sent(*instances), now=after(at), tenant=tenant)]


def frozen(store: SqlStudyStore, tenant: Tenant | None, study: str = STUDY) -> str:
    """A result of a tenant's study, made by a worker that has all destinations; answers its id."""
    record(store, image(1, study=study), tenant=tenant)
    complete_study(store, study=study)
    lease, job = lease_next(store)
    assert job.tenant == (tenant.name if tenant else NO_TENANT)
    result, sha256s = a_result()
    return store.freeze(lease, result, sha256s=sha256s, destinations=ALL, now=after(30))


def owed(store: SqlStudyStore, *states: DeliveryState) -> set[str]:
    return {line.destination_name for line in store.deliveries(states or list(DeliveryState))}


def test_a_study_is_of_the_tenant_that_sent_its_first_instance(store: SqlStudyStore) -> None:
    assert store.tenant(STUDY) == NO_TENANT
    assert record(store, image(1), tenant=A) == [Arrival.NEW]
    assert store.tenant(STUDY) == "a"


@pytest.mark.parametrize("content", ["", "other"], ids=["the same bytes", "other bytes"])
def test_what_another_tenant_sends_of_it_is_not_recorded_and_leaves_no_trace(
    store: SqlStudyStore, content: str
) -> None:
    record(store, image(1), tenant=A)
    before = store.board.study(STUDY)
    for one in (image(1, content=content), image(2)):
        assert record(store, one, tenant=B, at=5) == [Arrival.OTHER_TENANT]
    assert store.board.study(STUDY) == before
    assert store.instances(VERSION) == tuple(with_issuer_of(A, image(1)))
    assert record(store, image(1), image(2), tenant=A, at=6) == [Arrival.RESEND, Arrival.NEW]


def with_issuer_of(tenant: Tenant, *instances: Instance) -> list[Instance]:
    issuer = tenant.issuer_of_patient_id
    return [replace(one, study=replace(one.study, issuer_of_patient_id=issuer)) for one in instances]


def test_of_two_first_instances_at_once_one_tenant_has_the_study(store: SqlStudyStore, store_url: str) -> None:
    for _ in range(5):
        study = new_study_uid()
        arrivals = at_once(record_as, [(store_url, "a", study, 1), (store_url, "b", study, 2)])
        assert sorted(arrivals) == [Arrival.NEW, Arrival.OTHER_TENANT]
        owner = "a" if arrivals[0] == Arrival.NEW else "b"
        assert store.tenant(study) == owner
        assert len(store.instances(VersionKey(study_instance_uid=study, number=1))) == 1


def test_in_one_call_the_studies_of_others_are_refused_and_the_own_ones_recorded(store: SqlStudyStore) -> None:
    mine, theirs = new_study_uid(), new_study_uid()
    record(store, image(1, study=theirs), tenant=B)
    assert record(store, image(2, study=theirs), image(1, study=mine), tenant=A) == [Arrival.OTHER_TENANT, Arrival.NEW]


def test_a_study_without_a_tenant_is_the_next_ones(store: SqlStudyStore) -> None:
    record(store, image(1), tenant=None)
    assert record(store, image(2), tenant=B) == [Arrival.NEW]
    assert record(store, image(3), tenant=A) == [Arrival.OTHER_TENANT]


def test_studies_without_a_tenant_can_be_adopted(store: SqlStudyStore) -> None:
    other = new_study_uid()
    record(store, image(1), tenant=None)
    record(store, image(1, study=other), tenant=B)
    assert (store.adopt(A), store.adopt(A)) == (1, 0)
    assert (store.tenant(STUDY), store.tenant(other)) == ("a", "b")


def test_an_issuer_that_images_leave_out_is_the_tenants_and_follows_the_study(store: SqlStudyStore) -> None:
    foreign = replace(image(2), study=replace(image(2).study, issuer_of_patient_id="ELSEWHERE"))
    nameless = replace(image(3), study=replace(image(3).study, patient_id=""))
    record(store, foreign, nameless, image(1), tenant=B)
    assert [one.study.issuer_of_patient_id for one in store.instances(VERSION)] == ["ELSEWHERE", "", "HOSPITAL-B"]
    assert two_patients(store.instances(VERSION)) is not None
    assert store.move(STUDY, A, actor="ops", now=after(1))
    assert [one.study.issuer_of_patient_id for one in store.instances(VERSION)] == ["ELSEWHERE", "", "HOSPITAL-A"]
    (row,) = store.board.work_list()
    (found,) = store.archive.studies(StudyFilter(), limit=10, offset=0)
    assert row.study.issuer_of_patient_id == found.attributes.issuer_of_patient_id == "HOSPITAL-A"


@pytest.mark.parametrize(
    ("tenant", "destinations"), [(A, {"pacs-a", "shared"}), (B, {"pacs-b", "shared"}), (None, {"pacs"})]
)
def test_a_result_is_owed_to_the_destinations_of_its_tenant_alone(
    store: SqlStudyStore, tenant: Tenant | None, destinations: set[str]
) -> None:
    frozen(store, tenant)
    assert owed(store) == destinations


def test_a_worker_that_knows_no_destination_of_the_tenant_sends_nothing_and_says_so(store: SqlStudyStore) -> None:
    record(store, image(1), tenant=A)
    complete_study(store)
    lease, _ = lease_next(store)
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=[PACS, PACS_B], now=after(30))
    assert owed(store) == set()
    detail = store.board.study(STUDY)
    assert detail is not None
    told = [(event.what, event.cause) for event in detail.versions[0].jobs[0].events]
    assert ("nothing_to_deliver", "no destination gets results of tenant a") in told


def test_a_study_that_is_moved_is_the_other_tenants_and_what_has_not_gone_out_goes_to_nobody(
    store: SqlStudyStore,
) -> None:
    frozen(store, A)
    assert not store.move("1.2.3", B, actor="ops", now=after(40))
    assert store.move(STUDY, B, actor="ops", now=after(40))
    assert store.move(STUDY, B, actor="ops", now=after(41)), "moving again changes nothing"
    lines = store.deliveries(list(DeliveryState))
    assert {(line.state, line.reason and line.reason.code) for line in lines} == {(DeliveryState.GIVEN_UP, "moved")}
    assert store.resend([line.delivery_id for line in lines], actor="ops", now=after(42)) == []
    assert record(store, image(9), tenant=A, at=43) == [Arrival.OTHER_TENANT]
    detail = store.board.study(STUDY)
    assert detail is not None
    assert [(one.actor, one.cause) for one in detail.events if one.what == "moved"] == [("ops", "to tenant b")]
    store.ask_analysis(STUDY, actor="ops", now=after(44))
    version = VersionKey(study_instance_uid=STUDY, number=2)
    seen = len(store.instances(version))
    assert store.complete(version, one_job(), priority=detail.row.priority, seen=seen, now=after(45))
    lease, _ = lease_next(store, at=50)
    result, sha256s = a_result()
    store.freeze(lease, result, sha256s=sha256s, destinations=ALL, now=after(60))
    assert owed(store, DeliveryState.PENDING) == {"pacs-b", "shared"}


def test_work_list_search_and_counts_tell_tenants_apart(store: SqlStudyStore) -> None:
    of_b = new_study_uid()
    record(store, image(1), tenant=A)
    record(store, image(1, study=of_b), tenant=B)
    assert [(row.study.study_instance_uid, row.tenant) for row in store.board.work_list(tenant="b")] == [(of_b, "b")]
    assert len(store.board.work_list()) == 2
    assert store.board.studies_by_tenant() == {"a": 1, "b": 1}
    found = store.archive.studies(StudyFilter(tenant="a"), limit=10, offset=0)
    assert [one.attributes.study_instance_uid for one in found] == [STUDY]


def test_a_patient_registry_tells_of_its_own_hospitals_patients_alone(store: SqlStudyStore) -> None:
    other = new_study_uid()
    record(store, image(1), tenant=A)
    record(store, image(1, study=other), tenant=B)

    def name_of(study: str) -> str:
        found = store.board.study(study)
        assert found is not None
        return found.row.study.patient_name

    before = name_of(other)
    done = store.reconcile_patients(adt("P1@HOSPITAL-A", patient_name="Roe^Jane"), now=after(10))
    assert done.studies == 1
    assert (name_of(STUDY), name_of(other)) == ("Roe^Jane", before)
    # whichever came first
    record(store, image(2), tenant=A, at=20)
    record(store, image(2, study=other), tenant=B, at=20)
    assert (name_of(STUDY), name_of(other)) == ("Roe^Jane", before)
    done = store.reconcile_patients(adt("P1@HOSPITAL-B", patient_name="Poe^Jane"), now=after(30))
    assert done.studies == 1
    assert (name_of(STUDY), name_of(other)) == ("Roe^Jane", "Poe^Jane")
