"""What comes in by C-STORE stands in the audit trail, also where the database was away or the door was killed."""

import json
from pathlib import Path

from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from services.backends.audit_spool import AuditSpool
from services.backends.headers import read_instance
from services.backends.store import open_store
from services.gateway.audit.settling import settling
from services.triage.audit import AuditEvent, digest_over
from tests.support.ct import ct_series
from tests.support.peers import wait_until
from tests.support.records import after
from tests.support.scu import Door, associate, encode, open_door, store
from tests.support.trails import new_store


def settled(folder: Path) -> list[dict[str, object]]:
    trail = (
        open_store(f"sqlite:///{folder / 'vigie.sqlite'}") if (folder / "vigie.sqlite").exists() else new_store(folder)
    )
    settling(AuditSpool(folder), trail.audit).turn(after(0))
    records = [json.loads(one.document) for one in trail.audit.records()]
    trail.close()
    return records


def of_study(records: list[dict[str, object]], uid: str) -> list[dict[str, object]]:
    return [one for one in records if one["objects"] and one["objects"][0]["object_id"] == uid]


def waiting(folder: Path) -> list[AuditEvent]:
    return [one.event for one in AuditSpool(folder).pending(limit=100)]


def how_often(rejected: AuditEvent) -> int:
    return int(rejected.objects[0].details["count"])


def send(door: Door, series: list[Dataset], *, odd: bytes = b"") -> None:
    with associate(door.port) as association:
        for one in series:
            assert store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) == 0x0000
        if odd:
            assert store(association, odd, sop_instance_uid="1.2.3") != 0x0000


def test_what_an_association_brings_is_told_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    one, other = ct_series(slices=3, rows=16, columns=16), ct_series(slices=2, rows=16, columns=16)
    with open_door(tmp_path) as door:
        send(door, [*one, *other], odd=b"no data set")
        wait_until(lambda: AuditSpool(tmp_path).count() == 5, what="the events")
        kept = [read_instance(door.files.path(file.digest)) for file in door.files.pending()]
    records = settled(tmp_path)

    uid = str(one[0].StudyInstanceUID)
    begun, came = of_study(records, uid)
    assert [begun["type"], came["type"]] == ["begin_receiving", "received"]
    assert [each["name"] for each in came["actors"]] == ["TEST_SCU", "ANY-SCP"]
    told = came["objects"][0]["details"]
    assert (told["instances"], told["failed"], told["way"]) == ("3", "0", "C-STORE")
    assert told["sop_classes"] == "1.2.840.10008.5.1.4.1.1.2=3"
    assert came["outcome"] == 0
    (refused,) = of_study(records, "quarantine")
    assert (refused["outcome"], refused["objects"][0]["details"]["failed"]) == (8, "1")
    assert told["digest"] == digest_over(each.digest for each in kept if each.study.study_instance_uid == uid)


def test_a_killed_door_leaves_a_record_of_every_study_whose_instances_it_acknowledged(tmp_path: Path) -> None:
    series = ct_series(slices=3, rows=16, columns=16)
    with open_door(tmp_path) as door, associate(door.port) as association:
        for one in series:
            assert store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) == 0x0000
        door.kill()
    assert [one["type"] for one in of_study(settled(tmp_path), str(series[0].StudyInstanceUID))] == ["begin_receiving"]
    assert len(settled(tmp_path)) == 1, "and settling again doubles nothing"


def test_an_association_that_breaks_off_is_told_as_cut_short(tmp_path: Path) -> None:
    series = ct_series(slices=2, rows=16, columns=16)
    with open_door(tmp_path) as door, associate(door.port) as association:
        assert store(association, encode(series[0]), sop_instance_uid=series[0].SOPInstanceUID) == 0x0000
        association.abort()
        wait_until(lambda: AuditSpool(tmp_path).count() == 2, what="the events")
    _, came = of_study(settled(tmp_path), str(series[0].StudyInstanceUID))
    assert (came["outcome"], came["reason"]) == (4, "cut_short")


def test_who_may_not_associate_is_in_the_trail_with_how_often_it_tried(tmp_path: Path) -> None:
    with open_door(tmp_path, calling_ae_titles="CT1,CT2") as door:
        for _ in range(3):
            ae = AE(ae_title="STRANGER")
            ae.add_requested_context(Verification)
            assert ae.associate("127.0.0.1", door.port).is_rejected
        wait_until(AuditSpool(tmp_path).count, what="an event")
        door.process.terminate()  # those that came after it are told now, and not in a minute
        door.process.wait()
        wait_until(lambda: sum(map(how_often, waiting(tmp_path))) == 3, what="all of them")
    events = settled(tmp_path)
    assert len(events) <= 2
    assert {(one["type"], one["actors"][0]["name"]) for one in events} == {("association_rejected", "STRANGER")}
    assert {(one["kind"], one["outcome"]) for one in events} == {("110113", 8)}
