"""Presentation states: outlines where the lesions are, labels beside them, over the images of the source."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage

from services.triage.finding import Finding, Outcome, assess
from services.triage.result import ObjectKind
from services.triage.volume import Volume
from services.worker.lesions import find_candidates
from services.worker.report import presentation_state, write_report
from services.worker.report.layout import Box, box_of
from tests.support.ct import CORONAL, SAGITTAL, ct_series
from tests.support.lesion_case import Labels, a_model, finding_of, segmentation_of, volume_of_series, with_balls
from tests.support.multi_frame import multi_frame
from tests.support.polygons import enclosed
from tests.support.reports import NOW, read

OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, -0.6)


def states_of(series: list[Dataset], volume: Volume, finding: Finding, labels: Labels) -> list[Dataset]:
    arguments = {"headers": series, "volume": volume, "label_map": labels, "now": NOW, "fallbacks": [ObjectKind.GSPS]}
    objects = [read(each) for each in write_report(finding, model=a_model(), **arguments)]
    assert [each.Modality for each in objects[:2]] == ["SEG", "SR"]
    return objects[2:]


def drawn(state: Dataset, volume: Volume) -> dict[str, np.ndarray]:
    """What the outlines of each layer enclose, [slice, row, column], read as any reader would."""
    slices = {(s.sop_instance_uid, s.frame_number): index for index, s in enumerate(volume.sources)}
    masks: dict[str, np.ndarray] = {}
    for annotation in state.GraphicAnnotationSequence:
        (reference,) = annotation.ReferencedImageSequence
        index = slices[reference.ReferencedSOPInstanceUID, reference.get("ReferencedFrameNumber")]
        lines = [np.reshape(graphic.GraphicData, (-1, 2)) for graphic in annotation.GraphicObjectSequence]
        assert all(graphic.GraphicAnnotationUnits == "PIXEL" for graphic in annotation.GraphicObjectSequence)
        mask = masks.setdefault(annotation.GraphicLayer, np.zeros(volume.voxels.shape, dtype=bool))
        mask[index] |= enclosed(lines, volume.voxels.shape[1:])
    return masks


def texts(state: Dataset) -> list[tuple[str, Dataset, Dataset]]:
    """Every text with its object and its annotation."""
    return [
        (text.UnformattedTextValue, text, annotation)
        for annotation in state.GraphicAnnotationSequence
        for text in annotation.TextObjectSequence
    ]


@pytest.mark.parametrize("orientation", [None, CORONAL, SAGITTAL, OBLIQUE])
def test_the_outlines_are_around_the_lesions_voxels_on_every_slice(orientation):
    geometry = {} if orientation is None else {"orientation": orientation, "spacing_mm": (2.5, 1.7, 0.6)}
    series = ct_series(slices=12, rows=40, columns=44, **geometry)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93, 0.61))

    (state,) = states_of(series, volume, finding, labels)

    masks = drawn(state, volume)
    assert sorted(masks) == ["LESION 1", "LESION 2"]
    for lesion in finding.lesions:
        np.testing.assert_array_equal(masks[f"LESION {lesion.number}"], labels == lesion.number)


def test_a_lesion_at_the_edge_of_the_image_is_outlined_within_it():
    series = ct_series(slices=5, rows=16, columns=14)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.9,), radius_mm=40)

    (state,) = states_of(series, volume, finding, labels)

    np.testing.assert_array_equal(drawn(state, volume)["LESION 1"], labels == 1)


def test_frames_of_a_multi_frame_source_are_referred_to_by_number():
    enhanced, volume = multi_frame(ct_series(slices=9, rows=32, columns=28))
    finding, labels = with_balls(volume, (0.9,))

    (state,) = states_of([enhanced], volume, finding, labels)

    np.testing.assert_array_equal(drawn(state, volume)["LESION 1"], labels == 1)
    (reference,) = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert reference.ReferencedSOPInstanceUID == enhanced.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == EnhancedCTImageStorage
    assert "ReferencedFrameNumber" not in reference


def test_the_whole_series_is_referred_to_so_that_a_reader_can_scroll():
    series = ct_series(slices=12, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.9,), radius_mm=4)

    (state,) = states_of(series, volume, finding, labels)

    (item,) = state.ReferencedSeriesSequence
    assert item.SeriesInstanceUID == series[0].SeriesInstanceUID
    assert [each.ReferencedSOPInstanceUID for each in item.ReferencedImageSequence] == [
        each.SOPInstanceUID for each in series
    ]


def test_slices_of_different_modality_luts_have_states_of_their_own():
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.9,))
    touched = np.flatnonzero(labels.any(axis=(1, 2))).tolist()
    for index, image in enumerate(series):
        image.RescaleSlope = 1 + index / 10

    states = states_of(series, volume, finding, labels)

    assert [float(state.RescaleSlope) for state in states] == pytest.approx([1 + index / 10 for index in touched])
    assert len({state.SeriesInstanceUID for state in states}) == 1
    assert [state.InstanceNumber for state in states] == list(range(1, len(touched) + 1))
    union = np.any([drawn(state, volume)["LESION 1"] for state in states], axis=0)
    np.testing.assert_array_equal(union, labels == 1)


def test_the_score_stands_on_the_key_slice_and_says_that_it_is_not_calibrated():
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93,))
    (lesion,) = finding.lesions

    (state,) = states_of(series, volume, finding, labels)

    scored = [annotation for text, _, annotation in texts(state) if "score" in text]
    assert [text for text, _, _ in texts(state) if "score" in text] == [
        "Lesion 1 (score 0.93) not calibrated on patients"
    ]
    assert scored[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID == series[lesion.key_slice].SOPInstanceUID
    assert [text for text, _, _ in texts(state)].count("Lesion 1") == len(state.GraphicAnnotationSequence)


def test_a_name_stands_beside_its_lesion_inside_the_image_and_over_no_other_text():
    series = ct_series(slices=12, rows=96, columns=80)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93, 0.61), radius_mm=6)

    (state,) = states_of(series, volume, finding, labels)

    by_image: dict[str, list[Box]] = {}
    index_of = {each.SOPInstanceUID: index for index, each in enumerate(series)}
    for text, item, annotation in texts(state):
        (left, top), (right, bottom) = item.BoundingBoxTopLeftHandCorner, item.BoundingBoxBottomRightHandCorner
        assert 0 <= left < right <= 80
        assert 0 <= top < bottom <= 96
        box = Box(left=left, top=top, right=right, bottom=bottom)
        uid = annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID
        plane = labels[index_of[uid]]
        assert all(box.overlap(box_of(plane == number)) == 0 for number in np.unique(plane[plane > 0])), text
        assert all(box.overlap(other) == 0 for other in by_image.setdefault(uid, [])), text
        by_image[uid].append(box)


def test_outlines_and_labels_carry_the_tracking_identifiers_of_the_segments():
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.93, 0.61))

    (state,) = states_of(series, volume, finding, labels)

    told = {item.TrackingUID for a in state.GraphicAnnotationSequence for item in a.GraphicObjectSequence}
    assert told == {lesion.tracking_uid for lesion in finding.lesions}


def test_pixels_keep_their_proportions():
    series = ct_series(slices=9, rows=32, columns=28, spacing_mm=(2.5, 1.6, 0.7))
    volume = volume_of_series(series)

    (state,) = states_of(series, volume, *with_balls(volume, (0.9,)))

    (area,) = state.DisplayedAreaSelectionSequence
    assert [float(mm) for mm in area.PresentationPixelSpacing] == pytest.approx([1.6, 0.7])
    assert "PresentationPixelAspectRatio" not in area
    assert area.DisplayedAreaBottomRightHandCorner == [28, 32]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"WindowCenter": [-600, 40], "WindowWidth": [1500, 400]}, (-600, 1500)),
        ({"WindowCenter": 40, "WindowWidth": 400}, (40, 400)),
        ({"WindowCenter": None, "WindowWidth": None}, (-600, 1500)),
        ({"WindowCenter": 40, "WindowWidth": 0}, (-600, 1500)),
        ({"WindowCenter": "", "WindowWidth": ""}, (-600, 1500)),
    ],
)
def test_the_window_is_the_sources_first_or_a_lung_window(attributes, expected):
    series = ct_series(slices=9, rows=32, columns=28, **attributes)
    volume = volume_of_series(series)

    (state,) = states_of(series, volume, *with_balls(volume, (0.9,)))

    (window,) = state.SoftcopyVOILUTSequence
    assert (float(window.WindowCenter), float(window.WindowWidth)) == expected
    assert (float(state.RescaleSlope), float(state.RescaleIntercept), state.RescaleType) == (1, -1024, "HU")


def at_rows(*rows: int) -> tuple[list[Dataset], Volume, Finding, Labels]:
    """Lesions of 4 x 4 pixels that begin at those rows, all with the same key slice."""
    series = ct_series(slices=5, rows=96, columns=80)
    volume = volume_of_series(series)
    probability = np.zeros(volume.voxels.shape, np.uint8)
    for place, row in enumerate(rows):
        probability[2, row : row + 4, 10 + 20 * place : 14 + 20 * place] = 250 - 10 * place
    candidates = find_candidates(segmentation_of(probability > 0, probability), volume, a_model())
    finding = assess(candidates.lesions, a_model().thresholds, calibrated=False)
    return series, volume, finding, candidates.label_map


@pytest.mark.parametrize(("rows", "tops"), [((40, 44), [89.6, 92.8]), ((92, 40), [0.0, 3.2]), ((92, 0), [89.6, 92.8])])
def test_scores_stand_at_an_edge_where_no_lesion_is(rows, tops):
    series, volume, finding, labels = at_rows(*rows)

    (state,) = states_of(series, volume, finding, labels)

    boxes = [item for text, item, _ in texts(state) if "score" in text]
    assert [box.BoundingBoxTopLeftHandCorner[1] for box in boxes] == pytest.approx(tops)
    assert [box.BoundingBoxBottomRightHandCorner[0] for box in boxes] == [80, 80]


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_dark_and_light_are_those_of_the_source(photometric, shape):
    series = ct_series(slices=9, rows=32, columns=28, PhotometricInterpretation=photometric)
    volume = volume_of_series(series)

    (state,) = states_of(series, volume, *with_balls(volume, (0.9,)))

    assert state.PresentationLUTShape == shape


def test_an_outline_too_long_for_its_value_representation_is_drawn_in_pieces(monkeypatch):
    monkeypatch.setattr(presentation_state, "MOST_POINTS", 6)
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, (0.9,))

    (state,) = states_of(series, volume, finding, labels)

    graphics = [graphic for a in state.GraphicAnnotationSequence for graphic in a.GraphicObjectSequence]
    assert max(graphic.NumberOfGraphicPoints for graphic in graphics) == 6
    assert min(graphic.NumberOfGraphicPoints for graphic in graphics) >= 2
    np.testing.assert_array_equal(drawn(state, volume)["LESION 1"], labels == 1)


def test_no_word_of_the_patient_is_in_the_annotations():
    series = ct_series(slices=9, rows=32, columns=28, PatientName="Odd^Name", PatientID="ID-4711")
    volume = volume_of_series(series)

    (state,) = states_of(series, volume, *finding_of(Outcome.FOUND, volume))

    assert state.PatientName == "Odd^Name"
    annotations = [*state.GraphicAnnotationSequence, *state.GraphicLayerSequence]
    # without UIDs: any four digits come up in them some day
    told = [str(element.value) for item in annotations for element in item.iterall() if element.VR not in ("UI", "SQ")]
    told += [state.ContentDescription]
    assert not any(word in text for text in told for word in ("Odd", "Name", "4711", "1960"))
