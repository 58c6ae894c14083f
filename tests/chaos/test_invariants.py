"""Each invariant of the chaos campaign, broken on purpose: a check that cannot fail proves nothing."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from fastapi.testclient import TestClient
from pydicom.uid import SegmentationStorage, generate_uid

from chaos.invariants import Evidence, breaches
from chaos.studies import PATIENT_ID, PATIENT_NAME, make_study
from services.backends import part10
from services.gateway.app import create_app
from tests.support.house import House

PACS = "PACS@127.0.0.1:1"


class World:
    """A study that has come to its end: kept, analysed, frozen, delivered."""

    def __init__(self, folder: Path) -> None:
        self.house = House(data=folder / "data", send_to=(PACS,))
        self.study = make_study("lesion", folder / "sent", seed=1)
        self.pacs = folder / "pacs"
        self.pacs.mkdir()
        desk = create_app(self.house.settings, store=self.house.store, files=self.house.files)
        self.api = TestClient(desk, base_url="http://localhost")
        self.house.freeze([pydicom.dcmread(path) for path in self.study.files])
        now = datetime.now(UTC)
        due = self.house.store.claim_delivery(PACS, now=now, duration=timedelta(seconds=60))
        assert due is not None
        for _, uid, sha256 in due.objects:
            self.receive(uid, self.house.files.result_path(sha256).read_bytes())
        self.house.store.delivered(due.delivery_id, now=now)

    def receive(self, uid: str, content: bytes) -> None:
        """As chaos.pacs keeps it."""
        (self.pacs / f"{uid}.{part10.digest(content)[:16]}.dcm").write_bytes(content)

    def received(self, modality: str) -> Path:
        return next(path for path in self.pacs.iterdir() if pydicom.dcmread(path).Modality == modality)

    def kept(self) -> Path:
        return next(self.house.data.glob("instances/*/*.dcm"))

    def evidence(self) -> Evidence:
        return Evidence(
            studies=[self.study],
            acknowledged=dict.fromkeys(self.study.files.values(), self.study.uid),
            details={self.study.uid: self.api.get(f"/api/studies/{self.study.uid}").json()},
            data=self.house.data,
            received=list(self.pacs.iterdir()),
            dead_letters=[],
            waiting={"vigie.dead": 3},
            logs={"door": "", "desk": '{"event": "desk_open"}'},
            api=self.api,
        )

    def seen(self) -> list[str]:
        return [str(breach) for breach in breaches(self.evidence())]

    def seen_if(self, change: Callable[[dict[str, Any]], object]) -> list[str]:
        """What would be seen if the API's answer were changed so."""
        evidence = self.evidence()
        details = deepcopy(dict(evidence.details))
        change(details[self.study.uid])
        return [str(breach) for breach in breaches(replace(evidence, details=details))]

    def change_received(self, modality: str, change: Callable[[pydicom.Dataset], object]) -> None:
        """Have the PACS hold another object instead."""
        path = self.received(modality)
        dataset = pydicom.dcmread(path)
        path.unlink()
        change(dataset)
        copy = self.pacs / "copy"
        dataset.save_as(copy)
        self.receive(str(dataset.SOPInstanceUID), copy.read_bytes())
        copy.unlink()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def job_of(detail: dict[str, Any]) -> dict[str, Any]:
    return detail["versions"][0]["jobs"][0]


def test_a_study_that_came_to_its_end_breaks_nothing(world: World) -> None:
    assert world.seen() == []


def test_a_kept_file_that_is_gone_is_lost(world: World) -> None:
    kept = world.kept()
    kept.unlink()
    assert world.seen() == [f"lost: acknowledged instance {kept.stem} is not kept"]


def test_a_kept_file_with_one_other_byte_is_lost(world: World) -> None:
    kept = world.kept()
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    assert world.seen() == [f"lost: acknowledged instance {kept.stem} is kept with other bytes"]


def test_a_file_that_waits_in_the_inbox_is_not_lost(world: World) -> None:
    kept = world.kept()
    kept.rename(world.house.data / "inbox" / f"{kept.stem}.Q1Qx.dcm")
    assert world.seen() == []


def test_an_instance_that_the_store_does_not_know_is_stuck(world: World) -> None:
    count = len(world.study.files)
    (told,) = world.seen_if(lambda detail: detail["summary"].update(instance_count=count - 1))
    assert told == f"stuck: study {world.study.uid}: {count - 1} of {count} instances known"


def test_a_study_that_the_api_does_not_know_is_stuck(world: World) -> None:
    evidence = replace(world.evidence(), details={world.study.uid: None}, received=[])
    assert [str(breach) for breach in breaches(evidence)] == [f"stuck: study {world.study.uid}: unknown to the API"]


@pytest.mark.parametrize(
    ("change", "waits_for"),
    [
        (lambda detail: detail["versions"][0].update(state="receiving"), "version 1 is receiving"),
        (lambda detail: job_of(detail).update(state="queued", result=None), "is queued, attempt 1"),
        (lambda detail: job_of(detail).update(state="analysing", result=None), "is analysing, attempt 1"),
        (lambda detail: job_of(detail)["result"]["deliveries"][0].update(state="pending"), "is pending, try"),
    ],
)
def test_what_has_not_come_to_its_end_is_stuck(world: World, change: Callable[..., object], waits_for: str) -> None:
    told = [one for one in world.seen_if(change) if one.startswith("stuck")]
    assert len(told) == 1
    assert waits_for in told[0]


def test_another_outcome_than_the_images_call_for_is_wrong(world: World) -> None:
    world.study = replace(world.study, kind="clean")
    assert world.seen() == [f"wrong: study {world.study.uid} (clean) ended as ('analysed', ['found'])"]


def test_a_study_out_of_scope_that_was_analysed_is_wrong(world: World) -> None:
    world.study = replace(world.study, kind="out_of_scope")
    assert [one.split(":")[0] for one in world.seen()] == ["wrong"]


def test_resent_bytes_that_were_taken_for_others_are_wrong(world: World) -> None:
    told = world.seen_if(lambda detail: detail["series"][0].update(conflicts=["1.2.3"]))
    assert told == [f"wrong: study {world.study.uid}: resent bytes taken for others: ['1.2.3']"]


def test_a_result_that_was_given_up_is_no_end_and_is_lost_where_the_pacs_lacks_it(world: World) -> None:
    def give_up(detail: dict[str, Any]) -> None:
        reason = {"code": "store_refused", "text": "no"}
        job_of(detail)["result"]["deliveries"][0].update(state="given_up", reason=reason)

    (stuck,) = world.seen_if(give_up)
    assert stuck.startswith("stuck")
    assert "is given_up, try" in stuck
    seg = pydicom.dcmread(world.received("SEG")).SOPInstanceUID
    world.received("SEG").unlink()
    assert f"lost: object {seg} is not at the PACS as frozen" in world.seen_if(give_up)


def test_a_failure_without_a_reason_is_wrong(world: World) -> None:
    told = world.seen_if(lambda detail: job_of(detail)["result"].update(outcome="failed", reason=None))
    assert any("failed without a reason" in one for one in told)


def test_a_frozen_object_whose_file_is_gone_is_lost(world: World) -> None:
    next(world.house.data.glob("results/*/*.dcm")).unlink()
    (told,) = world.seen()
    assert told.startswith("lost: object")
    assert told.endswith("HTTP 500")


def test_a_delivered_object_that_the_pacs_does_not_have_is_lost(world: World) -> None:
    uid = pydicom.dcmread(world.received("SEG")).SOPInstanceUID
    world.received("SEG").unlink()
    assert world.seen() == [f"lost: object {uid} is not at the PACS as frozen"]


def test_an_object_that_came_to_the_pacs_with_other_bytes_is_lost(world: World) -> None:
    world.change_received("SEG", lambda dataset: setattr(dataset, "SeriesDescription", "other"))
    (told,) = world.seen()
    assert told.endswith("is not at the PACS as frozen")


def test_a_second_content_under_one_uid_at_the_pacs_is_doubled(world: World) -> None:
    seg = world.received("SEG")
    frozen = seg.read_bytes()
    world.change_received("SEG", lambda dataset: setattr(dataset, "SeriesDescription", "other"))
    seg.write_bytes(frozen)
    assert {one.split(" of object")[0] for one in world.seen()} == {"doubled: the PACS has 2 contents"}


def test_a_result_sent_from_a_second_computation_is_doubled(world: World) -> None:
    seg = world.received("SEG").read_bytes()
    world.change_received("SEG", lambda dataset: setattr(dataset, "SOPInstanceUID", generate_uid()))
    world.receive(str(pydicom.dcmread(world.received("SR")).SOPInstanceUID), world.received("SR").read_bytes())
    world.receive(pydicom.dcmread(pydicom.filebase.DicomBytesIO(seg)).SOPInstanceUID, seg)
    (told,) = world.seen()
    assert told.startswith("doubled: object")
    assert told.endswith("belongs to no frozen result")


def test_a_report_that_speaks_of_a_segmentation_of_another_computation_is_doubled(world: World) -> None:
    def point_elsewhere(report: pydicom.Dataset) -> None:
        for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence:
            for sop in series.ReferencedSOPSequence:
                if sop.ReferencedSOPClassUID == SegmentationStorage:
                    sop.ReferencedSOPInstanceUID = "2.25.1"

    world.change_received("SR", point_elsewhere)
    assert any(one.endswith("speaks of a segmentation of another computation") for one in world.seen())


def test_two_jobs_of_one_model_for_one_version_are_doubled(world: World) -> None:
    told = world.seen_if(lambda detail: detail["versions"][0]["jobs"].append(deepcopy(job_of(detail))))
    assert f"doubled: study {world.study.uid}: 2 jobs of ct_lung_lesion" in told


def test_a_dead_letter_is_lost_unless_its_jobs_state_says_what_became_of_it(world: World) -> None:
    job_id = job_of(world.api.get(f"/api/studies/{world.study.uid}").json())["job_id"]
    assert breaches(replace(world.evidence(), dead_letters=[job_id])) == []
    (told,) = breaches(replace(world.evidence(), dead_letters=["0123"]))
    assert told.sin == "lost"
    assert "0123" in told.what


def test_a_message_that_waits_when_nothing_is_left_to_do_is_stuck(world: World) -> None:
    evidence = replace(world.evidence(), waiting={"vigie.jobs": 1, "vigie.dead": 1})
    assert [str(breach) for breach in breaches(evidence)] == [
        "stuck: 1 messages wait in vigie.jobs, and nothing is left to do"
    ]


@pytest.mark.parametrize("told", [PATIENT_NAME, PATIENT_ID])
def test_a_log_that_names_a_patient_is_wrong(world: World, told: str) -> None:
    evidence = replace(world.evidence(), logs={"desk": f'{{"event": "broke", "error": "no such {told}"}}'})
    assert [str(breach) for breach in breaches(evidence)] == ["wrong: the log of desk names a patient"]
