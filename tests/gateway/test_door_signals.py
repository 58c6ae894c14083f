"""MPPS and IAN at the door: success once they are kept, else the standard's failures; nothing where switched off."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association

from services.backends.senders.association import leave_answers_to_us
from services.backends.store import SqlStudyStore, open_store
from services.backends.store.engine import reading
from services.backends.store.tables import announcement
from services.gateway.signals import IAN, MPPS
from services.settings import Settings
from services.triage.completeness import Announced, Announcer
from services.triage.study import VersionKey
from tests.support.records import NOON, image, new_study_uid, sent
from tests.support.scu import Door, open_door
from tests.support.steps import available, begun, ended

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    data = tmp_path_factory.mktemp("door")
    open_store(Settings(data=data).store_url()).close()
    with open_door(data, completion_signals="true") as opened:
        yield opened


@pytest.fixture
def store(door: Door) -> Iterator[SqlStudyStore]:
    opened = open_store(Settings(data=door.data).store_url())
    yield opened
    opened.close()


@pytest.fixture
def modality(door: Door) -> Iterator[Association]:
    ae = AE(ae_title="CT1")
    for sop_class in (MPPS, IAN):
        ae.add_requested_context(sop_class)
    association = ae.associate("127.0.0.1", door.port)
    assert association.is_established
    leave_answers_to_us(association)
    yield association
    association.release()


def create(modality: Association, attributes: Dataset, uid: str | None, sop_class: UID = MPPS) -> Dataset:
    status, _ = modality.send_n_create(attributes, sop_class, uid)
    return status


def change(modality: Association, attributes: Dataset, uid: str) -> Dataset:
    status, _ = modality.send_n_set(attributes, MPPS, uid)
    return status


def announced(store: SqlStudyStore, study: str) -> Announced | None:
    found = store.evidence(VersionKey(study_instance_uid=study, number=1))
    assert found is not None
    return found.announced


def test_a_step_from_its_beginning_to_its_end(modality: Association, store: SqlStudyStore) -> None:
    study, step = new_study_uid(), generate_uid()
    images = [image(number, study=study) for number in range(1, 5)]
    uids = [one.header.sop_instance_uid for one in images]
    assert create(modality, begun(study), step).Status == 0x0000
    assert change(modality, ended(uids[:2], status=None), step).Status == 0x0000
    store.record(sent(*images[:3]), now=NOON)
    assert announced(store, study) is None
    assert change(modality, ended(uids), step).Status == 0x0000
    assert announced(store, study) == Announced(by=Announcer.MPPS, instances=4, missing=1, in_progress=False)


def test_an_end_that_names_nothing_leaves_what_was_named_before(modality: Association, store: SqlStudyStore) -> None:
    study, step = new_study_uid(), generate_uid()
    one = image(1, study=study)
    store.record(sent(one), now=NOON)
    create(modality, begun(study), step)
    change(modality, ended([one.header.sop_instance_uid], status=None), step)
    end = Dataset()
    end.PerformedProcedureStepStatus = "COMPLETED"
    assert change(modality, end, step).Status == 0x0000
    assert announced(store, study) == Announced(by=Announcer.MPPS, instances=1, missing=0, in_progress=False)


def test_a_step_that_is_known_unknown_or_at_its_end_is_refused_as_the_standard_says(modality: Association) -> None:
    step = generate_uid()
    assert change(modality, ended([]), step).Status == 0x0112
    create(modality, begun(new_study_uid()), step)
    assert create(modality, begun(new_study_uid()), step).Status == 0x0111
    change(modality, ended([], status="DISCONTINUED"), step)
    late = change(modality, ended([]), step)
    assert (late.Status, late.ErrorID) == (0x0110, 0xA506)


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda step: step.ScheduledStepAttributesSequence.clear(), 0x0120),
        (lambda step: setattr(step.ScheduledStepAttributesSequence[0], "StudyInstanceUID", ""), 0x0120),
        (lambda step: setattr(step, "PerformedProcedureStepStatus", "COMPLETED"), 0x0106),
        (lambda step: delattr(step, "PerformedProcedureStepStatus"), 0x0106),
    ],
)
def test_a_step_that_lacks_what_it_must_have_is_refused(modality: Association, spoil: object, status: int) -> None:
    step = begun(new_study_uid())
    spoil(step)  # type: ignore[operator]
    assert create(modality, step, generate_uid()).Status == status


def test_a_status_that_is_no_defined_term_changes_nothing(modality: Association) -> None:
    step = generate_uid()
    create(modality, begun(new_study_uid()), step)
    assert change(modality, ended([], status="DONE"), step).Status == 0x0106
    assert change(modality, ended([]), step).Status == 0x0000


def test_a_step_without_a_uid_is_given_one(modality: Association, store: SqlStudyStore) -> None:
    study = new_study_uid()
    assert create(modality, begun(study), None).Status == 0x0000
    with reading(store._engine) as connection:
        this = announcement.c.study_instance_uid == study
        uid = connection.scalar(sa.select(announcement.c.sop_instance_uid).where(this))
    assert str(uid).startswith("2.25.")
    assert change(modality, ended([]), str(uid)).Status == 0x0000


@pytest.mark.parametrize(("last", "counts"), [("ONLINE", True), ("NEARLINE", False)])
def test_a_notification_counts_when_all_is_online(
    modality: Association, store: SqlStudyStore, last: str, counts: bool
) -> None:
    study = new_study_uid()
    images = [image(number, study=study) for number in (1, 2)]
    store.record(sent(*images), now=NOON)
    told = available(study, [one.header.sop_instance_uid for one in images])
    told.ReferencedSeriesSequence[0].ReferencedSOPSequence[-1].InstanceAvailability = last
    uid = generate_uid()
    assert create(modality, told, uid, IAN).Status == 0x0000
    assert create(modality, told, uid, IAN).Status == 0x0111
    expected = Announced(by=Announcer.IAN, instances=2, missing=0, in_progress=False)
    assert announced(store, study) == (expected if counts else None)


def test_a_notification_of_nothing_is_refused(modality: Association) -> None:
    assert create(modality, available(new_study_uid(), []), generate_uid(), IAN).Status == 0x0120
    assert create(modality, available("", ["1.2.3"]), generate_uid(), IAN).Status == 0x0120


def test_nothing_of_the_patient_is_kept(modality: Association, store: SqlStudyStore) -> None:
    step = generate_uid()
    create(modality, begun(new_study_uid(), PatientName="Geheim^Name", PatientID="GEHEIM"), step)
    with reading(store._engine) as connection:
        row = connection.execute(sa.select(announcement).where(announcement.c.sop_instance_uid == step)).one()
    assert "GEHEIM" not in str(row).upper()
    assert row.received_from == "CT1"


def test_while_the_database_is_away_it_is_to_be_sent_again(tmp_path: Path) -> None:
    (tmp_path / "vigie.sqlite").mkdir()
    with open_door(tmp_path, completion_signals="true") as door:
        ae = AE()
        ae.add_requested_context(MPPS)
        association = ae.associate("127.0.0.1", door.port)
        leave_answers_to_us(association)
        assert create(association, begun(new_study_uid()), generate_uid()).Status == 0x0110
        association.release()


def test_where_they_are_switched_off_the_contexts_are_rejected(tmp_path: Path) -> None:
    with open_door(tmp_path) as door:
        ae = AE()
        for sop_class in (MPPS, IAN, "1.2.840.10008.1.1"):
            ae.add_requested_context(sop_class)
        association = ae.associate("127.0.0.1", door.port)
        assert [one.abstract_syntax for one in association.accepted_contexts] == ["1.2.840.10008.1.1"]
        association.release()
