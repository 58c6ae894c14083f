"""One finding as BINARY Segmentation, as label map and in neither form, and the report that goes with each."""

from copy import deepcopy
from io import BytesIO

import numpy as np
import pytest
from highdicom.seg import segread
from pydicom import Dataset, dcmread

from services.triage.result import LABEL_MAP_STORAGE, ObjectKind
from services.worker.report import reidentify, write_report
from tests.support.ct import ct_series
from tests.support.lesion_case import a_model, finding_of, volume_of_series, with_balls
from tests.support.multi_frame import multi_frame
from tests.support.reports import EVERY_FORM, NOW, read, values

SEG = "1.2.840.10008.5.1.4.1.1.66.4"


def case(scores=(0.93, 0.61)):
    series = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(series)
    finding, labels = with_balls(volume, scores)
    return finding, {"model": a_model(), "headers": series, "volume": volume, "label_map": labels, "now": NOW}


def named_segmentations(report: Dataset) -> set[str]:
    """SOP Instance UIDs of the Segmentations that a report refers to, anywhere."""
    return {
        item.ReferencedSOPInstanceUID for item in _references(report) if item.ReferencedSOPClassUID.startswith(SEG[:-1])
    }


def _references(data_set: Dataset):
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                yield from _references(item)
    if "ReferencedSOPInstanceUID" in data_set:
        yield data_set


def test_one_report_refers_to_the_binary_segments_and_the_other_to_none():
    finding, arguments = case()
    objects = write_report(finding, **arguments, segmentations=EVERY_FORM)
    binary, on_binary, label_map, alone = map(read, objects)
    assert (binary.SOPClassUID, label_map.SOPClassUID) == (SEG, LABEL_MAP_STORAGE)
    assert named_segmentations(on_binary) == {binary.SOPInstanceUID}
    assert named_segmentations(alone) == set()
    # by these a viewer finds the segment of a lesion in a label map
    assert values(alone, "112040") == [segment.TrackingUID for segment in label_map.SegmentSequence[1:]]
    assert [each.names for each in objects] == [None, ObjectKind.SEG, None, None]


def test_a_label_map_has_the_voxels_and_the_segments_of_the_binary_form():
    finding, arguments = case((0.93, 0.61, 0.4))
    objects = write_report(finding, **arguments, segmentations=EVERY_FORM)
    binary, label_map = (segread(BytesIO(objects[index].content)) for index in (0, 2))
    by_position = {float(each.ImagePositionPatient[2]): index for index, each in enumerate(arguments["headers"])}
    labels = np.zeros_like(arguments["label_map"])
    for frame, plane in zip(label_map.PerFrameFunctionalGroupsSequence, label_map.pixel_array, strict=True):
        labels[by_position[float(frame.PlanePositionSequence[0].ImagePositionPatient[2])]] = plane
    np.testing.assert_array_equal(labels, arguments["label_map"])
    assert label_map.NumberOfFrames == sum(plane.any() for plane in labels)
    background, *segments = label_map.SegmentSequence
    assert (background.SegmentNumber, background.SegmentLabel) == (0, "Background")
    assert segments == list(binary.SegmentSequence)
    assert label_map.SegmentsOverlap == "NO"
    assert (label_map.SeriesNumber, label_map.SeriesDescription) == (binary.SeriesNumber, binary.SeriesDescription)


def test_a_label_map_of_a_multi_frame_source_refers_to_its_frames():
    series = ct_series(slices=9, rows=32, columns=28)
    source, volume = multi_frame(series)
    finding, labels = with_balls(volume, (0.93,))
    objects = write_report(
        finding, model=a_model(), headers=[source], volume=volume, label_map=labels, now=NOW, segmentations=EVERY_FORM
    )
    frames = read(objects[2]).PerFrameFunctionalGroupsSequence
    sources = [frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in frames]
    assert {each.ReferencedSOPInstanceUID for each in sources} == {source.SOPInstanceUID}
    filled = {volume.sources[index].frame_number for index, plane in enumerate(labels) if plane.any()}
    assert {each.ReferencedFrameNumber for each in sources} == filled


def predecessors(report: Dataset) -> set[str]:
    return {item.ReferencedSOPInstanceUID for item in _references(report.PredecessorDocumentsSequence[0])}


@pytest.mark.parametrize("earlier_forms", [EVERY_FORM, (ObjectKind.SEG,)])
def test_a_report_replaces_the_one_that_went_where_it_goes(earlier_forms):
    finding, arguments = case()
    before = [read(each) for each in write_report(finding, **arguments, segmentations=earlier_forms)]
    reports = [each for each in before if each.Modality == "SR"]
    again = [read(each) for each in write_report(finding, **arguments, segmentations=EVERY_FORM, predecessors=reports)]
    replaced = [predecessors(each) for each in again if each.Modality == "SR"]
    assert replaced == [{reports[index % len(reports)].SOPInstanceUID} for index in range(2)]


def test_nothing_found_replaces_every_report_of_what_was_found():
    finding, arguments = case()
    reports = [read(each) for each in write_report(finding, **arguments, segmentations=EVERY_FORM)][1::2]
    nothing, _ = finding_of("nothing_found", arguments["volume"])
    (now_nothing,) = write_report(nothing, **arguments, segmentations=EVERY_FORM, predecessors=reports)
    assert predecessors(read(now_nothing)) == {each.SOPInstanceUID for each in reports}


def test_every_form_is_written_again_under_another_identity():
    finding, arguments = case()
    old = [dcmread(BytesIO(each.content)) for each in write_report(finding, **arguments, segmentations=EVERY_FORM)]
    reports = [deepcopy(each) for each in old if each.Modality == "SR"]
    before = [each.SOPInstanceUID for each in reports]
    header = arguments["headers"][0]
    header.PatientID = "CORRECTED"
    again = reidentify(old, header=header, predecessors=reports, now=NOW)
    assert [each.names for each in again] == [None, ObjectKind.SEG, None, None]
    binary, on_binary, _, alone = map(read, again)
    assert named_segmentations(on_binary) == {binary.SOPInstanceUID}
    assert [predecessors(each) for each in (on_binary, alone)] == [{uid} for uid in before]
