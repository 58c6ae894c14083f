"""Frames, pictures and bulk data by WADO-RS (PS3.18 10.4), of a real desk."""

from collections.abc import Iterator
from io import BytesIO

import httpx
import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pack_bits
from pydicom.uid import generate_uid

from services.triage.result import ResultObject
from services.triage.study import Instance
from tests.support.ct import ct_series, enhanced, set_pixels
from tests.support.shelf import RunningDesk, Shelf, ct_with, of_pydicom, part10_bytes

OCTETS = "multipart/related; type=application/octet-stream"
SERIES = ct_with()
ENHANCED = enhanced(ct_series(slices=5, rows=6, columns=7))
ENHANCED.PixelData += b"\x00" * 200_000  # longer than the frames: only as much as they need is read
RAMP = ct_series(slices=1, rows=1, columns=256, intercept=-1024, WindowCenter=[0, 40], WindowWidth=[512, 400])[0]
set_pixels(RAMP, (1024 - 256 + 2 * np.arange(256, dtype=np.uint16)).reshape(1, 256))
FILES = {
    name: of_pydicom(f"{name}.dcm")
    for name in (
        "JPEG2000",
        "MR_small_RLE",
        "SC_rgb_jpeg_dcmtk",
        "SC_rgb_rle_2frame",
        "SC_ybr_full_422_uncompressed",
        "examples_ybr_color",
        "examples_palette",
        "liver_1frame",
        "liver_expb_1frame",
        "image_dfl",
        "waveform_ecg",
    )
}
# pydicom's MR files are one instance in many syntaxes: each needs a UID of its own
FILES["MR_small_jpeg_ls"] = of_pydicom("MR_small_jpeg_ls_lossless.dcm", SOPInstanceUID=generate_uid())
FILES["enhanced"] = part10_bytes(ENHANCED)
FILES["ramp"] = part10_bytes(RAMP)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("pixels"))


@pytest.fixture(scope="module")
def seg(shelf: Shelf) -> ResultObject:
    return next(one for one in shelf.analysed(SERIES) if one.modality == "SEG")


@pytest.fixture(scope="module")
def kept(shelf: Shelf) -> dict[str, Instance]:
    return {name: shelf.keep(content)[0] for name, content in FILES.items()}


@pytest.fixture(scope="module")
def desk(shelf: Shelf, kept: object, seg: object) -> Iterator[RunningDesk]:
    with shelf.served() as running:
        yield running


@pytest.fixture(scope="module")
def client(desk: RunningDesk) -> DICOMwebClient:
    return DICOMwebClient(desk.dicomweb)


def uids(one: Instance) -> tuple[str, str, str]:
    return one.header.study_instance_uid, one.header.series_instance_uid, one.header.sop_instance_uid


def get(desk: RunningDesk, one: Instance, where: str, accept: str = "*/*") -> httpx.Response:
    path = "/studies/{}/series/{}/instances/{}".format(*uids(one))
    return httpx.get(desk.dicomweb + path + where, headers={"Accept": accept}, timeout=60)


def source(name: str) -> Dataset:
    return dcmread(BytesIO(FILES[name]))


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)))


@pytest.mark.parametrize("name", sorted(set(FILES) - {"waveform_ecg", "SC_ybr_full_422_uncompressed"}))
def test_frames_are_decoded_by_default(client: DICOMwebClient, kept: dict[str, Instance], name: str) -> None:
    expected = source(name)
    if name == "enhanced":
        expected.PixelData = expected.PixelData[:-200_000]
    pixels = expected.pixel_array if expected.get("NumberOfFrames", 1) > 1 else expected.pixel_array[np.newaxis]
    numbers = [len(pixels), 1]
    for media_types in (None, ("application/octet-stream",)):
        frames = client.retrieve_instance_frames(*uids(kept[name]), frame_numbers=numbers, media_types=media_types)
        if expected.BitsAllocated == 1:
            assert frames == [bytes(pack_bits(pixels[number - 1], pad=False)) for number in numbers]
        else:
            planes = [pixels[number - 1] for number in numbers]
            planar = expected.get("PlanarConfiguration") == 1
            assert frames == [(one.transpose(2, 0, 1) if planar else one).tobytes() for one in planes]


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("JPEG2000", "image/jp2"),
        ("MR_small_jpeg_ls", "image/jls"),
        ("MR_small_RLE", "image/dicom-rle"),
        ("SC_rgb_jpeg_dcmtk", "image/jpeg"),
        ("examples_ybr_color", "image/jpeg"),
    ],
)
def test_compressed_frames_come_as_they_are_stored_when_their_type_is_accepted(
    desk: RunningDesk, client: DICOMwebClient, kept: dict[str, Instance], name: str, media_type: str
) -> None:
    expected = source(name)
    count = int(expected.get("NumberOfFrames", 1))
    stored = list(generate_frames(expected.PixelData, number_of_frames=count))
    syntax = kept[name].header.transfer_syntax_uid
    asked = ((media_type, syntax),)
    assert client.retrieve_instance_frames(*uids(kept[name]), frame_numbers=[count], media_types=asked) == [stored[-1]]
    ohif = get(desk, kept[name], "/frames/1", f"{OCTETS}; transfer-syntax=*")
    assert f"Content-Type: application/octet-stream; transfer-syntax={syntax}\r\n".encode() in ohif.content
    assert stored[0] in ohif.content
    bare = get(desk, kept[name], "/frames/1", f"{media_type}; transfer-syntax=*")
    assert (bare.content, bare.headers["content-type"]) == (stored[0], f"{media_type}; transfer-syntax={syntax}")


def test_frames_of_a_seg_and_of_a_whole_cine_are_streamed(
    client: DICOMwebClient, kept: dict[str, Instance], seg: ResultObject
) -> None:
    dataset = dcmread(BytesIO(seg.content))
    assert dataset.BitsAllocated == 1
    where = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    numbers = list(range(1, dataset.NumberOfFrames + 1))
    frames = client.retrieve_instance_frames(*where, frame_numbers=numbers)
    assert b"".join(frames) == dataset.PixelData[: sum(map(len, frames))]
    cine = client.iter_instance_frames(*uids(kept["examples_ybr_color"]), frame_numbers=list(range(1, 31)))
    assert sum(len(frame) for frame in cine) == source("examples_ybr_color").pixel_array.nbytes


@pytest.mark.parametrize(
    ("where", "status", "code"),
    [
        ("/frames/0", 400, "invalid_frames"),
        ("/frames/1,", 400, "invalid_frames"),
        ("/frames/x", 400, "invalid_frames"),
        ("/frames/1,6", 404, "unknown_frame"),
        ("/frames/6/rendered", 404, "unknown_frame"),
        ("/frames/1,2/rendered", 400, "several_frames"),
        ("/bulkdata/7FE00011", 404, "unknown_bulk_data"),
        ("/bulkdata/00100010", 404, "unknown_bulk_data"),
        ("/bulkdata/52009230/9/00209113", 404, "unknown_bulk_data"),
        ("/bulkdata/..%2F..%2F..", 404, "unknown_bulk_data"),
        ("/rendered?window=40", 400, "invalid_window"),
        ("/rendered?window=40,0.5,linear", 400, "invalid_window"),
        ("/rendered?window=40,400,cubic", 400, "invalid_window"),
        ("/rendered?viewport=0,10", 400, "invalid_viewport"),
        ("/rendered?viewport=9999,10", 400, "invalid_viewport"),
        ("/rendered?viewport=10,10,99,99,5,5", 400, "invalid_viewport"),
        ("/rendered?quality=0", 400, "invalid_quality"),
    ],
)
def test_what_is_not_there_or_not_understood_is_said(
    desk: RunningDesk, kept: dict[str, Instance], where: str, status: int, code: str
) -> None:
    answer = get(desk, kept["enhanced"], where)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("where", ["/frames/1", "/rendered", "/frames/1/rendered"])
def test_what_has_no_pixels_has_no_frames_and_no_picture(
    desk: RunningDesk, kept: dict[str, Instance], where: str
) -> None:
    answer = get(desk, kept["waveform_ecg"], where)
    assert (answer.status_code, answer.json()["code"]) == (404, "no_pixel_data")


def test_a_picture_has_the_first_window_of_its_header_or_the_one_asked_for(
    client: DICOMwebClient, kept: dict[str, Instance]
) -> None:
    hounsfield = -256 + 2.0 * np.arange(256)

    def shown(**params: str) -> np.ndarray:
        content = client.retrieve_instance_rendered(*uids(kept["ramp"]), media_types=("image/png",), params=params)
        return picture(content)[0]

    assert np.array_equal(shown(), np.rint(np.clip(((hounsfield + 0.5) / 511 + 0.5) * 255, 0, 255)))
    exact = np.rint(np.clip(((hounsfield - 100) / 50 + 0.5) * 255, 0, 255))
    assert np.array_equal(shown(window="100,50,linear-exact"), exact)
    assert np.array_equal(shown(window="0,100,sigmoid"), np.rint(255 / (1 + np.exp(-4 * hounsfield / 100))))


def test_monochrome1_is_shown_inverse(shelf: Shelf, desk: RunningDesk, kept: dict[str, Instance]) -> None:
    inverse = ct_series(slices=1, rows=1, columns=256, PhotometricInterpretation="MONOCHROME1")[0]
    inverse.WindowCenter, inverse.WindowWidth, inverse.PixelData = 0, 512, RAMP.PixelData
    (one,) = shelf.keep(part10_bytes(inverse))
    shown, as_is = (picture(get(desk, each, "/rendered", "image/png").content) for each in (one, kept["ramp"]))
    assert np.abs(shown.astype(int) - (255 - as_is.astype(int))).max() <= 1


def test_a_frame_of_an_enhanced_image_is_rendered_by_its_own_functional_groups(
    client: DICOMwebClient, kept: dict[str, Instance]
) -> None:
    params = {"window": "0,200,linear"}
    shown = [
        picture(
            client.retrieve_instance_frames_rendered(
                *uids(kept["enhanced"]), frame_numbers=[number], media_types=("image/png",), params=params
            )
        )
        for number in (1, 5)
    ]
    for number, one in zip((0, 4), shown, strict=True):
        frame = np.frombuffer(ENHANCED.PixelData, np.uint16)[number * 42 : number * 42 + 42].reshape(6, 7)
        hounsfield = frame.astype(float) - 1024
        assert np.array_equal(one, np.rint(np.clip(((hounsfield + 0.5) / 199 + 0.5) * 255, 0, 255)))


def test_a_series_is_rendered_as_its_middle_image(client: DICOMwebClient) -> None:
    middle = SERIES[len(SERIES) // 2]
    where = (middle.StudyInstanceUID, middle.SeriesInstanceUID)
    alone = client.retrieve_instance_rendered(*where, middle.SOPInstanceUID)
    assert client.retrieve_series_rendered(*where) == alone


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_dcmtk", "examples_palette", "SC_ybr_full_422_uncompressed", "SC_rgb_rle_2frame"]
)
def test_colour_is_rendered_in_colour(desk: RunningDesk, kept: dict[str, Instance], name: str) -> None:
    answer = get(desk, kept[name], "/rendered")
    assert answer.headers["content-type"] == "image/jpeg"
    image = Image.open(BytesIO(answer.content))
    expected = source(name)
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (expected.Columns, expected.Rows))
    shown = picture(get(desk, kept[name], "/rendered", "image/png").content)
    if name == "examples_palette":
        assert np.array_equal(shown, apply_color_lut(expected.pixel_array, expected) >> 8)
    else:
        pixels = expected.pixel_array
        assert np.array_equal(shown, pixels if pixels.ndim == 3 else pixels[0])


def test_a_viewport_scales_crops_and_flips(desk: RunningDesk, kept: dict[str, Instance]) -> None:
    whole = picture(get(desk, kept["JPEG2000"], "/rendered", "image/png").content)
    height, width = whole.shape
    small = picture(get(desk, kept["JPEG2000"], "/rendered?viewport=100,50", "image/png").content)
    assert small.shape == (50, round(50 * width / height))
    cropped = picture(get(desk, kept["JPEG2000"], "/rendered?viewport=60,40,8,4,60,40", "image/png").content)
    assert np.array_equal(cropped, whole[4:44, 8:68])
    flipped = picture(get(desk, kept["JPEG2000"], "/rendered?viewport=60,40,8,4,-60,40", "image/png").content)
    assert np.array_equal(flipped, cropped[:, ::-1])


def test_pixel_data_come_by_their_bulk_data_uri(
    desk: RunningDesk, client: DICOMwebClient, kept: dict[str, Instance]
) -> None:
    for name in ("ramp", "JPEG2000", "examples_palette", "SC_rgb_rle_2frame"):
        uri = client.retrieve_instance_metadata(*uids(kept[name]))["7FE00010"]["BulkDataURI"]
        (content,) = client.retrieve_bulkdata(uri)
        assert list(client.iter_bulkdata(uri)) == [content]
        bare = httpx.get(uri, headers={"Accept": "application/octet-stream"})
        assert (bare.content, bare.headers["content-type"].partition(";")[0]) == (content, "application/octet-stream")
        expected = source(name)
        assert len(content) >= expected.pixel_array.nbytes
        if not expected.file_meta.TransferSyntaxUID.is_compressed:
            assert content == expected.PixelData
    cine = source("examples_ybr_color")
    uri = client.retrieve_instance_metadata(*uids(kept["examples_ybr_color"]))["7FE00010"]["BulkDataURI"]
    stored = client.retrieve_bulkdata(uri, media_types=(("image/jpeg", "1.2.840.10008.1.2.4.50"),))
    assert stored == list(generate_frames(cine.PixelData, number_of_frames=30))


def test_a_value_inside_a_sequence_comes_by_its_uri(client: DICOMwebClient, kept: dict[str, Instance]) -> None:
    metadata = client.retrieve_instance_metadata(*uids(kept["waveform_ecg"]))
    uri = metadata["54000100"]["Value"][1]["54001010"]["BulkDataURI"]
    assert uri.endswith("/bulkdata/54000100/1/54001010")
    assert client.retrieve_bulkdata(uri) == [source("waveform_ecg").WaveformSequence[1].WaveformData]


@pytest.mark.parametrize(
    ("where", "accept"),
    [
        ("/frames/1", 'multipart/related; type="image/jls"'),
        ("/frames/1", "application/dicom"),
        ("/rendered", "image/gif"),
        ("/rendered", "video/mp4"),
        ("/bulkdata/7FE00010", "image/png"),
    ],
)
def test_another_media_type_is_406_and_names_what_there_is(
    desk: RunningDesk, kept: dict[str, Instance], where: str, accept: str
) -> None:
    answer = get(desk, kept["JPEG2000"], where, accept)
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert answer.json()["way_out"].count("/") > 1
