"""The door takes answers to our requests for storage commitment, and says success once they are recorded."""

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context
from pynetdicom.events import Event

from services.backends.storage_commitment import STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE, answer_report
from services.backends.store import SqlStudyStore, open_store
from services.settings import Settings
from services.triage.commitment import CommitmentReport
from services.triage.errors import SchemaBehind
from services.triage.result import DeliveryState
from tests.support.archive import event_information, report
from tests.support.peers import free_port
from tests.support.records import NOON, PACS, after, analyse, new_study_uid
from tests.support.scu import Door, open_door

CLAIM = timedelta(minutes=1)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    data = tmp_path_factory.mktemp("door")
    open_store(Settings(data=data).store_url()).close()
    with open_door(data) as opened:
        yield opened


@pytest.fixture
def store(door: Door) -> Iterator[SqlStudyStore]:
    opened = open_store(Settings(data=door.data).store_url())
    yield opened
    opened.close()


def asked(store: SqlStudyStore) -> tuple[str, str, list[tuple[str, str]]]:
    """A delivery whose commitment was asked for: its id, the transaction, (SOP class, SOP instance) of its objects."""
    analyse(store, study=new_study_uid())
    delivery = store.claim_delivery(PACS.name, now=after(60), duration=CLAIM)
    assert delivery is not None
    store.delivered(delivery.delivery_id, now=after(60), ask_commitment=True)
    due = store.claim_commitment(PACS.name, now=after(60), duration=CLAIM)
    assert due is not None
    transaction = generate_uid(prefix=None)
    store.commitment_asked(due, transaction, now=after(61), again_at=NOON + timedelta(days=1))
    return delivery.delivery_id, transaction, [(cls, uid) for cls, uid, _ in due.delivery.objects]


def state(store: SqlStudyStore, delivery_id: str) -> DeliveryState:
    return {one.delivery_id: one.state for one in store.deliveries(list(DeliveryState))}[delivery_id]


def test_an_answer_that_is_acknowledged_is_recorded_and_a_repetition_is_acknowledged_too(
    door: Door, store: SqlStudyStore
) -> None:
    delivery, transaction, objects = asked(store)
    assert report(door.port, event_information(transaction, objects), times=2) == [0x0000, 0x0000]
    assert state(store, delivery) is DeliveryState.COMMITTED
    assert report(door.port, event_information(transaction, objects)) == [0x0000]


def test_what_an_archive_does_not_commit_is_due_again(door: Door, store: SqlStudyStore) -> None:
    delivery, transaction, objects = asked(store)
    (_, failed), _ = objects
    assert report(door.port, event_information(transaction, objects, [failed])) == [0x0000]
    assert state(store, delivery) is DeliveryState.SENT
    (line,) = [one for one in store.deliveries({DeliveryState.SENT}) if one.delivery_id == delivery]
    assert line.reason is not None
    assert line.reason.code == "commitment_failed"


def test_an_unknown_transaction_is_refused(door: Door, store: SqlStudyStore) -> None:
    delivery, _, objects = asked(store)
    assert report(door.port, event_information(generate_uid(), objects)) == [0x0115]
    nothing = event_information(generate_uid(), objects)
    del nothing.TransactionUID
    assert report(door.port, nothing) == [0x0115]
    assert state(store, delivery) is DeliveryState.SENT


def test_an_unknown_event_or_instance_is_refused(door: Door, store: SqlStudyStore) -> None:
    delivery, transaction, objects = asked(store)
    assert report(door.port, event_information(transaction, objects), event_type=3) == [0x0113]
    assert report(door.port, event_information(transaction, objects), instance="1.2.3") == [0x0112]
    assert state(store, delivery) is DeliveryState.SENT


def test_an_answer_is_refused_while_the_database_is_away(tmp_path) -> None:
    information = event_information(generate_uid(), [("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3")])
    nobody = f"postgresql://vigie@127.0.0.1:{free_port()}/vigie"
    with open_door(tmp_path, database_url=nobody) as door:
        assert report(door.port, information) == [0x0110]


def test_an_answer_is_refused_while_the_database_waits_for_its_upgrade() -> None:
    def record(_report: CommitmentReport) -> bool:
        raise SchemaBehind("run 'vigie db upgrade'")

    request = SimpleNamespace(AffectedSOPInstanceUID=WELL_KNOWN_INSTANCE)
    event = SimpleNamespace(request=request, event_type=1, event_information=event_information(generate_uid(), []))
    answer, _ = answer_report(cast(Event, event), record)
    assert isinstance(answer, Dataset)
    assert answer.Status == 0x0110


def test_nobody_is_offered_storage_commitment(door: Door) -> None:
    """A modality asks as SCU: it proposes no role, and would else believe that we commit its images."""
    ae = AE()
    ae.add_requested_context("1.2.840.10008.1.1")
    contexts = [*ae.requested_contexts, build_context(STORAGE_COMMITMENT)]
    association = ae.associate("127.0.0.1", door.port, contexts=contexts)
    assert association.is_established
    assert [one.abstract_syntax for one in association.accepted_contexts] == ["1.2.840.10008.1.1"]
    association.release()
