"""With a real PACS on both sides: Orthanc pushes a study, and serves by DICOMweb what Vigie gives back."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from tests.support.bundle import bright_spot_bundle, routing_file
from tests.support.orthanc import Orthanc, orthanc
from tests.support.peers import wait_until
from tests.support.query_retrieve import viewer
from tests.support.standalone import standalone

STUDY = Path(__file__).resolve().parents[2] / "dicom_samples" / "phantom_positive"
RESULT_S = 180.0

# minutes on a machine with much else to do
pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@dataclass(frozen=True, kw_only=True)
class Journey:
    """One study, there and back: what Vigie's API says of it, and the PACS that has it."""

    study_instance_uid: str
    sources: dict[str, pydicom.Dataset]
    detail: dict[str, Any]
    frozen: dict[str, pydicom.Dataset]
    pacs: Orthanc
    push: Callable[[], None]
    ask: Callable[[], dict[str, Any]]

    @property
    def web(self) -> DICOMwebClient:
        return DICOMwebClient(url=self.pacs.dicomweb)


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """Orthanc has a study and pushes it; Vigie analyses it and stores its objects in Orthanc."""
    folder = tmp_path_factory.mktemp("orthanc")
    # bone is bright: some lesions for certain, whatever the shipped model has learnt
    bright_spot_bundle(folder / "models", level_hu=200, min_volume_ml=3.0)
    settings = {"models": folder / "models", "routing": routing_file(folder / "routing.toml")}
    with (
        orthanc(folder / "pacs") as pacs,
        standalone(folder / "data", send_to=[pacs.address], **settings) as vigie,
    ):
        api = f"http://127.0.0.1:{vigie.http_port}/api"
        sources = [pydicom.dcmread(path) for path in sorted(STUDY.glob("*.dcm"))]
        uid = str(sources[0].StudyInstanceUID)
        push = partial(pacs.push, pacs.upload(STUDY.glob("*.dcm")), to_port=vigie.dicom_port)
        push()
        try:
            wait_until(lambda: vigie.events("delivered"), timeout_s=RESULT_S, what="delivery of a result")
        except TimeoutError as error:
            raise AssertionError(f"no result, and Vigie says\n{vigie.log.read_text()[-4000:]}") from error
        ask = partial(detail_of, f"{api}/studies/{uid}")
        detail = ask()
        yield Journey(
            study_instance_uid=uid,
            sources={str(source.SOPInstanceUID): source for source in sources},
            detail=detail,
            frozen={item["modality"]: frozen_object(api, item) for item in objects_of(detail)},
            pacs=pacs,
            push=push,
            ask=ask,
        )


def detail_of(url: str) -> dict[str, Any]:
    return dict(httpx.get(url, timeout=30).raise_for_status().json())


def objects_of(detail: dict[str, Any]) -> list[dict[str, Any]]:
    return list(detail["versions"][0]["jobs"][0]["result"]["objects"])


def frozen_object(api: str, item: dict[str, Any]) -> pydicom.Dataset:
    answer = httpx.get(f"{api}/results/{item['sop_instance_uid']}", timeout=30)
    return pydicom.dcmread(io.BytesIO(answer.raise_for_status().content))


def test_every_instance_that_the_pacs_pushed_was_kept(journey: Journey):
    assert journey.detail["summary"]["instance_count"] == len(journey.sources)
    (series,) = [each for each in journey.detail["series"] if each["modality"] == "CT"]
    assert (series["instance_count"], series["conflicts"]) == (len(journey.sources), [])


def test_the_result_was_delivered_at_the_first_try(journey: Journey):
    (delivery,) = journey.detail["versions"][0]["jobs"][0]["result"]["deliveries"]
    assert (delivery["state"], delivery["reason"]) == ("sent", None)


def test_the_pacs_shows_seg_and_sr_in_the_study(journey: Journey):
    found = journey.web.search_for_instances(
        study_instance_uid=journey.study_instance_uid, fields=["SOPClassUID", "Modality"]
    )
    shown = {instance["00080018"]["Value"][0]: instance["00080060"]["Value"][0] for instance in found}

    results = {item["sop_instance_uid"]: item["modality"] for item in objects_of(journey.detail)}
    assert sorted(results.values()) == ["SEG", "SR"]
    assert shown == results | dict.fromkeys(journey.sources, "CT")


@pytest.mark.parametrize("modality", ["SEG", "SR"])
def test_the_pacs_serves_each_object_as_it_was_frozen(journey: Journey, modality: str):
    frozen = journey.frozen[modality]

    served = journey.web.retrieve_instance(
        journey.study_instance_uid, str(frozen.SeriesInstanceUID), str(frozen.SOPInstanceUID)
    )

    assert served == frozen


@pytest.mark.parametrize(("modality", "number"), [("SEG", 91000), ("SR", 92000)])
def test_a_viewer_finds_each_object_by_c_find_and_gets_it_by_c_move_as_it_was_frozen(
    journey: Journey, tmp_path: Path, modality: str, number: int
):
    frozen = journey.frozen[modality]
    with viewer(journey.pacs, tmp_path / "viewer") as asking:
        (series,) = asking.find_series(journey.study_instance_uid, modality)
        (path,) = asking.move_series(journey.study_instance_uid, str(series.SeriesInstanceUID))

    assert series.SeriesInstanceUID == frozen.SeriesInstanceUID
    assert (series.SeriesNumber, series.SeriesDescription) == (number, frozen.SeriesDescription)
    assert pydicom.dcmread(path) == frozen


def test_the_segments_served_lie_on_the_planes_of_their_source_images(journey: Journey):
    frozen = journey.frozen["SEG"]
    seg = journey.web.retrieve_instance(
        journey.study_instance_uid, str(frozen.SeriesInstanceUID), str(frozen.SOPInstanceUID)
    )

    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    assert frames.any(axis=(1, 2)).all()
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = journey.sources[str(groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)]
        hu = source.pixel_array.astype(int) + int(source.RescaleIntercept)
        np.testing.assert_allclose(
            np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float),
            np.array(source.ImagePositionPatient, float),
            atol=1e-3,
        )
        # the bundle marks what is brighter than 200 HU: a frame on another plane would miss it
        assert (hu[frame > 0] >= 200).all()


def test_the_report_served_names_every_segment(journey: Journey):
    seg, frozen = journey.frozen["SEG"], journey.frozen["SR"]
    report = journey.web.retrieve_instance(
        journey.study_instance_uid, str(frozen.SeriesInstanceUID), str(frozen.SOPInstanceUID)
    )

    tracked = tracking_uids(report)
    assert tracked == {str(segment.TrackingUID) for segment in seg.SegmentSequence}


def tracking_uids(item: pydicom.Dataset) -> set[str]:
    """Values of (112040, DCM, "Tracking Unique Identifier") anywhere in an SR tree."""
    own = {str(item.UID)} if "UID" in item and item.ConceptNameCodeSequence[0].CodeValue == "112040" else set()
    return own.union(*(tracking_uids(child) for child in item.get("ContentSequence", ())))


def test_a_pacs_that_sends_the_study_again_with_our_own_objects_opens_no_version(journey: Journey):
    journey.push()
    wait_until(lambda: len(journey.ask()["series"]) == 3, what="SEG and SR recorded with the study")

    again = journey.ask()
    assert {series["modality"] for series in again["series"]} == {"CT", "SEG", "SR"}
    assert [(version["number"], version["state"]) for version in again["versions"]] == [(1, "complete")]
    assert [series["conflicts"] for series in again["series"]] == [[], [], []]
