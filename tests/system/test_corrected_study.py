"""A study of the wrong patient, corrected and then recalled: what a real PACS has of it in the end."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient

from tests.support.house import chest_with_ball
from tests.support.orthanc import orthanc
from tests.support.peers import listens, wait_until
from tests.support.standalone import standalone

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def test_the_pacs_gets_the_result_under_the_right_patient_and_then_its_rejection(tmp_path: Path) -> None:
    series = chest_with_ball(PatientID="WRONG", AccessionNumber="A1")
    uid = series[0].StudyInstanceUID
    with (
        orthanc(tmp_path / "pacs") as pacs,
        standalone(tmp_path / "data", send_to=[pacs.address], fake_segmenter_s=0, recall_notes=True) as vigie,
    ):
        wait_until(lambda: listens(vigie.http_port), what="the desk listening")
        door = DICOMwebClient(url=f"http://127.0.0.1:{vigie.http_port}/dicomweb")
        api = f"http://127.0.0.1:{vigie.http_port}/api"

        def at_the_pacs() -> dict[str, list[str]]:
            """Modalities by PatientID."""
            found: dict[str, list[str]] = {}
            for name in httpx.get(f"{pacs.rest}/instances", timeout=30).json():
                tags = httpx.get(f"{pacs.rest}/instances/{name}/simplified-tags", timeout=30).json()
                found.setdefault(tags["PatientID"], []).append(tags["Modality"])
            return {patient: sorted(modalities) for patient, modalities in found.items()}

        def newest() -> dict[str, Any]:
            return dict(httpx.get(f"{api}/studies/{uid}", timeout=30).json()["versions"][0]["jobs"][0])

        door.store_instances(series)
        wait_until(lambda: len(vigie.events("delivered")) == 1, what="the first result at the PACS")
        assert at_the_pacs() == {"WRONG": ["SEG", "SR"]}

        for image in series:
            image.PatientID = "RIGHT"
        door.store_instances(series)
        wait_until(lambda: len(vigie.events("delivered")) == 2, what="the corrected result at the PACS")
        assert at_the_pacs() == {"WRONG": ["SEG", "SR"], "RIGHT": ["SEG", "SR"]}
        assert newest()["kind"] == "reconcile"
        assert len([stage for stage in vigie.events("stage") if stage["stage"] == "segment"]) == 1

        recalled = httpx.post(
            f"{api}/results/{newest()['result']['result_id']}/recall", json={"reason": "wrong"}, timeout=30
        )
        assert recalled.is_success
        wait_until(lambda: len(vigie.events("delivered")) == 3, what="the rejection note at the PACS")
        assert at_the_pacs() == {"WRONG": ["SEG", "SR"], "RIGHT": ["KO", "SEG", "SR"]}
