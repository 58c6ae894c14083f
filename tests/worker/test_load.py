"""What a synthetic series becomes; tests/worker/test_load_refusals.py tells why one is refused."""

import random

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from services.worker.load import load_volume
from tests.support.ct import AXIAL, CORONAL, ct_series, enhanced, set_pixels, write_series

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_shuffled_series_comes_back_voxel_by_voxel(tmp_path, orientation, modality):
    intercept = -1024 if modality == "CT" else 0
    voxels = np.random.default_rng(1).integers(intercept, 1500, (7, 9, 5))
    series = ct_series(voxels, modality=modality, orientation=orientation, intercept=intercept)
    for index, number in enumerate(random.Random(2).sample(range(1, 8), 7)):
        series[index].InstanceNumber = number
    paths = write_series(series, tmp_path)
    random.Random(3).shuffle(paths)
    volume = load_volume(paths)
    assert volume.voxels.dtype == np.int16
    assert np.array_equal(volume.voxels, voxels)
    assert [source.sop_instance_uid for source in volume.sources] == [d.SOPInstanceUID for d in series]
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert volume.modality == modality


def test_the_affine_is_the_one_worked_out_by_hand(tmp_path):
    series = ct_series(slices=3, orientation=CORONAL, origin_mm=(-10, 20, 30), spacing_mm=(3, 0.5, 0.25))
    volume = load_volume(write_series(series, tmp_path))
    # rows run to the left (+x), columns to the feet (-z): slices are stacked from front to back (+y)
    expected = [[0, 0, 0.25, -10], [3, 0, 0, 20], [0, -0.5, 0, 30], [0, 0, 0, 1]]
    assert np.allclose(volume.affine, expected)


def test_a_slice_thickness_that_lies_does_not_matter(tmp_path):
    volume = load_volume(write_series(ct_series(SliceThickness=9, SpacingBetweenSlices=7), tmp_path))
    assert volume.spacing_mm[0] == pytest.approx(2.5)


def test_every_slice_is_rescaled_by_its_own_slope_and_intercept(tmp_path):
    series = ct_series(np.zeros((4, 3, 3)), intercept=-1000)
    series[2].RescaleIntercept = -900
    series[3].RescaleSlope = 2
    volume = load_volume(write_series(series, tmp_path))
    assert volume.voxels[:, 0, 0].tolist() == [0, 0, 100, 1000]


def test_fractions_make_a_float_volume(tmp_path):
    voxels = np.arange(4 * 3 * 3).reshape(4, 3, 3) * 0.5
    volume = load_volume(write_series(ct_series(voxels, slope=0.5, intercept=-100.5), tmp_path))
    assert volume.voxels.dtype == np.float32
    assert np.allclose(volume.voxels, voxels)


def test_integers_too_large_for_int16_make_a_float_volume(tmp_path):
    voxels = np.zeros((4, 3, 3))
    voxels[2, 1, 1] = 60000
    volume = load_volume(write_series(ct_series(voxels, modality="MR", intercept=0), tmp_path))
    assert volume.voxels.dtype == np.float32
    assert np.array_equal(volume.voxels, voxels)


@pytest.mark.parametrize("bits_stored", [12, 16])
def test_signed_values_stay_signed(tmp_path, bits_stored):
    voxels = np.array([-1000, -1, 0, 1, 900, 2000]).reshape(3, 2, 1)
    series = ct_series(voxels, signed=True, intercept=0, bits_stored=bits_stored)
    assert np.array_equal(load_volume(write_series(series, tmp_path)).voxels, voxels)


def test_bits_above_bits_stored_are_no_part_of_the_value(tmp_path):
    series = ct_series(np.full((3, 2, 2), 100), bits_stored=12)
    for dataset in series:
        set_pixels(dataset, np.full((2, 2), 1124 | 0xF000, np.uint16))
    assert (load_volume(write_series(series, tmp_path)).voxels == 100).all()


@pytest.mark.parametrize(
    ("signed", "stored", "padding", "limit"),
    [(False, 63000, 63000, None), (True, -2000, -2000, None), (True, -2000, 63536, None), (False, 5, 0, 9)],
    ids=["unsigned", "signed", "signed-written-unsigned", "range"],
)
def test_padding_becomes_air(tmp_path, signed, stored, padding, limit):
    series = ct_series(np.full((3, 2, 2), 40), signed=signed, intercept=-1000)
    pixels = np.full((2, 2), 1040, np.int16 if signed else np.uint16)
    pixels[0, 0] = stored
    for dataset in series:
        vr = "SS" if signed and padding < 0 else "US"
        dataset.add_new("PixelPaddingValue", vr, padding)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", vr, limit)
        set_pixels(dataset, pixels)
    volume = load_volume(write_series(series, tmp_path))
    assert volume.voxels[:, 0, 0].tolist() == [-1024] * 3
    assert (volume.voxels[:, 1, :] == 40).all()


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_compressed_series_decodes_to_the_same_voxels(tmp_path, syntax):
    series = ct_series(slices=3, rows=64, columns=64)
    plain = load_volume(write_series(series, tmp_path / "plain"))
    for dataset in series:
        dataset.compress(syntax, generate_instance_uid=False)
    assert np.array_equal(load_volume(write_series(series, tmp_path / "packed")).voxels, plain.voxels)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("columns", [14, 257])  # the length of 33 x 257 pixels has the bytes of two letters, as VRs do
def test_the_way_elements_are_written_does_not_matter(tmp_path, syntax, columns):
    series = ct_series(slices=3, rows=33, columns=columns)
    plain = load_volume(write_series(series, tmp_path / "plain"))
    for dataset in series:
        dataset.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(load_volume(write_series(series, tmp_path / "other")).voxels, plain.voxels)


def test_an_enhanced_object_gives_the_volume_of_its_classic_series(tmp_path):
    series = ct_series(slices=5)
    series[1].RescaleIntercept = -1000
    classic = load_volume(write_series(series, tmp_path / "classic"))
    order = [3, 0, 4, 1, 2]
    multi_frame = load_volume(write_series([enhanced([series[index] for index in order])], tmp_path / "enhanced"))
    assert np.array_equal(multi_frame.voxels, classic.voxels)
    assert np.allclose(multi_frame.affine, classic.affine)
    assert [source.frame_number for source in multi_frame.sources] == [order.index(k) + 1 for k in range(5)]
