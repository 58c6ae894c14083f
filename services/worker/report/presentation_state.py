"""Presentation states: outlines and labels over the source images (PS3.3 A.33.1), for viewers that cannot show SEG."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom import ModalityLUTTransformation
from highdicom.color import CIELabColor
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
    TextObject,
)
from pydicom import Dataset

from services.backends.image_header import tell_body_part
from services.triage.lesion import Lesion
from services.worker.report.colours import colour_of
from services.worker.report.layout import Box, box_of, place
from services.worker.report.marked import Marked
from services.worker.report.outlines import outlines
from services.worker.report.planes import Planes, attribute_of, planes_of
from services.worker.report.series import LONG_STRING, Kind, instance_of, new_series
from services.worker.report.text import segment_label
from services.worker.report.windows import state_window

# Explicit VR counts the bytes of FL in 16 bits: 8,191 points at most (PS3.5 7.1.2). A longer line is drawn in pieces.
MOST_POINTS = 8000
# Viewers write text in a size of their own; this much room is kept for it: lines of 1/30 of the image's height.
LINES_IN_IMAGE = 30
LETTER_ASPECT = 0.5
WHITE = 0xFFFF

ModalityLUT = tuple[float, float, str]


def write_presentation_states(marked: Marked) -> list[Dataset]:
    """One state over the whole series; more only where slices have different modality LUTs, of which a state holds one.

    Then each state is for the slices of its LUT, and there is none for slices without a lesion.
    """
    touched = set(np.flatnonzero((marked.label_map > 0).any(axis=(1, 2))).tolist())
    groups: dict[ModalityLUT | None, list[int]] = {}
    for index in range(len(marked.volume.sources)):
        groups.setdefault(_modality_lut(marked, index), []).append(index)
    kept = [(lut, indices) for lut, indices in groups.items() if touched.intersection(indices)]
    series = new_series(Kind.GSPS, marked.model, marked.headers[0], marked.now)
    return [_state(marked, lut, indices, instance_of(series, n)) for n, (lut, indices) in enumerate(kept, start=1)]


def _modality_lut(marked: Marked, index: int) -> ModalityLUT | None:
    """Slope, intercept and unit of a slice; None where its stored values are its values."""
    header, source = marked.header_of(index), marked.volume.sources[index]
    slope, intercept, unit = (
        attribute_of(header, source, "PixelValueTransformationSequence", keyword)
        for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType")
    )
    if slope in (None, "") or intercept in (None, ""):
        return None
    return float(str(slope)), float(str(intercept)), str(unit or ("HU" if marked.volume.modality == "CT" else "US"))


def _state(marked: Marked, lut: ModalityLUT | None, indices: Sequence[int], series: dict[str, Any]) -> Dataset:
    planes = planes_of(marked.volume, indices, marked.headers)
    by_slice = dict(zip(indices, planes.stand_ins, strict=True))
    for stand_in in planes.stand_ins:
        stand_in.SamplesPerPixel = 1
    layers = {
        lesion.number: _layer(lesion, order)
        for order, lesion in enumerate(marked.finding.lesions, start=1)
        if any(index in by_slice for index in marked.slices_of(lesion))
    }
    date, time = series.pop("content_date"), series.pop("content_time")  # this IOD has its own for both
    model = marked.model.identity
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=planes.stand_ins,
        content_label="LESIONS",
        content_description=f"{model.name} {model.version}, not for diagnosis"[:LONG_STRING],
        graphic_layers=list(layers.values()),
        graphic_annotations=list(_annotations(marked, by_slice, layers)),
        modality_lut_transformation=ModalityLUTTransformation(*_as_arguments(lut)) if lut else None,
        voi_lut_transformations=[_window(marked, indices)],
        **series,
    )
    state.PresentationCreationDate, state.PresentationCreationTime = date, time
    tell_body_part(state, marked.header_of(indices[0]))
    _show_as_the_source(state, marked, indices[0])
    _refer_to_the_source(state, planes, marked)
    return state


def _as_arguments(lut: ModalityLUT) -> tuple[float, float, str]:
    slope, intercept, unit = lut
    return intercept, slope, unit


def _layer(lesion: Lesion, order: int) -> GraphicLayer:
    layer = GraphicLayer(
        layer_name=f"LESION {lesion.number}",
        order=order,
        description=lesion.label,
        display_color=CIELabColor.from_rgb(*colour_of(lesion)),
    )
    layer.GraphicLayerRecommendedDisplayGrayscaleValue = WHITE
    return layer


def _annotations(
    marked: Marked, by_slice: dict[int, Dataset], layers: dict[int, GraphicLayer]
) -> Iterator[GraphicAnnotation]:
    """By lesion, then by slice: outline and name; on the key slice also the score, with its caveat."""
    taken: dict[int, list[Box]] = {}
    for lesion in marked.finding.lesions:
        for index in marked.slices_of(lesion):
            if index not in by_slice:
                continue
            mask = marked.label_map[index] == lesion.number
            yield GraphicAnnotation(
                referenced_images=[by_slice[index]],
                graphic_layer=layers[lesion.number],
                graphic_objects=[_graphic(line, lesion) for line in _lines(mask)],
                text_objects=_texts(lesion, index, marked, taken.setdefault(index, [])),
            )


def _lines(mask: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.float64]]:
    for line in outlines(mask):
        for start in range(0, len(line) - 1, MOST_POINTS - 1):
            yield line[start : start + MOST_POINTS]


def _graphic(line: npt.NDArray[np.float64], lesion: Lesion) -> GraphicObject:
    return GraphicObject(
        graphic_type="POLYLINE",
        graphic_data=line,
        units="PIXEL",
        tracking_id=lesion.label,
        tracking_uid=lesion.tracking_uid,
    )


def _texts(lesion: Lesion, index: int, marked: Marked, taken: list[Box]) -> list[TextObject]:
    """The name beside the lesion. The score is too long to stand there without hiding anatomy: it is at an edge.

    taken: where this slice has names already; the new one is added.
    """
    rows, columns = marked.volume.voxels.shape[1:]
    line, letter = _line_and_letter(marked)
    edges = _edges(index, marked)
    plane = marked.label_map[index]
    others = [box_of(plane == number) for number in np.unique(plane[plane > 0]) if number != lesion.number]
    size = (min(letter * len(lesion.label), columns), line)
    named, gap = box_of(plane == lesion.number), (letter / 2, line / 4)
    box = place(size, named, within=(columns, rows), taken=[*others, *edges.values(), *taken], gap=gap)
    taken.append(box)
    texts = [_text(lesion.label, box, lesion, justification="LEFT", named=named)]
    if lesion.number in edges:
        label = segment_label(lesion, calibrated=marked.finding.calibrated)
        texts.append(_text(label, edges[lesion.number], lesion, justification="CENTER"))
    return texts


def _line_and_letter(marked: Marked) -> tuple[float, float]:
    """Height of a line in rows, width of a letter in columns; their proportion is that of their lengths in mm."""
    rows = marked.volume.voxels.shape[1]
    _, row_mm, column_mm = marked.volume.spacing_mm
    line = rows / LINES_IN_IMAGE
    return line, line * row_mm * LETTER_ASPECT / column_mm


def _edges(index: int, marked: Marked) -> dict[int, Box]:
    """Where scores stand on a slice, by lesion number: lines at the lower edge, or at the upper where it is free."""
    rows, columns = marked.volume.voxels.shape[1:]
    line, _ = _line_and_letter(marked)
    numbers = [lesion.number for lesion in marked.finding.lesions if lesion.key_slice == index]
    depth = min(line * len(numbers), rows)
    with_lesion = marked.label_map[index].any(axis=1)
    low_is_taken, high_is_taken = with_lesion[int(rows - depth) :].any(), with_lesion[: int(np.ceil(depth))].any()
    first = 0.0 if low_is_taken and not high_is_taken else rows - depth
    tops = {number: min(first + line * place, rows - line) for place, number in enumerate(numbers)}
    return {number: Box(left=0, top=top, right=columns, bottom=top + line) for number, top in tops.items()}


def _text(text: str, box: Box, lesion: Lesion, *, justification: str, named: Box | None = None) -> TextObject:
    """Text in a box of pixels as (column, row), and as its anchor the nearest place on the box of what is named."""
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    anchor = (min(max(x, named.left), named.right), min(max(y, named.top), named.bottom)) if named else None
    return TextObject(
        text_value=text,
        units="PIXEL",
        bounding_box=(box.left, box.top, box.right, box.bottom),
        text_justification=justification,
        anchor_point=anchor,
        anchor_point_visible=False,
        tracking_id=lesion.label,
        tracking_uid=lesion.tracking_uid,
    )


def _window(marked: Marked, indices: Sequence[int]) -> SoftcopyVOILUTTransformation:
    """The window of the first key slice among those of the state: one for all, so that scrolling does not flicker."""
    index = next((index for index in marked.key_slices if index in indices), indices[0])
    window = state_window(marked.model, marked.volume, index, marked.header_of(index))
    return SoftcopyVOILUTTransformation(
        window_center=window.centre, window_width=window.width, voi_lut_function=window.function
    )


def _show_as_the_source(state: Dataset, marked: Marked, index: int) -> None:
    """The whole image in its true proportions, dark and light as in the source."""
    (area,) = state.DisplayedAreaSelectionSequence
    _, row_mm, column_mm = marked.volume.spacing_mm
    # highdicom takes every pixel for a square, and coordinates for those of a whole slide
    del area.PresentationPixelAspectRatio, area.PixelOriginInterpretation
    area.PresentationPixelSpacing = [round(row_mm, 10), round(column_mm, 10)]
    if marked.header_of(index).get("PhotometricInterpretation") == "MONOCHROME1":
        state.PresentationLUTShape = "INVERSE"


def _refer_to_the_source(state: Dataset, planes: Planes, marked: Marked) -> None:
    for annotation in state.GraphicAnnotationSequence:
        for reference in annotation.ReferencedImageSequence:
            planes.restore(reference)
    references = planes.references()
    frames_of = {header.SOPInstanceUID: int(header.get("NumberOfFrames") or 1) for header in marked.headers}
    for reference in references:
        uid = reference.ReferencedSOPInstanceUID
        frames = sorted(s.frame_number for s in planes.sources.values() if s.sop_instance_uid == uid and s.frame_number)
        if frames and len(frames) < frames_of[uid]:
            reference.ReferencedFrameNumber = frames
    state.ReferencedSeriesSequence[0].ReferencedImageSequence = references
