"""What a synthetic series must become, or why it must not."""

import random

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from services.triage.errors import NotAnalysed
from services.worker.load import load_volume, planes
from tests.support.ct import AXIAL, CORONAL, ct_series, enhanced, set_pixels, write_series

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)


def refusal_of(series, folder) -> str:
    with pytest.raises(NotAnalysed) as refused:
        load_volume(write_series(series, folder))
    return refused.value.reason.code


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
def test_the_way_elements_are_written_does_not_matter(tmp_path, syntax):
    series = ct_series(slices=3)
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


def test_two_time_points_in_one_enhanced_object_are_told(tmp_path):
    series = ct_series(slices=4)
    assert refusal_of([enhanced(series + series)], tmp_path) == "several_volumes"


def test_an_enhanced_object_with_too_little_geometry_is_told(tmp_path):
    dataset = enhanced(ct_series(slices=4))
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    assert refusal_of([dataset], tmp_path) == "no_geometry"


def _set(**values: object):
    def spoil(series: list[Dataset]) -> None:
        for keyword, value in values.items():
            setattr(series[1], keyword, value)

    return spoil


def _all(**values: object):
    def spoil(series: list[Dataset]) -> None:
        for dataset in series:
            for keyword, value in values.items():
                setattr(dataset, keyword, value)

    return spoil


def _drop(keyword: str):
    def spoil(series: list[Dataset]) -> None:
        del series[1][keyword]

    return spoil


def _lean(series: list[Dataset]) -> None:
    for index, dataset in enumerate(series):
        dataset.ImagePositionPatient[1] += 0.7 * index


def _coloured(series: list[Dataset]) -> None:
    series[1].SamplesPerPixel, series[1].PhotometricInterpretation, series[1].PlanarConfiguration = 3, "RGB", 0
    series[1].PixelData = series[1].PixelData * 3


def _cut(series: list[Dataset]) -> None:
    series[1].PixelData = series[1].PixelData[:-40]


def _corrupt(series: list[Dataset]) -> None:
    series[1].file_meta.TransferSyntaxUID = JPEG2000Lossless
    series[1].PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(200)])
    series[1]["PixelData"].VR = "OB"


def _bomb(syntax: str, marker: bytes, places: tuple[int, ...], side: bytes):
    """A small codestream that declares itself gigantic: `side` is written at the places after the marker."""

    def spoil(series: list[Dataset]) -> None:
        for dataset in series:
            set_pixels(dataset, np.full((64, 64), 1000, np.uint16))
            dataset.compress(syntax, generate_instance_uid=False)
        codestream = bytearray(next(generate_frames(series[1].PixelData, number_of_frames=1)))
        start = codestream.index(marker)
        for place in places:
            codestream[start + place : start + place + len(side)] = side
        series[1].PixelData = encapsulate([bytes(codestream)])
        series[1]["PixelData"].VR = "OB"

    return spoil


def _cut_codestream(syntax: str):
    def spoil(series: list[Dataset]) -> None:
        for dataset in series:
            set_pixels(dataset, np.random.default_rng(4).integers(0, 2000, (64, 64)).astype(np.uint16))
            dataset.compress(syntax, generate_instance_uid=False)
        codestream = next(generate_frames(series[1].PixelData, number_of_frames=1))
        series[1].PixelData = encapsulate([codestream[: len(codestream) * 3 // 4]])
        series[1]["PixelData"].VR = "OB"

    return spoil


def _lying_syntax(series: list[Dataset]) -> None:
    series[1].file_meta.TransferSyntaxUID = JPEGLSLossless
    series[1].PixelData = encapsulate([series[1].PixelData])
    series[1]["PixelData"].VR = "OB"


def _localizer(series: list[Dataset]) -> None:
    series[1].ImageOrientationPatient = list(CORONAL)
    series[1].Rows = 32


REFUSED = {
    "study": (_set(StudyInstanceUID=generate_uid()), "several_series"),
    "series": (_set(SeriesInstanceUID=generate_uid()), "several_series"),
    "frame-of-reference": (_set(FrameOfReferenceUID=generate_uid()), "mixed_frames_of_reference"),
    "rows": (_set(Rows=8), "mixed_sizes"),
    "spacing": (_set(PixelSpacing=[0.8, 0.9]), "mixed_pixel_spacing"),
    "orientation": (_localizer, "mixed_orientations"),
    "no-position": (_drop("ImagePositionPatient"), "no_geometry"),
    "half-a-position": (_set(ImagePositionPatient=[1, 2]), "no_geometry"),
    "no-orientation": (_drop("ImageOrientationPatient"), "no_geometry"),
    "no-spacing": (_drop("PixelSpacing"), "no_geometry"),
    "frames-without-geometry": (_set(NumberOfFrames=2), "no_geometry"),
    "zero-spacing": (_all(PixelSpacing=[0, 0]), "bad_geometry"),
    "tilt": (_lean, "gantry_tilt"),
    "tilt-said-but-not-drawn": (_all(GantryDetectorTilt=12), "gantry_tilt"),
    "missing": (lambda series: series.pop(2), "missing_slices"),
    "twice": (lambda series: series.append(series[2]), "duplicate_positions"),
    "phases": (lambda series: series.extend(series), "several_volumes"),
    "uneven": (_set(ImagePositionPatient=[-100, -120, 43.5]), "variable_spacing"),
    "two-slices": (lambda series: series.__delitem__(slice(2, None)), "too_few_slices"),
    "nothing": (lambda series: series.clear(), "too_few_slices"),
    "colours": (_coloured, "not_grayscale"),
    "palette": (_set(PhotometricInterpretation="PALETTE COLOR"), "not_grayscale"),
    "no-pixels": (_drop("PixelData"), "no_pixels"),
    "report": (_drop("Rows"), "no_pixels"),
    "modality": (_all(Modality="US"), "unsupported_modality"),
    "no-rescale": (_drop("RescaleSlope"), "no_rescale"),
    "no-hounsfield": (_all(RescaleType="EFF_ATOMIC_NUM"), "no_rescale"),
    "zero-slope": (_set(RescaleSlope=0), "no_rescale"),
    "high-bit": (_set(BitsStored=12, HighBit=15), "unsupported_pixels"),
    "zero-rows": (_all(Rows=0), "implausible_size"),
    "gigantic": (_all(Rows=65535, Columns=65535), "implausible_size"),
    "large-together": (_all(Rows=16384, Columns=16384, NumberOfFrames=1), "too_large"),
    "cut": (_cut, "undecodable_pixels"),
    "corrupt": (_corrupt, "undecodable_pixels"),
    "bomb-j2k": (
        _bomb(JPEG2000Lossless, b"\xff\x51", (6, 10, 22, 26), b"\0\0\xea\x60"),
        "undecodable_pixels",
    ),
    "bomb-jls": (_bomb(JPEGLSLossless, b"\xff\xf7", (5, 7), b"\xea\x60"), "undecodable_pixels"),
    "cut-j2k": (_cut_codestream(JPEG2000Lossless), "undecodable_pixels"),
    "cut-jls": (_cut_codestream(JPEGLSLossless), "undecodable_pixels"),
    "cut-rle": (_cut_codestream(RLELossless), "undecodable_pixels"),
    "lying-syntax": (_lying_syntax, "undecodable_pixels"),
}


@pytest.mark.parametrize(("spoil", "code"), REFUSED.values(), ids=REFUSED)
def test_a_spoilt_series_is_refused_by_its_own_code(tmp_path, spoil, code):
    series = ct_series(slices=6)
    spoil(series)
    assert refusal_of(series, tmp_path) == code


def test_a_refusal_tells_no_patient(tmp_path):
    with pytest.raises(NotAnalysed) as refused:
        load_volume(write_series(ct_series(slices=6)[::2][:2] + ct_series(slices=1), tmp_path))
    assert "Phantom" not in str(refused.value)
    assert "PHANTOM" not in str(refused.value)


def test_more_frames_than_pixels_are_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("services.worker.load.decoded_frames", lambda *_: pytest.fail("decoded"))
    dataset = enhanced(ct_series(slices=40))
    dataset.Rows = dataset.Columns = planes.MAX_SIDE
    assert refusal_of([dataset], tmp_path) == "too_large"


def test_a_ct_of_2000_slices_is_within_the_default_limit(tmp_path):
    dataset = enhanced(ct_series(slices=2000, rows=1, columns=1))
    dataset.Rows = dataset.Columns = 512
    assert refusal_of([dataset], tmp_path) == "undecodable_pixels"  # only its pixels were left out here


def test_a_series_of_just_so_many_voxels_is_loaded_and_of_one_more_is_not(tmp_path):
    paths = write_series(ct_series(slices=5, rows=4, columns=4), tmp_path)
    assert load_volume(paths, max_voxels=80).voxels.size == 80
    with pytest.raises(NotAnalysed, match=r"5 slices of 4 x 4 are more than the 79 voxels .*too_large"):
        load_volume(paths, max_voxels=79)


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM\x02\x00\x10\x00UI\xff"])
def test_a_file_that_is_no_instance_is_refused(tmp_path, content):
    path = tmp_path / "no.dcm"
    path.write_bytes(content)
    with pytest.raises(NotAnalysed, match="unreadable_header"):
        load_volume([path])


def test_a_file_cut_anywhere_is_refused_by_a_code(tmp_path):
    paths = write_series(ct_series(slices=3, rows=4, columns=4), tmp_path)
    whole = paths[1].read_bytes()
    inside_a_number = whole.index(b"UL\x04\x00") + 5
    for length in (inside_a_number, *range(0, len(whole), 7)):
        paths[1].write_bytes(whole[:length])
        with pytest.raises(NotAnalysed):
            load_volume(paths)
