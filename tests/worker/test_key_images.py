"""Key images: what a reader sees in them, and what nobody may see in them."""

import numpy as np
import pytest
from pydicom import Dataset
from scipy.ndimage import binary_fill_holes

from services.triage.finding import Finding, Outcome
from services.triage.result import ObjectKind
from services.triage.volume import Volume
from services.worker.report import key_images, write_report
from services.worker.report.colours import COLOURS
from services.worker.report.picture import KeySlice, Tag, canvas_size, draw
from tests.support.ct import CORONAL, ct_series
from tests.support.lesion_case import Labels, a_model, finding_of, volume_of_series, with_balls
from tests.support.multi_frame import multi_frame
from tests.support.reports import NOW, read

FIRST = COLOURS[0]


def images_of(series: list[Dataset], volume: Volume, finding: Finding, labels: Labels) -> list[Dataset]:
    arguments = {"headers": series, "volume": volume, "label_map": labels, "now": NOW, "fallbacks": [ObjectKind.SC]}
    return [read(each) for each in write_report(finding, model=a_model(), **arguments)[2:]]


def a_slice(labels: np.ndarray, spacing_mm: tuple[float, float] = (1.0, 1.0), level: int = 100) -> KeySlice:
    return KeySlice(
        grey=np.full(labels.shape, level, np.uint8),
        labels=labels,
        spacing_mm=spacing_mm,
        directions=("L", "P"),
        tags=[Tag(value=int(n), text=f"Lesion {n}", colour=COLOURS[int(n) - 1]) for n in np.unique(labels[labels > 0])],
        caption=["Lesion 1"],
        footer=["a model", "NOT FOR DIAGNOSIS"],
    )


def image_area(picture: np.ndarray, key: KeySlice) -> np.ndarray:
    """The image without caption and footer, which have as many lines as `a_slice` gives them."""
    width, height = canvas_size(key.grey.shape, key.spacing_mm)
    top = 16 + 26  # margins, and one line of 20 pixels with its spacing
    return picture[top : top + height, (picture.shape[1] - width) // 2 :][:, :width]


def coloured(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (image == colour).all(axis=-1)


def a_disc(shape: tuple[int, int], centre: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2).astype(np.uint8)


def test_the_ring_runs_around_the_lesion_and_hides_nothing_of_it():
    labels = a_disc((512, 512), (200, 150), 20)
    key = a_slice(labels)

    image = image_area(draw(key), key)

    inside = labels == 1
    assert (image[inside] == 100).all()
    # the largest part of that colour that is not the name is the ring: what it encloses is the lesion and a narrow rim
    ring = coloured(image, FIRST) & (a_disc((512, 512), (200, 150), 26) == 1)
    filled = binary_fill_holes(ring)
    assert filled[inside].all()
    assert not filled[a_disc((512, 512), (200, 150), 26) == 0].any()


def test_a_lesion_of_one_pixel_is_ringed_and_still_seen():
    labels = np.zeros((512, 512), np.uint8)
    labels[300, 40] = 1
    key = a_slice(labels)

    image = image_area(draw(key), key)

    assert (image[300, 40] == 100).all()
    assert coloured(image, FIRST)[294:307, 34:47].sum() > 20


def test_a_ring_never_covers_another_lesion():
    labels = a_disc((512, 512), (200, 150), 20)
    labels[a_disc((512, 512), (200, 191), 20) == 1] = 2
    key = a_slice(labels)

    image = image_area(draw(key), key)

    assert (image[labels > 0] == 100).all()


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "size"),
    [
        ((144, 144), (2.6, 2.6), (512, 512)),
        ((512, 512), (0.7, 0.7), (512, 512)),
        ((768, 1024), (0.2, 0.2), (1024, 768)),
        ((61, 144), (5.0, 2.6), (512, 417)),
        ((100, 400), (2.0, 0.5), (512, 512)),
        ((4096, 4096), (0.1, 0.1), (2048, 2048)),
    ],
)
def test_pixels_of_the_picture_are_square_and_enough_to_be_read(shape, spacing_mm, size):
    assert canvas_size(shape, spacing_mm) == size


def test_a_round_lesion_is_round_in_the_picture_whatever_the_shape_of_its_pixels():
    rows, columns = np.ogrid[:100, :400]
    labels = (((rows - 50) * 2.0) ** 2 + ((columns - 100) * 0.5) ** 2 <= 15**2).astype(np.uint8)
    key = a_slice(labels, (2.0, 0.5))

    image = image_area(draw(key), key)

    ring = coloured(image, FIRST)[:, :171]  # left of the name
    height, width = (np.ptp(np.flatnonzero(ring.any(axis=axis))) for axis in (1, 0))
    assert width == pytest.approx(30 / 200 * 512 + 8, abs=6)
    assert height == pytest.approx(width, abs=12)


@pytest.mark.parametrize("level", [0, 255])
def test_names_can_be_read_on_any_ground(level):
    key = a_slice(a_disc((512, 512), (200, 150), 20), level=level)

    image = image_area(draw(key), key).astype(int)

    name = image[190:212, 178:260]
    letters, ground = name.max(axis=(0, 1)), name.min(axis=(0, 1))
    assert (letters[:2] >= np.array(FIRST[:2]) - 5).all()
    assert ground.max() <= 80


def test_each_lesion_has_an_image_of_its_own_in_one_series():
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93, 0.61))

    images = images_of(series, volume, finding, labels)

    assert [image.InstanceNumber for image in images] == [1, 2]
    assert {image.SeriesNumber for image in images} == {95000}
    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert len({image.SOPInstanceUID for image in images}) == 2
    assert [image.SourceImageSequence[0].ReferencedSOPInstanceUID for image in images] == [
        series[lesion.key_slice].SOPInstanceUID for lesion in finding.lesions
    ]
    for image in images:
        assert (image.PhotometricInterpretation, image.SamplesPerPixel, image.BitsAllocated) == ("RGB", 3, 8)
        assert image.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert image.BurnedInAnnotation == "NO"
        assert image.pixel_array.shape == (image.Rows, image.Columns, 3)
        assert "NumberOfFrames" not in image


def test_an_image_of_a_multi_frame_source_names_its_frame():
    enhanced, volume = multi_frame(ct_series(slices=9, rows=32, columns=28))
    finding, labels = with_balls(volume, (0.9,))

    (image,) = images_of([enhanced], volume, finding, labels)

    (source,) = image.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == enhanced.SOPInstanceUID
    assert source.ReferencedFrameNumber == 9 - finding.lesions[0].key_slice


def words_of(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> KeySlice:
    """What is given to be drawn for the first lesion."""
    keys: list[KeySlice] = []
    monkeypatch.setattr(key_images, "draw", lambda key: keys.append(key) or draw(key))
    images_of(*arguments)
    return keys[0]


@pytest.mark.parametrize(("outcome", "told"), [(Outcome.FOUND, False), (Outcome.EQUIVOCAL, True)])
def test_the_words_tell_label_score_model_version_place_and_what_it_is_not(monkeypatch, outcome, told):
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = finding_of(outcome, volume)

    key = words_of(monkeypatch, series, volume, finding, labels)

    lesion = finding.lesions[0]
    assert key.caption[0] == f"Lesion 1 (score {lesion.score:.2f}) not calibrated on patients"
    assert key.caption[-1].startswith(f"Series 3, image {lesion.key_slice + 1}: {lesion.volume_ml:.2f} mL")
    assert ("Equivocal: below the detection threshold" in key.caption) == told
    assert "model ct_lung_lesion 1.0.0" in key.footer[0]
    assert "Window -600 / 1500 HU" in key.footer[0]
    assert key.footer[-1].startswith("NOT FOR DIAGNOSIS")


def test_the_picture_is_the_same_whoever_the_patient_is():
    pictures = []
    for name in ("Odd^Name", "Quite^Another"):
        series = ct_series(slices=9, rows=32, columns=28, PatientName=name, PatientID=name, StudyID=name[:4])
        volume = volume_of_series(series)
        (image, *_) = images_of(series, volume, *finding_of(Outcome.FOUND, volume))
        assert image.PatientName == name
        pictures.append(image.PixelData)
    assert pictures[0] == pictures[1]


def test_the_letters_at_the_edges_are_the_patients_directions(monkeypatch):
    series = ct_series(slices=9, rows=32, columns=28, orientation=CORONAL)
    volume = volume_of_series(series)

    key = words_of(monkeypatch, series, volume, *finding_of(Outcome.FOUND, volume))

    assert key.directions == ("L", "F")


def test_an_oblique_image_tells_both_axes_that_it_follows():
    series = ct_series(slices=9, rows=32, columns=28, orientation=(0.8, 0.6, 0.0, -0.48, 0.64, -0.6))
    volume = volume_of_series(series)

    (image, *_) = images_of(series, volume, *with_balls(volume, (0.9,)))

    assert list(image.PatientOrientation) == ["LP", "PFR"]


def test_a_picture_of_a_lossy_image_is_lossy():
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": 9.5}
    series = ct_series(slices=9, rows=32, columns=28, **lossy)
    volume = volume_of_series(series)

    (image,) = images_of(series, volume, *with_balls(volume, (0.9,)))

    assert (image.LossyImageCompression, float(image.LossyImageCompressionRatio)) == ("01", 9.5)
