"""Segmentation of the lesions, one segment per lesion: BINARY (PS3.3 A.51) or a label map (A.94, Supplement 243)."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from services import __version__
from services.triage.completeness import OWN_MANUFACTURER
from services.triage.finding import Finding
from services.triage.inference import Inference
from services.triage.lesion import Lesion
from services.triage.model import Model
from services.triage.result import ObjectKind
from services.triage.volume import Volume
from services.worker.report import codes
from services.worker.report.colours import colour_of
from services.worker.report.planes import planes_of, referenced_series
from services.worker.report.series import LONG_STRING, Kind, new_series
from services.worker.report.text import segment_label

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def write_seg(
    finding: Finding,
    *,
    model: Model,
    headers: Sequence[Dataset],
    volume: Volume,
    label_map: Labels,
    now: datetime,
    form: ObjectKind = ObjectKind.SEG,
    further_headers: Sequence[Dataset] = (),
    inference: Inference | None = None,
) -> Segmentation:
    """The lesions of a finding as segments of the same numbers; there must be at least one.

    headers: of the analysed series, classic or multi-frame. label_map: [slice, row, column], value n is lesion n;
    every lesion has voxels. Only slices with content are written. form: SEG, or LABELMAP; both in the series that is
    documented for a Segmentation, for nobody is sent both. further_headers: of the other series that the model looked
    at; they are referred to (Common Instance Reference, PS3.3 C.12.2), but lend no geometry.
    """
    filled = [index for index, plane in enumerate(label_map) if plane.any()]
    # a view, not a copy of the filled slices: highdicom leaves out the empty ones between them itself
    first, end = filled[0], filled[-1] + 1
    planes = planes_of(volume, range(first, end), headers)
    seg = Segmentation(
        source_images=planes.stand_ins,
        pixel_array=label_map[first:end],
        segmentation_type="LABELMAP" if form is ObjectKind.LABELMAP else "BINARY",
        segment_descriptions=[_segment(lesion, finding, model, inference) for lesion in finding.lesions],
        content_label="LESIONS",
        content_description=f"{model.identity.name} {model.identity.version}"[:LONG_STRING],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **new_series(Kind.SEG, model, planes.stand_ins[0], now),
    )
    planes.of(volume.sources[index] for index in filled).restore_references(seg)
    seg.ReferencedSeriesSequence.extend(referenced_series(further_headers))
    return seg


def _segment(lesion: Lesion, finding: Finding, model: Model, inference: Inference | None) -> SegmentDescription:
    parameters = {"weights_sha256": model.identity.weights_sha256, "vigie": __version__}
    if inference is not None:
        parameters["inference"] = str(inference)
    return SegmentDescription(
        segment_number=lesion.number,
        segment_label=segment_label(lesion, calibrated=finding.calibrated),
        segmented_property_category=codes.category_of(lesion, model),
        segmented_property_type=codes.type_of(lesion, model),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=model.identity.name,
            version=model.identity.version,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            source=OWN_MANUFACTURER,
            parameters=parameters,
        ),
        tracking_uid=lesion.tracking_uid,
        tracking_id=lesion.label,
        anatomic_regions=[codes.site_of(lesion, model)],
        display_color=CIELabColor.from_rgb(*colour_of(lesion)),
    )
