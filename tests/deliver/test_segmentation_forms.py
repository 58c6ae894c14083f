"""Lesions segmented in the form that each destination takes, with the report that fits: over real receivers."""

from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom import Dataset

from services.backends.part10 import digest
from services.triage.result import LABEL_MAP_STORAGE, DeliveryState
from tests.support.delivering import delivering, states
from tests.support.house import House, chest_with_ball
from tests.support.orthanc import Orthanc, orthanc
from tests.support.peers import wait_until

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
DESTINATIONS = """
[pacs]
address = "{folder}/pacs"
[research]
address = "{research}"
objects = ["LABELMAP", "SR"]
[viewer]
address = "{folder}/viewer"
objects = ["SR", "GSPS"]
"""


def delivered(tmp_path: Path, research: str) -> tuple[House, str]:
    """A study whose result has gone to three destinations, of which `research` takes label maps."""
    path = tmp_path / "destinations.toml"
    path.write_text(DESTINATIONS.format(folder=tmp_path, research=research))
    house = House(data=tmp_path / "data", destinations=path)
    uid = house.freeze(chest_with_ball())
    with delivering(house):
        wait_until(lambda: DeliveryState.PENDING not in states(house, uid).values())
    return house, uid


def in_folder(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*.dcm")]


def in_orthanc(pacs: Orthanc) -> list[bytes]:
    names = httpx.get(f"{pacs.rest}/instances", timeout=30).json()
    return [httpx.get(f"{pacs.rest}/instances/{name}/file", timeout=30).content for name in names]


def require_whole(contents: list[bytes], *classes: str) -> None:
    """A report and these classes are there, and the report names the Segmentation if it is BINARY, else none."""
    objects = [pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)) for content in contents]
    (report,) = [each for each in objects if each.Modality == "SR"]
    assert sorted(each.SOPClassUID for each in objects if each is not report) == sorted(classes)
    there = {each.SOPInstanceUID for each in objects if each.Modality == "SEG"}
    assert _named(report) == (there if SEG in classes else set())


def _named(data_set: Dataset) -> set[str]:
    found = (
        {data_set.ReferencedSOPInstanceUID}
        if data_set.get("ReferencedSOPClassUID") in (SEG, LABEL_MAP_STORAGE)
        else set()
    )
    items = (item for element in data_set if element.VR == "SQ" for item in element.value)
    return found.union(*map(_named, items))


@pytest.mark.system
@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS"])
def test_each_destination_gets_its_form_of_segmentation_and_a_report_that_names_nothing_else(tmp_path, way):
    with orthanc(tmp_path / "orthanc", unknown_sop_classes=way == "C-STORE") as pacs:
        house, uid = delivered(tmp_path, pacs.address if way == "C-STORE" else pacs.dicomweb)
        research = in_orthanc(pacs)
    assert set(states(house, uid).values()) == {DeliveryState.SENT}
    require_whole(in_folder(tmp_path / "pacs"), SEG)
    require_whole(research, LABEL_MAP_STORAGE)
    require_whole(in_folder(tmp_path / "viewer"), "1.2.840.10008.5.1.4.1.1.11.1")
    frozen = {digest(house.files.result_path(each.sha256).read_bytes()) for each in house.result(uid).objects}
    everywhere = [*research, *in_folder(tmp_path / "pacs"), *in_folder(tmp_path / "viewer")]
    assert {digest(content) for content in everywhere} == frozen
    assert (len(everywhere), len(frozen)) == (6, 5)


@pytest.mark.system
def test_a_pacs_that_does_not_know_label_maps_is_named_with_what_it_refuses(tmp_path):
    with orthanc(tmp_path / "orthanc") as pacs:
        house, uid = delivered(tmp_path, pacs.address)
    assert states(house, uid) == {"pacs": "sent", "research": "given_up", "viewer": "sent"}
    (refused,) = [each.reason for each in house.result(uid).deliveries if each.destination == "research"]
    assert refused.code == "context_rejected"
    assert f"does not accept Label Map Segmentation Storage ({LABEL_MAP_STORAGE})" in refused.text
