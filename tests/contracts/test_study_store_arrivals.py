"""The contract of `StudyStore`: what arrives, and which version of its study it belongs to."""

import json
import math
from dataclasses import replace

import pytest
from sqlalchemy.dialects import sqlite

from services.backends.store import ShownState, SqlStudyStore, open_store
from services.backends.store.columns import AsJson
from services.triage.errors import LeaseLost
from services.triage.job import JobState, OrderPriority
from services.triage.ports import Arrival, Recorded
from services.triage.result import Result
from services.triage.study import Instance, InstanceHeader, Stack, VersionKey
from tests.support.records import (
    LEASE,
    NOON,
    OUT_OF_SCOPE,
    PACS,
    STUDY,
    a_result,
    after,
    analyse,
    complete_study,
    image,
    lease_next,
    one_job,
    report,
    sent,
)

FIRST = VersionKey(study_instance_uid=STUDY, number=1)
SECOND = VersionKey(study_instance_uid=STUDY, number=2)
FRAMES = Stack(places=40, gap_mm=2.0, length_mm=80.0)


def digests(store: SqlStudyStore, version: VersionKey) -> list[str]:
    return [one.digest for one in store.instances(version)]


def newest_version(store: SqlStudyStore) -> int:
    detail = store.board.study(STUDY)
    assert detail is not None
    return detail.row.version


def test_the_first_image_opens_the_first_version_and_later_ones_join_it(store: SqlStudyStore) -> None:
    first = store.record(sent(image(1)), now=NOON)
    later = store.record(sent(image(2), image(3)), now=after(1))
    assert first + later == [Recorded(arrival=Arrival.NEW, version=FIRST)] * 3
    assert digests(store, FIRST) == [image(1).digest, image(2).digest, image(3).digest]


def test_recording_again_changes_nothing(store: SqlStudyStore) -> None:
    store.record(sent(image(1), image(2)), now=NOON)
    before = store.board.study(STUDY)
    again = store.record(sent(image(1), image(2), sender="OTHER"), now=after(100))
    assert again == [Recorded(arrival=Arrival.RESEND, version=None)] * 2
    assert store.board.study(STUDY) == before


def test_the_same_instance_twice_in_one_batch_is_recorded_once(store: SqlStudyStore) -> None:
    recorded = store.record(sent(image(1), image(1)), now=NOON)
    assert [one.arrival for one in recorded] == [Arrival.NEW, Arrival.RESEND]
    assert len(store.instances(FIRST)) == 1


def test_a_resend_after_completion_opens_nothing(store: SqlStudyStore) -> None:
    complete_study(store)
    store.record(sent(image(1)), now=after(60))
    assert newest_version(store) == 1


def test_a_new_image_after_completion_opens_the_next_version_with_all_of_the_study(store: SqlStudyStore) -> None:
    complete_study(store, images=2)
    assert store.record(sent(image(3)), now=after(60)) == [Recorded(arrival=Arrival.NEW, version=SECOND)]
    assert len(store.instances(SECOND)) == 3
    assert len(store.instances(FIRST)) == 2


def test_a_new_image_cancels_the_queued_job_of_the_version_before(store: SqlStudyStore) -> None:
    complete_study(store)
    assert len(store.unpublished(limit=10)) == 1
    store.record(sent(image(3)), now=after(60))
    assert store.unpublished(limit=10) == []
    assert store.lease_next(worker="late", now=after(61), duration=after(60) - NOON) is None


def test_a_version_that_is_being_analysed_may_not_freeze_once_a_new_image_came(store: SqlStudyStore) -> None:
    complete_study(store)
    lease, _ = lease_next(store)
    store.record(sent(image(3)), now=after(25))
    result, sha256s = a_result()
    with pytest.raises(LeaseLost):
        store.renew(lease, now=after(26), duration=after(60) - NOON)
    with pytest.raises(LeaseLost):
        store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=after(30))
    assert store.claim_delivery(PACS.name, now=after(100), duration=LEASE) is None
    assert store.board.counts().jobs == {JobState.CANCELLED: 1}


@pytest.mark.parametrize(
    "other",
    [
        report(1),
        report(2, modality="KO"),
        report(3, modality="SR", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.67"),
        image(50, series=7, modality="SEG", manufacturer="Vigie"),
        image(51, series=7, modality="CT", manufacturer="Vigie"),
        image(52, series=7, has_pixel_data=False),
    ],
    ids=["report", "key objects", "dose report", "our segmentation", "our image", "image without pixels"],
)
def test_what_cannot_be_routed_is_kept_with_the_study_and_opens_nothing(store: SqlStudyStore, other: Instance) -> None:
    complete_study(store, images=2)
    recorded = store.record(sent(other), now=after(60))
    assert recorded == [Recorded(arrival=Arrival.NEW, version=None)]
    detail = store.board.study(STUDY)
    assert detail is not None
    assert (detail.row.version, detail.row.instance_count, detail.row.state) == (1, 3, ShownState.QUEUED)
    assert len(store.instances(FIRST)) == 2


def test_what_came_between_two_versions_belongs_to_the_later_one(store: SqlStudyStore) -> None:
    complete_study(store, images=2)
    store.record(sent(report(1)), now=after(60))
    store.record(sent(image(3)), now=after(70))
    assert len(store.instances(SECOND)) == 4


def test_an_object_that_we_froze_opens_nothing_when_it_comes_back_under_another_name(store: SqlStudyStore) -> None:
    result: Result = analyse(store)
    own = result.objects[0].sop_instance_uid
    recorded = store.record(sent(image(9, sop_instance_uid=own, manufacturer="Archive")), now=after(100))
    assert recorded == [Recorded(arrival=Arrival.NEW, version=None)]
    assert newest_version(store) == 1


def test_a_study_without_images_is_findable_and_takes_no_place_in_the_work_list(store: SqlStudyStore) -> None:
    store.record(sent(report(1)), now=NOON)
    assert store.quiet_versions(now=after(100), quiet_period=after(15) - NOON) == []
    assert store.board.work_list() == []
    (row,) = store.board.work_list(states=[ShownState.OUT_OF_SCOPE])
    assert (row.version, row.reason.code if row.reason else None) == (0, "no_images")


def test_a_second_content_under_one_uid_is_kept_and_the_newest_is_analysed(store: SqlStudyStore) -> None:
    store.record(sent(image(1), image(2)), now=NOON)
    (recorded,) = store.record(sent(image(1, content="other"), sender="CT2"), now=after(1))
    assert recorded == Recorded(arrival=Arrival.CONFLICT, version=FIRST, replaced=(image(1).digest,))
    assert digests(store, FIRST) == [image(1, content="other").digest, image(2).digest]
    detail = store.board.study(STUDY)
    assert detail is not None
    assert detail.series[0].conflicts == (image(1).header.sop_instance_uid,)
    conflict = next(event for event in detail.events if event.what == "conflict")
    assert (conflict.actor, conflict.cause) == ("CT2", image(1).header.sop_instance_uid)


def test_the_first_content_coming_again_does_not_become_the_newest(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    store.record(sent(image(1, content="other")), now=after(1))
    assert store.record(sent(image(1)), now=after(2))[0].arrival is Arrival.OLDER
    assert digests(store, FIRST) == [image(1, content="other").digest]


def test_a_second_content_after_completion_opens_the_next_version(store: SqlStudyStore) -> None:
    complete_study(store, images=1)
    (recorded,) = store.record(sent(image(1, content="other")), now=after(60))
    assert recorded == Recorded(arrival=Arrival.CONFLICT, version=SECOND, replaced=(image(1).digest,))
    assert digests(store, FIRST) == [image(1).digest]
    assert digests(store, SECOND) == [image(1, content="other").digest]


def test_a_second_content_with_the_same_pixels_opens_nothing(store_url: str) -> None:
    compared: list[tuple[str, str]] = []

    def same(kept: str, arrived: str) -> bool:
        compared.append((kept, arrived))
        return True

    store = open_store(store_url, same_pixels=same)
    complete_study(store, images=1)
    compressed = image(1, content="compressed", transfer_syntax_uid="1.2.840.10008.1.2.4.90")
    (recorded,) = store.record(sent(compressed), now=after(60))
    assert recorded == Recorded(arrival=Arrival.CONFLICT, version=None, replaced=(image(1).digest,))
    assert compared == [(image(1).digest, compressed.digest)]
    assert newest_version(store) == 1


def test_a_second_content_that_changes_routing_opens_a_version_whatever_its_pixels(store_url: str) -> None:
    store = open_store(store_url, same_pixels=lambda _kept, _arrived: True)
    complete_study(store, images=1)
    changed = image(1, content="renamed", series_description="Lung 1.0")
    assert store.record(sent(changed), now=after(60))[0].version == SECOND


def test_one_uid_in_two_studies_belongs_to_both(store: SqlStudyStore) -> None:
    uid = image(1).header.sop_instance_uid
    other = image(1, study="1.9", sop_instance_uid=uid)
    store.record(sent(image(1)), now=NOON)
    assert store.record(sent(other), now=NOON)[0].arrival is Arrival.NEW
    assert len(store.instances(FIRST)) == 1
    assert len(store.instances(VersionKey(study_instance_uid="1.9", number=1))) == 1


def test_one_batch_may_hold_several_studies(store: SqlStudyStore) -> None:
    studies = [f"1.9.{number}" for number in range(3)]
    batch = [image(number, study=study) for number in range(4) for study in studies]
    recorded = store.record(sent(*batch), now=NOON)
    assert [one.version.study_instance_uid for one in recorded if one.version] == studies * 4
    assert [row.instance_count for row in store.board.work_list()] == [4, 4, 4]


def test_a_study_is_listed_as_its_newest_image_tells_and_each_instance_keeps_its_own(store: SqlStudyStore) -> None:
    first, corrected = image(1), image(2)
    store.record(sent(replace(first, study=replace(first.study, patient_name="Do^Jane"))), now=NOON)
    store.record(sent(corrected), now=after(1))
    foreign = report(1)
    store.record(sent(replace(foreign, study=replace(foreign.study, patient_name="REPORT^X"))), now=after(2))
    (row,) = store.board.work_list()
    assert row.study.patient_name == "Doe^Jane"
    assert [one.study.patient_name for one in store.instances(FIRST)] == ["Do^Jane", "Doe^Jane", "REPORT^X"]


def test_a_header_comes_back_as_it_was_recorded(store: SqlStudyStore) -> None:
    enhanced = image(3, number_of_frames=40, frames=FRAMES)
    store.record(sent(image(1), report(2), enhanced), now=NOON)
    assert list(store.instances(FIRST)) == [image(1), report(2), enhanced]


def test_a_header_that_an_earlier_version_kept_is_read() -> None:
    kept = json.loads(str(AsJson(InstanceHeader).process_bind_param(image(1).header, sqlite.dialect())))
    del kept["frames"]
    assert AsJson(InstanceHeader).process_result_value(json.dumps(kept), sqlite.dialect()) == image(1).header


def test_how_frames_lie_opens_a_version_where_it_changes_and_not_where_it_was_not_known(store_url: str) -> None:
    store = open_store(store_url, same_pixels=lambda _kept, _arrived: True)
    complete_study(store, images=1)
    assert store.record(sent(image(1, content="corrected", frames=FRAMES)), now=after(60))[0].version is None
    moved = image(1, content="moved", frames=replace(FRAMES, places=20))
    assert store.record(sent(moved), now=after(120))[0].version == SECOND


def test_no_header_however_odd_stops_the_others(store: SqlStudyStore) -> None:
    odd = image(1, series_description="a\x00b\ud800c", slice_thickness_mm=math.inf, series_number=10**30)
    odd = replace(odd, study=replace(odd.study, patient_name="Do\x00e^J\ud800ane"))
    store.record(sent(odd, image(2)), now=NOON)
    kept, other = store.instances(FIRST)
    assert kept.header == odd.header
    assert kept.study.patient_name == "Doe^Jane"
    assert other.header == image(2).header


def test_an_out_of_scope_version_is_followed_by_one_that_is_in_scope(store: SqlStudyStore) -> None:
    complete_study(store, plan=OUT_OF_SCOPE, images=1)
    store.record(sent(image(2)), now=after(60))
    assert store.complete(SECOND, one_job(), priority=OrderPriority.ROUTINE, seen=2, now=after(80))
    assert [row.state for row in store.board.work_list()] == [ShownState.QUEUED]
