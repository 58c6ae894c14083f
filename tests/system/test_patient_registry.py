"""A hospital's information system corrects and merges patients over MLLP: what a real PACS gets of it."""

from pathlib import Path

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient

from tests.support.hl7 import adt_message, code, fields, mllp_send
from tests.support.house import chest_with_ball
from tests.support.orthanc import orthanc
from tests.support.peers import free_port, listens, wait_until
from tests.support.standalone import standalone

TOLD = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "Modality")

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def test_results_reach_the_pacs_under_the_patient_data_that_hold_and_no_model_looks_again(tmp_path: Path) -> None:
    series = chest_with_ball(PatientID="A", PatientName="Old^Name", IssuerOfPatientID="NORTH")
    uid, port = series[0].StudyInstanceUID, free_port()
    with (
        orthanc(tmp_path / "pacs") as pacs,
        standalone(tmp_path / "data", send_to=[pacs.address], fake_segmenter_s=0, hl7=f"127.0.0.1:{port}") as vigie,
    ):
        wait_until(lambda: listens(vigie.http_port) and listens(port), what="desk and HL7 listener listening")
        root = f"http://127.0.0.1:{vigie.http_port}"
        door = DICOMwebClient(url=f"{root}/dicomweb")

        def say(*segments: str, control_id: str, event: str = "A08") -> str:
            message = adt_message(*segments, control_id=control_id, event=event)
            return code(mllp_send(port, message, tmp_path))

        def at_the_pacs() -> set[tuple[str, ...]]:
            """What is told of all that is there."""
            found = set()
            for name in httpx.get(f"{pacs.rest}/instances", timeout=30).json():
                tags = httpx.get(f"{pacs.rest}/instances/{name}/simplified-tags", timeout=30).json()
                found.add(tuple(tags.get(keyword, "") for keyword in TOLD))
            return found

        def delivered(count: int) -> None:
            wait_until(lambda: len(vigie.events("delivered")) == count, what=f"{count} results at the PACS")

        door.store_instances(series)
        delivered(1)

        assert say("PID|1||A^^^NORTH||Müller^Änne^^^Dr||19610203|F", control_id="1") == "AA"
        delivered(2)
        assert {("A", "NORTH", "Müller^Änne^^Dr", "19610203", "F", one) for one in ("SEG", "SR")} <= at_the_pacs()

        assert say("PID|1||B^^^NORTH||Müller^Anna", "MRG|A^^^NORTH", control_id="2", event="A40") == "AA"
        delivered(3)
        assert {("B", "NORTH", "Müller^Anna", "19610203", "F", one) for one in ("SEG", "SR")} <= at_the_pacs()

        # what comes now under the retired ID is the survivor's too
        second = chest_with_ball(PatientID="A", PatientName="Old^Name", IssuerOfPatientID="NORTH")
        door.store_instances(second)
        delivered(4)
        assert {one[:3] for one in at_the_pacs()} == {
            ("A", "NORTH", "Old^Name"),
            ("A", "NORTH", "Müller^Änne^^Dr"),
            ("B", "NORTH", "Müller^Anna"),
        }
        assert len([one for one in vigie.events("stage") if one["stage"] == "segment"]) == 2

        desk = DICOMwebClient(url=f"{root}/dicom-web")
        found = desk.search_for_studies(search_filters={"PatientID": "B"})
        assert {one["0020000D"]["Value"][0] for one in found} == {uid, second[0].StudyInstanceUID}
        assert desk.search_for_studies(search_filters={"PatientID": "A"}) == []
        (received,) = {one.PatientID for one in desk.retrieve_series(uid, series[0].SeriesInstanceUID)}
        assert received == "A"  # source files are as they came

        history = httpx.get(f"{root}/api/studies/{uid}", timeout=30).json()["events"]
        told = [one for one in history if one["what"] == "patient_data"]
        assert [one["cause"] for one in told] == ["ADT^A08, message 1", "ADT^A40, message 2"]
        assert {one["actor"] for one in told} == {"HOSP/HIS"}
        page = httpx.get(f"{root}/studies/{uid}", timeout=30).text
        assert "ADT^A40, message 2" in page
        metrics = httpx.get(f"{root}/metrics", timeout=30).text
        assert 'vigie_adt_messages_total{event="A40",outcome="applied"} 1.0' in metrics
        assert not [word for word in ("Müller", "Anna", "19610203") if word in vigie.log.read_text()]
        assert vigie.stop() == 0


def test_two_ids_in_one_study_are_analysed_once_they_are_merged(tmp_path: Path) -> None:
    series = chest_with_ball(PatientID="A")
    for image in series[:7]:
        image.PatientID = "B"
    uid, port = series[0].StudyInstanceUID, free_port()
    with standalone(
        tmp_path / "data", send_to=[str(tmp_path / "out")], fake_segmenter_s=0, hl7=f"127.0.0.1:{port}"
    ) as vigie:
        wait_until(lambda: listens(vigie.http_port) and listens(port), what="desk and HL7 listener listening")
        api = f"http://127.0.0.1:{vigie.http_port}/api/studies/{uid}"
        DICOMwebClient(url=f"http://127.0.0.1:{vigie.http_port}/dicomweb").store_instances(series)
        wait_until(lambda: len(vigie.events("frozen")) == 1, what="the refusal")
        assert httpx.get(api, timeout=30).json()["summary"]["reason"]["code"] == "two_patients"

        message = adt_message("PID|1||B||Roe^Jane||19600102|F", "MRG|A", event="A40")
        assert fields(mllp_send(port, message, tmp_path), "MSA")[1] == "AA"
        wait_until(lambda: len(vigie.events("delivered")) == 1, what="the result")
        answer = httpx.get(api, timeout=30).json()
        assert answer["summary"]["outcome"] == "found"
        assert [one["patient_id"] for one in answer["patients"]] == ["B"]
