"""The measurement groups of a report: TID 1411 per lesion, or one TID 1501 for the exam where there is none."""

from collections.abc import Sequence

import numpy as np
from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    CoordinatesForMeasurement,
    FindingSite,
    GraphicTypeValues,
    ImageContentItem,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceImageForRegion,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from services.triage.finding import Finding
from services.triage.lesion import Lesion
from services.triage.model import Model
from services.triage.uncertainty import Spread
from services.triage.volume import SliceSource, Volume
from services.worker.report import codes

# What is written: finer than any scanner measures, and short enough to be read.
DECIMALS = {codes.MM: 2, codes.MM3: 1, codes.HOUNSFIELD: 1, codes.PERCENT: 2}


def lesion_groups(
    finding: Finding, model: Model, volume: Volume, seg: Segmentation
) -> list[VolumetricROIMeasurementsAndQualitativeEvaluations]:
    """One group per lesion, with the tracking identifiers of its segment."""
    return [_lesion_group(lesion, model, volume, seg) for lesion in finding.lesions]


def exam_group(finding: Finding, model: Model) -> MeasurementsAndQualitativeEvaluations:
    """The exam as a whole, when there is no lesion to measure; with the score if the model has looked.

    The finding that the score is for is a lesion, and it is absent; with no score the finding is undetermined.
    """
    looked = finding.score is not None
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(prefix=None), identifier="Exam"),
        finding_type=codes.LESION if looked else codes.UNDETERMINED,
        finding_sites=[FindingSite(codes.of_model(model.anatomic_region))],
        algorithm_id=_algorithm(model),
        measurements=_certainty(finding.score, _spread_of(finding), model) if finding.score is not None else None,
        qualitative_evaluations=[QualitativeEvaluation(codes.LESION, codes.ABSENT)] if looked else None,
    )


def line_groups(finding: Finding, model: Model, volume: Volume) -> list[MeasurementsAndQualitativeEvaluations]:
    """One TID 1501 per lesion: its long axis as a line on the key slice, and what the other report says of it."""
    return [
        MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(uid=lesion.tracking_uid, identifier=lesion.label),
            finding_type=codes.type_of(lesion, model),
            finding_sites=[FindingSite(codes.site_of(lesion, model))],
            measurements=_measurements(lesion, model, volume, line=_long_axis_line(lesion, volume)),
        )
        for lesion in finding.lesions
    ]


def _lesion_group(
    lesion: Lesion, model: Model, volume: Volume, seg: Segmentation
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    source_series = SourceSeriesForSegmentation(volume.series_instance_uid)
    # PixelMed compares meanings, and highdicom capitalises this one
    source_series.ConceptNameCodeSequence = [CodedConcept.from_code(codes.SOURCE_SERIES)]
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=lesion.tracking_uid, identifier=lesion.label),
        finding_type=codes.type_of(lesion, model),
        finding_sites=[FindingSite(codes.site_of(lesion, model))],
        referenced_segment=ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=lesion.number,
            source_series=source_series,
        ),
        measurements=_measurements(lesion, model, volume),
    )
    group[0].ContentSequence.append(_key_image(volume.sources[lesion.key_slice]))
    return group


def _measurements(
    lesion: Lesion, model: Model, volume: Volume, *, line: CoordinatesForMeasurement | None = None
) -> list[Measurement]:
    measurements = [
        _measurement(codes.VOLUME, lesion.volume_ml * 1000, codes.MM3, model),
        _measurement(codes.LONG_AXIS, lesion.long_axis_mm, codes.MM, model, line=line),
        _measurement(codes.SHORT_AXIS, lesion.short_axis_mm, codes.MM, model),
    ]
    if volume.modality == "CT":
        measurements.append(
            _measurement(codes.ATTENUATION, lesion.mean_intensity, codes.HOUNSFIELD, model, derivation=codes.MEAN)
        )
    return [*measurements, *_certainty(lesion.score, lesion.spread, model)]


def _spread_of(finding: Finding) -> Spread | None:
    return finding.uncertainty.spread if finding.uncertainty else None


def _certainty(score: float, spread: Spread | None, model: Model) -> list[Measurement]:
    """The algorithm's own score in percent: no probability (docs/decisions); then its least and greatest over the runs.

    These, and not their standard deviation: whoever looks past the modifier still reads a score of this lesion.
    """
    told = [_measurement(codes.CERTAINTY, score * 100, codes.PERCENT, model)]
    if spread is not None:
        parameters = (f"uncertainty flips, {spread.runs} runs",)
        ends = ((codes.MINIMUM, spread.lowest), (codes.MAXIMUM, spread.highest))
        told += [
            _measurement(codes.CERTAINTY, end * 100, codes.PERCENT, model, derivation=derivation, parameters=parameters)
            for derivation, end in ends
        ]
    return told


def _measurement(
    name: Code,
    value: float,
    unit: Code,
    model: Model,
    *,
    derivation: Code | None = None,
    line: CoordinatesForMeasurement | None = None,
    parameters: Sequence[str] = (),
) -> Measurement:
    return Measurement(
        name=name,
        value=round(value, DECIMALS[unit]),
        unit=unit,
        derivation=derivation,
        referenced_coordinates=[line] if line is not None else None,
        algorithm_id=_algorithm(model, parameters),
    )


def _long_axis_line(lesion: Lesion, volume: Volume) -> CoordinatesForMeasurement:
    """Both ends as (column, row); 0.5 is the centre of the first pixel (PS3.3 C.18.6.1.2), where our indices say 0."""
    source = volume.sources[lesion.key_slice]
    return CoordinatesForMeasurement(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.array([[column + 0.5, row + 0.5] for _, row, column in lesion.long_axis_ends]),
        source_image=SourceImageForRegion(
            referenced_sop_class_uid=source.sop_class_uid,
            referenced_sop_instance_uid=source.sop_instance_uid,
            referenced_frame_numbers=[source.frame_number] if source.frame_number is not None else None,
        ),
    )


def _algorithm(model: Model, parameters: Sequence[str] = ()) -> AlgorithmIdentification:
    identity = model.identity
    return AlgorithmIdentification(name=identity.name, version=identity.version, parameters=list(parameters) or None)


def _key_image(source: SliceSource) -> ImageContentItem:
    """The slice of the long axis, to which a viewer jumps."""
    return ImageContentItem(
        name=codes.ILLUSTRATION,
        referenced_sop_class_uid=source.sop_class_uid,
        referenced_sop_instance_uid=source.sop_instance_uid,
        referenced_frame_numbers=source.frame_number,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
