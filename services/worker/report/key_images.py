"""Key images: one colour Secondary Capture per lesion (PS3.3 A.8.1), which every viewer can show.

Single frames, not one multi-frame object: that is what the oldest viewers know. BurnedInAnnotation is NO, for what is
burnt in tells neither patient nor date; `picture.py` is given no header to take them from.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from services.backends.image_header import readable, tell_body_part
from services.triage.lesion import Lesion
from services.worker.report import codes
from services.worker.report.colours import colour_of
from services.worker.report.marked import Marked
from services.worker.report.picture import KeySlice, Tag, draw
from services.worker.report.planes import planes_of
from services.worker.report.series import Kind, instance_of, new_series
from services.worker.report.text import picture_caption, picture_footer
from services.worker.report.windows import Window, key_image_window

LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
# A direction counts as lying along an axis of the patient from this cosine on.
LEAST_COSINE = 0.1


def write_key_images(marked: Marked) -> list[Dataset]:
    """One image per lesion, in the order of the lesions; Instance Number is the lesion's place in that order."""
    series = new_series(Kind.SC, marked.model, marked.headers[0], marked.now)
    return [
        _capture(marked, lesion, instance_of(series, number))
        for number, lesion in enumerate(marked.finding.lesions, start=1)
    ]


def _capture(marked: Marked, lesion: Lesion, series: dict[str, Any]) -> Dataset:
    planes = planes_of(marked.volume, [lesion.key_slice], marked.headers)
    (stand_in,) = planes.stand_ins
    referring_physician, stand_in.ReferringPhysicianName = stand_in.ReferringPhysicianName, ""  # else it is printed
    header = marked.header_of(lesion.key_slice)
    window = key_image_window(marked.model, marked.volume, lesion.key_slice, header)
    right, down = _letters(marked.volume.affine[:3, 2]), _letters(marked.volume.affine[:3, 1])
    capture = SCImage.from_ref_dataset(
        ref_dataset=stand_in,
        pixel_array=draw(_key_slice(marked, lesion, window, (right, down), header)),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=(right[0], down[0]),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **series,
    )
    stand_in.ReferringPhysicianName = referring_physician
    capture.copy_patient_and_study_information(stand_in)
    capture.PatientOrientation = [right, down]
    tell_body_part(capture, header)
    capture.ConversionType = "WSD"
    capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = series["content_date"], series["content_time"]
    capture.BurnedInAnnotation = "NO"
    capture.ImageComments = f"{lesion.label}, not for diagnosis"
    capture.DerivationDescription = f"Key slice of a lesion with its outline, window {_told(window, marked)}"
    capture.SourceImageSequence = [_source(item, marked, lesion) for item in planes.references()]
    for keyword in LOSSY:  # once lossy, always lossy (PS3.3 C.7.6.1.1.5)
        if (element := readable(header, keyword)) and element.value:
            capture.add(element)
    return capture


def _source(reference: Dataset, marked: Marked, lesion: Lesion) -> Dataset:
    frame = marked.volume.sources[lesion.key_slice].frame_number
    if frame is not None:
        reference.ReferencedFrameNumber = frame
    reference.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.PROCESSED_IMAGE)]
    return reference


def _key_slice(
    marked: Marked, lesion: Lesion, window: Window, directions: tuple[str, str], header: Dataset
) -> KeySlice:
    """The slice and what is written on it. Of the header it takes the numbers that a viewer shows, nothing else."""
    finding, index = marked.finding, lesion.key_slice
    labels = marked.label_map[index]
    shown = [other for other in finding.lesions if other is not lesion and (labels == other.number).any()]
    grey = window.grey(marked.volume.voxels[index])
    inverted = header.get("PhotometricInterpretation") == "MONOCHROME1"
    _, row_mm, column_mm = marked.volume.spacing_mm
    return KeySlice(
        grey=_inverse(grey) if inverted else grey,
        labels=labels,
        spacing_mm=(row_mm, column_mm),
        directions=directions,
        tags=[Tag(value=each.number, text=each.label, colour=colour_of(each)) for each in (lesion, *shown)],
        caption=picture_caption(lesion, finding, _where(marked, index, header)),
        footer=picture_footer(marked.model, f"Window {_told(window, marked)}"),
    )


def _inverse(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(255 - grey, dtype=np.uint8)


def _where(marked: Marked, index: int, header: Dataset) -> str:
    """Where a reader finds the slice: series and image number as a viewer shows them, or the frame's."""
    frame = marked.volume.sources[index].frame_number
    numbers = [("Series", header.get("SeriesNumber")), ("image", header.get("InstanceNumber")), ("frame", frame)]
    told = [f"{word} {int(number)}" for word, number in numbers if str(number).isdecimal()]
    place = ", ".join(told)
    return place[:1].upper() + place[1:] or f"Slice {index + 1} of {len(marked.volume.sources)}"


def _told(window: Window, marked: Marked) -> str:
    unit = " HU" if marked.volume.modality == "CT" else ""
    return f"{window.centre:.0f} / {window.width:.0f}{unit}"


def _letters(direction: npt.NDArray[np.float64]) -> str:
    """The direction of a step as PS3.3 C.7.6.1.1.1 tells it in LPS: the axis that it follows most closely first."""
    cosines = direction / np.linalg.norm(direction)
    order = np.argsort(-np.abs(cosines), kind="stable")
    return "".join(
        "LPH"[axis] if cosines[axis] > 0 else "RAF"[axis] for axis in order if abs(cosines[axis]) >= LEAST_COSINE
    )
