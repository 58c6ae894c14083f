"""WADO-RS (PS3.18 10.4) of a real desk: instances as they were received or decoded, and their metadata."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from services.triage.result import ResultObject
from services.triage.study import Instance
from tests.support.ct import ct_series, set_pixels
from tests.support.shelf import RunningDesk, Shelf, ct_with, of_pydicom, part10_bytes

AS_STORED = (("application/dicom", "*"),)
STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
SERIES = ct_with(PatientName="Müller^Jörg")
FILES = {
    name: of_pydicom(f"{name}.dcm")
    for name in (
        "MR_small_implicit",
        "MR_small_expb",
        "liver_expb_1frame",
        "image_dfl",
        "MR_small_RLE",
        "JPEG2000",
        "SC_rgb_jpeg_dcmtk",
        "SC_rgb_rle_2frame",
        "SC_rgb_small_odd_big_endian",
        "waveform_ecg",
    )
}
# pydicom's MR files are one instance in many syntaxes: each needs a UID of its own
for _name in ("MR_small_RLE", "MR_small_expb"):
    FILES[_name] = of_pydicom(f"{_name}.dcm", SOPInstanceUID=generate_uid())
# 12 bits in lossy JPEG: no decoder at hand reads them
FILES["JPEG-lossy"] = of_pydicom("JPEG-lossy.dcm", StudyInstanceUID=generate_uid(), SOPInstanceUID=generate_uid())


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("retrieve"))


@pytest.fixture(scope="module")
def results(shelf: Shelf) -> tuple[ResultObject, ...]:
    return shelf.analysed(SERIES)


@pytest.fixture(scope="module")
def kept(shelf: Shelf) -> dict[str, Instance]:
    return dict(zip(FILES, shelf.keep(*FILES.values()), strict=True))


@pytest.fixture(scope="module")
def desk(shelf: Shelf, results: object, kept: object) -> Iterator[RunningDesk]:
    with shelf.served() as running:
        yield running


@pytest.fixture(scope="module")
def client(desk: RunningDesk) -> DICOMwebClient:
    return DICOMwebClient(desk.dicomweb)


def uids(one: Instance) -> tuple[str, str, str]:
    return one.header.study_instance_uid, one.header.series_instance_uid, one.header.sop_instance_uid


def path(one: Instance) -> str:
    return "/studies/{}/series/{}/instances/{}".format(*uids(one))


def get(desk: RunningDesk, where: str, accept: str = "*/*") -> httpx.Response:
    return httpx.get(desk.dicomweb + where, headers={"Accept": accept}, timeout=60)


def test_a_study_is_retrieved_with_sources_and_results_byte_for_byte(
    desk: RunningDesk, results: tuple[ResultObject, ...]
) -> None:
    answer = get(desk, f"/studies/{SERIES[0].StudyInstanceUID}", STORED)
    boundary = answer.headers["content-type"].rpartition("boundary=")[2].encode()
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    head = b"Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n"
    parts = answer.content.split(b"--" + boundary)
    assert (parts[0], parts[-1]) == (b"", b"--\r\n")
    contents = [part.removeprefix(b"\r\n" + head).removesuffix(b"\r\n") for part in parts[1:-1]]
    assert contents == [*map(part10_bytes, SERIES), *(one.content for one in sorted(results, key=lambda r: r.modality))]


def test_the_client_iterates_over_study_series_and_instance(
    client: DICOMwebClient, results: tuple[ResultObject, ...]
) -> None:
    study = SERIES[0].StudyInstanceUID
    assert len(client.retrieve_study(study)) == 11
    assert len(list(client.iter_study(study))) == 11
    series = list(client.iter_series(study, SERIES[0].SeriesInstanceUID))
    assert [one.SOPInstanceUID for one in series] == [one.SOPInstanceUID for one in SERIES]
    for one in results:
        instance = client.retrieve_instance(study, one.series_instance_uid, one.sop_instance_uid)
        assert part10_bytes(instance) == one.content
        assert len(client.retrieve_series(study, one.series_instance_uid)) == 1


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_instance_comes_as_it_was_received_when_any_syntax_will_do(
    desk: RunningDesk, kept: dict[str, Instance], name: str
) -> None:
    answer = get(desk, path(kept[name]), "application/dicom; transfer-syntax=*")
    assert answer.content == FILES[name]
    assert answer.headers["content-type"].endswith(f"transfer-syntax={kept[name].header.transfer_syntax_uid}")


@pytest.mark.parametrize("name", sorted(set(FILES) - {"JPEG-lossy"}))
def test_by_default_an_instance_is_explicit_little_endian_with_its_own_uid_and_pixels(
    client: DICOMwebClient, kept: dict[str, Instance], name: str
) -> None:
    one = client.retrieve_instance(*uids(kept[name]), media_types=("application/dicom",))
    source = dcmread(BytesIO(FILES[name]))
    assert one.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID == kept[name].header.sop_instance_uid
    if "PixelData" in source:
        assert np.array_equal(one.pixel_array, source.pixel_array)
    changed = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration"}
    assert {e.keyword: e.value for e in one if e.keyword not in changed and e.VR not in ("SQ", "OW")} == {
        e.keyword: e.value for e in source if e.keyword not in changed and e.VR not in ("SQ", "OW") and e.tag.element
    }
    if "LossyImageCompression" in source:
        assert one.LossyImageCompression == source.LossyImageCompression


def test_what_no_decoder_reads_is_406_but_can_be_had_as_it_is(desk: RunningDesk, kept: dict[str, Instance]) -> None:
    answer = get(desk, path(kept["JPEG-lossy"]))
    assert (answer.status_code, answer.json()["code"]) == (406, "undecodable")
    assert "transfer-syntax=*" in answer.json()["way_out"]


def test_each_instance_of_a_study_comes_in_the_best_syntax_it_has(shelf: Shelf, desk: RunningDesk) -> None:
    study, jpeg_2000, rle = generate_uid(), "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
    for name in ("MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"):
        shelf.keep(of_pydicom(name, StudyInstanceUID=study, SOPInstanceUID=generate_uid()))
    wanted = f"{STORED[:-1]}{jpeg_2000}, {STORED[:-1]}{ExplicitVRLittleEndian}"
    content = get(desk, f"/studies/{study}", wanted).content
    given = [one for one in (jpeg_2000, rle, ExplicitVRLittleEndian) if f"syntax={one}\r".encode() in content]
    assert given == [jpeg_2000, ExplicitVRLittleEndian]
    for accept in ("application/dicom", f"{STORED[:-1]}{jpeg_2000}", "application/dicom+xml", "text/html"):
        refused = get(desk, f"/studies/{study}", accept)
        assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")
        assert "transfer-syntax=1.2.840.10008.1.2" in refused.json()["way_out"]


def test_what_breaks_halfway_cannot_be_taken_for_a_whole_study(shelf: Shelf, desk: RunningDesk) -> None:
    # the good one is already on its way when the bad one is read, or both are in the first piece
    for rows, breaks in ((512, True), (32, False)):
        (good,) = ct_series(slices=1, rows=rows, columns=512, series_number=1)
        shelf.keep(part10_bytes(good))
        shelf.keep(of_pydicom("JPEG-lossy.dcm", StudyInstanceUID=good.StudyInstanceUID, SOPInstanceUID=generate_uid()))
        if breaks:
            with pytest.raises(httpx.RemoteProtocolError):
                get(desk, f"/studies/{good.StudyInstanceUID}")
        else:
            assert get(desk, f"/studies/{good.StudyInstanceUID}").status_code == 406
        assert get(desk, f"/studies/{good.StudyInstanceUID}", STORED).status_code == 200


def test_what_is_unknown_is_404_and_what_is_no_uid_400(desk: RunningDesk) -> None:
    study = SERIES[0].StudyInstanceUID
    for where in ("/studies/1.2.3", f"/studies/{study}/series/1.2.3", f"/studies/{study}/series/1.2.3/metadata"):
        answer = get(desk, where)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_resource")
    answer = get(desk, "/studies/1.2.3-x/metadata")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_uid")


def test_metadata_hold_every_attribute_and_bulk_data_by_uri(client: DICOMwebClient, desk: RunningDesk) -> None:
    first = SERIES[0]
    study, series = first.StudyInstanceUID, first.SeriesInstanceUID
    assert len(client.retrieve_study_metadata(study)) == 11
    metadata = client.retrieve_series_metadata(study, series)
    alone = client.retrieve_instance_metadata(study, series, first.SOPInstanceUID)
    assert alone == metadata[0]
    where = f"{desk.dicomweb}/studies/{study}/series/{series}/instances/{first.SOPInstanceUID}/bulkdata/7FE00010"
    assert alone.pop("7FE00010") == {"vr": "OW", "BulkDataURI": where}
    assert alone.pop("00083002") == {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
    expected = Dataset({element.tag: element for element in first if element.keyword != "PixelData"})
    assert Dataset.from_json(alone) == expected


def test_metadata_are_utf_8_whatever_was_received(shelf: Shelf, desk: RunningDesk) -> None:
    (one,) = ct_series(slices=1, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    private = one.private_block(0x0011, "VIGIE TEST", create=True)
    private.add_new(0x01, "LO", "Größe")
    private.add_new(0x02, "OB", b"\x01" * 2000)
    one.add_new(0x00189087, "FD", float("nan"))
    content = part10_bytes(one).replace(b"-100.0", b"-1x0.0")  # a decimal string that is none
    (kept,) = shelf.keep(content)
    answer = get(desk, f"{path(kept)}/metadata")
    (found,) = json.loads(answer.content.decode("utf-8"))
    assert found["00080005"]["Value"] == ["ISO_IR 192"]
    assert found["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert found["00111001"]["Value"] == ["Größe"]
    assert found["00189087"]["Value"] == ["NaN"]
    assert found["00200032"] == {"vr": "DS"}
    assert httpx.get(found["00111002"]["BulkDataURI"], headers={"Accept": "application/octet-stream"}).content == (
        b"\x01" * 2000
    )


def test_of_one_uid_received_with_two_contents_the_newest_is_given(shelf: Shelf, client: DICOMwebClient) -> None:
    (one,) = ct_series(slices=1)
    shelf.keep(part10_bytes(one))
    one.SeriesDescription = "corrected"
    (kept,) = shelf.keep(part10_bytes(one))
    assert client.retrieve_instance(*uids(kept)).SeriesDescription == "corrected"
    assert len(client.retrieve_study(uids(kept)[0])) == 1


def test_a_file_without_preamble_and_meta_information_gets_them(shelf: Shelf, desk: RunningDesk) -> None:
    (one,) = ct_series(slices=1)
    whole = part10_bytes(one)
    bare = whole[whole.index(b"\x08\x00\x05\x00CS") :]
    (kept,) = shelf.keep(bare)
    answer = get(desk, path(kept), "application/dicom; transfer-syntax=*")
    assert answer.content.endswith(bare)
    assert dcmread(BytesIO(answer.content)) == one


def test_results_of_a_superseded_version_are_still_given(shelf: Shelf, client: DICOMwebClient) -> None:
    series = ct_with()
    first = shelf.analysed(series[:8])
    second = shelf.analysed(series)
    study = series[0].StudyInstanceUID
    assert len(client.retrieve_study(study, media_types=AS_STORED)) == 9 + 4
    for one in first + second:
        instance = client.retrieve_instance(study, one.series_instance_uid, one.sop_instance_uid)
        assert part10_bytes(instance) == one.content


@pytest.mark.parametrize(
    ("syntax", "slices", "bound_mb"),
    [
        (ExplicitVRLittleEndian, 24, 10),  # as it lies on disk
        (ImplicitVRLittleEndian, 12, 60),  # rewritten on the way, a slice of 8 MB at a time
        pytest.param(ExplicitVRLittleEndian, 125, 10, marks=pytest.mark.slow, id="1 GB"),
    ],
)
def test_a_large_study_is_sent_in_bounded_memory(tmp_path: Path, syntax: str, slices: int, bound_mb: float) -> None:
    shelf = Shelf(tmp_path)
    series = ct_series(slices=slices, rows=1, columns=1)
    for one in series:
        set_pixels(one, np.zeros((2048, 2048), np.uint16))
        one.file_meta.TransferSyntaxUID = syntax
        shelf.keep(part10_bytes(one))
        del one.PixelData  # of a large study this process must not hold all either
    with shelf.served() as desk:
        study = f"{desk.dicomweb}/studies/{series[0].StudyInstanceUID}"
        httpx.get(f"{study}/series")  # all of the program is loaded now
        before, size = desk.peak_memory_mb(), 0
        with httpx.stream("GET", study, timeout=60) as answer:
            for chunk in answer.iter_raw():
                size += len(chunk)
        growth = desk.peak_memory_mb() - before
    assert size > slices * 8_388_608
    assert growth < bound_mb
