"""Why a synthetic series is refused: each fault by its own code."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from services.triage.errors import NotAnalysed
from services.worker.load import load_volume, planes
from tests.support.ct import AXIAL, CORONAL, ct_series, enhanced, set_pixels, write_series

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)


def refusal_of(series, folder) -> str:
    with pytest.raises(NotAnalysed) as refused:
        load_volume(write_series(series, folder))
    return refused.value.reason.code


def test_two_time_points_in_one_enhanced_object_are_told(tmp_path):
    series = ct_series(slices=4)
    assert refusal_of([enhanced(series + series)], tmp_path) == "several_volumes"


def test_an_enhanced_object_with_too_little_geometry_is_told(tmp_path):
    dataset = enhanced(ct_series(slices=4))
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    assert refusal_of([dataset], tmp_path) == "no_geometry"


UPRIGHT = {
    "straight": (1, 0, 0, 0, 1, 0),
    "with noise": (0.99999998, 0.0002, 0, -0.0002, 0.99999998, 0),
    "turned by a degree in its plane": (0.99984770, 0.01745241, 0, -0.01745241, 0.99984770, 0),
    "of a patient on the side": (0, 1, 0, -1, 0, 0),
}


@pytest.mark.parametrize("told", [["ORIGINAL", "PRIMARY", "AXIAL"], None], ids=["original", "without image type"])
@pytest.mark.parametrize("orientation", UPRIGHT.values(), ids=UPRIGHT)
def test_a_gantry_that_leans_over_upright_slices_is_told(tmp_path, orientation, told):
    series = ct_series(orientation=orientation, GantryDetectorTilt=-15, ImageType=told)
    assert refusal_of(series, tmp_path) == "gantry_tilt"


@pytest.mark.parametrize("orientation", UPRIGHT.values(), ids=UPRIGHT)
def test_a_gantry_that_leans_over_the_upright_frames_of_an_enhanced_object_is_told(tmp_path, orientation):
    assert refusal_of([_leaning(orientation)], tmp_path) == "gantry_tilt"


def test_a_tilt_that_slices_show_or_are_free_of_by_reformatting_is_no_contradiction(tmp_path):
    shown = (1, 0, 0, 0, np.cos(np.radians(15)), np.sin(np.radians(15)))
    derived = ["DERIVED", "PRIMARY", "AXIAL"]
    sound = [
        ct_series(GantryDetectorTilt=15, orientation=shown),
        ct_series(GantryDetectorTilt=15, ImageType=derived),
        [_leaning(shown)],
        [_leaning(frame_type=derived, ImageType=["MIXED", "PRIMARY", "AXIAL"])],
    ]
    for number, series in enumerate(sound):
        assert load_volume(write_series(series, tmp_path / str(number))).voxels.shape[0] == 6


def _leaning(orientation=AXIAL, frame_type=("ORIGINAL", "PRIMARY", "AXIAL"), **attributes: object) -> Dataset:
    """An enhanced CT object that tells a tilt and a type in its frames (PS3.3 C.8.15.3.3, C.8.15.3.1)."""
    dataset, details, kind = enhanced(ct_series(orientation=orientation, **attributes)), Dataset(), Dataset()
    details.GantryDetectorTilt, kind.FrameType = 15, list(frame_type)
    dataset.SharedFunctionalGroupsSequence[0].CTAcquisitionDetailsSequence = [details]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.CTImageFrameTypeSequence = [kind]
    return dataset


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
