"""Two files of one instance show the same, or not."""

from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless, RLELossless

from services.backends.files.pixels import same_pixels

CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))


def changed(folder: Path, **values: Any) -> Path:
    data_set = dcmread(CT)
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    data_set.save_as(folder / "changed.dcm")
    return folder / "changed.dcm"


def test_another_lossless_compression_shows_the_same(tmp_path: Path) -> None:
    data_set = dcmread(CT)
    data_set.compress(RLELossless, generate_instance_uid=False)
    data_set.save_as(tmp_path / "rle.dcm")
    assert same_pixels(CT, tmp_path / "rle.dcm")


def test_a_corrected_patient_name_shows_the_same(tmp_path: Path) -> None:
    assert same_pixels(CT, changed(tmp_path, PatientName="Corrected^Name"))


@pytest.mark.parametrize(
    "values",
    [
        {"RescaleIntercept": -1000},
        {"PixelSpacing": [0.5, 0.5]},
        {"SliceThickness": 2.5},
        {"PixelData": b"\0" * 2 * 128 * 128},
    ],
    ids=lambda values: next(iter(values)),
)
def test_other_scaling_geometry_or_pixels_do_not(tmp_path: Path, values: dict[str, Any]) -> None:
    assert not same_pixels(CT, changed(tmp_path, **values))


def test_one_frame_more_is_not_the_same(tmp_path: Path) -> None:
    frame = dcmread(CT).PixelData
    one = changed(tmp_path, PixelData=frame, NumberOfFrames=1).rename(tmp_path / "one.dcm")
    assert not same_pixels(one, changed(tmp_path, PixelData=frame * 2, NumberOfFrames=2))


@pytest.mark.parametrize("values", [{"Rows": 65535, "Columns": 65535}, {"PixelData": b"\0\0"}, {"BitsAllocated": 13}])
def test_what_cannot_be_decoded_is_not_the_same(tmp_path: Path, values: dict[str, Any]) -> None:
    broken = changed(tmp_path, **values)
    assert not same_pixels(broken, broken)


def test_a_broken_stream_is_not_the_same(tmp_path: Path) -> None:
    data_set = dcmread(str(get_testdata_file("MR_small_jp2klossless.dcm", download=False)))
    assert data_set.file_meta.TransferSyntaxUID == JPEG2000Lossless
    data_set.PixelData = data_set.PixelData[:200] + b"\xff" * 100
    data_set.save_as(tmp_path / "broken.dcm")
    assert not same_pixels(tmp_path / "broken.dcm", tmp_path / "broken.dcm")
