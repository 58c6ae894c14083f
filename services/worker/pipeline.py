"""The worker's story in one screen: load, segment, find, assess, report. What comes out is ready to be frozen."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services import tracing
from services.backends.image_header import PathOf, ReadHeader, header_of, read_header, read_headers
from services.triage.completeness import is_routable
from services.triage.errors import AnalysisFailed, ModelRefused, NotAnalysed, Reason
from services.triage.expectation import judge
from services.triage.finding import Finding, Outcome, assess, without_analysis
from services.triage.identity import two_patients
from services.triage.inference import Inference
from services.triage.inputs import with_inputs
from services.triage.job import Job
from services.triage.model import Model
from services.triage.organ import NO_TUMOUR_CLASS
from services.triage.ports import Segmenter
from services.triage.result import ObjectKind, Result, ResultObject
from services.triage.retention import IMAGES_GONE
from services.triage.study import Instance, by_series
from services.triage.switch import MODEL_SWITCHED_OFF, is_off
from services.triage.tracking import keep_identities
from services.triage.volume import MAX_VOXELS, Segmentation, Volume
from services.worker.lesions import find_candidates, uncertainty_of
from services.worker.load import load_volume
from services.worker.load.registered import on_one_grid
from services.worker.measure import observe
from services.worker.organs import organs_in
from services.worker.report import write_report

Progress = Callable[[str], None]
LabelMap = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def analyse(
    job: Job,
    model: Model,
    *,
    path_of: PathOf,
    predecessors: Sequence[Path] = (),
    segmenter: Segmenter,
    max_volume_voxels: int = MAX_VOXELS,
    segmentations: Sequence[ObjectKind | None] = (ObjectKind.SEG,),
    fallbacks: Collection[ObjectKind] = (),
    now: datetime,
    progress: Progress,
    cancelled: Callable[[], bool] | None = None,
) -> Result:
    """Analyse one job.

    `path_of` maps an instance's digest to its file; `predecessors` are the files of `job.predecessors`; `progress`
    hears each stage as it begins; `cancelled`: see `Segmenter.segment`; `segmentations`, `fallbacks`: see
    `write_report`.
    A job that cannot be analysed, or whose analysis breaks in a known way, gives a result that says so.
    Raises SegmenterUnavailable, AnalysisCancelled, and whatever nobody foresaw: the caller decides on a retry.
    """
    stage = Stopwatch(progress)
    job = completed(job, model)
    read = cache(read_header)  # loading and the report want the same
    seen = look(job, model, stage, path_of, segmenter, max_volume_voxels, cancelled, read)
    with stage("report"):
        written = segmentations, fallbacks
        looked = seen.volume, seen.label_map, seen.inference
        objects = _report(job, model, seen.finding, path_of, predecessors, now, *looked, *written, read=read)
    return Result(
        model=model.identity,
        series_instance_uid=job.plan.series_instance_uid,
        finding=seen.finding,
        objects=objects,
        timings_s=stage.timings_s,
        peak_memory_mb=seen.peak_memory_mb,
        inference=seen.inference,
    )


def completed(job: Job, model: Model) -> Job:
    """With the further series that the model looks at, or the reason why it cannot."""
    return replace(job, plan=with_inputs(job.plan, by_series(job.instances), model.inputs))


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a model says of a job's images. label_map: of the finding's lesions, [slice, row, column]."""

    finding: Finding
    volume: Volume | None = None
    label_map: LabelMap | None = None
    peak_memory_mb: float | None = None
    inference: Inference | None = None


def look(
    job: Job,
    model: Model,
    stage: "Stopwatch",
    path_of: PathOf,
    segmenter: Segmenter,
    max_volume_voxels: int,
    cancelled: Callable[[], bool] | None,
    read: ReadHeader = read_header,
) -> Look:
    """Load, segment, find, assess, of a job that is `completed`; see `analyse`."""
    volume: Volume | None = None
    try:
        with stage("load"):
            volume = loaded(job, model, path_of, max_volume_voxels, read)
            cautions = cautions_of(job, model, volume)
        with stage("segment"):
            segmentation = segmenter.segment(volume, model, cancelled=cancelled)
        with stage("find"):
            finding, label_map = _find(segmentation, volume, model, job)
            finding = replace(finding, cautions=cautions)
        stage.add(segmentation.timings_s)
    except NotAnalysed as refusal:
        return Look(finding=without_analysis(Outcome.NOT_ANALYSED, refusal.reason), volume=volume)
    except (AnalysisFailed, ModelRefused) as failure:
        return Look(finding=without_analysis(Outcome.FAILED, failure.reason), volume=volume)
    return Look(
        finding=finding,
        volume=volume,
        label_map=label_map,
        peak_memory_mb=segmentation.peak_memory_mb,
        inference=segmentation.inference,
    )


def failed_result(
    job: Job, model: Model, reason: Reason, *, path_of: PathOf, predecessors: Sequence[Path] = (), now: datetime
) -> Result:
    """The result of a job that was given up: it says so, it is not silent."""
    finding = without_analysis(Outcome.FAILED, reason)
    return Result(
        model=model.identity,
        series_instance_uid=job.plan.series_instance_uid,
        finding=finding,
        objects=_report(job, model, finding, path_of, predecessors, now),
        timings_s={},
    )


def loaded(job: Job, model: Model, path_of: PathOf, max_voxels: int, read: ReadHeader = read_header) -> Volume:
    """The images of a job that is `completed`, on one grid. Raises NotAnalysed."""
    if is_off(model.identity.version, job.switched_off):
        raise NotAnalysed(MODEL_SWITCHED_OFF.code, MODEL_SWITCHED_OFF.text)
    if job.plan.refusal is not None:
        raise NotAnalysed(job.plan.refusal.code, job.plan.refusal.text)
    try:
        volume = load_volume(_paths(images_of(job), path_of), max_voxels=max_voxels, read=read)
        further = {
            uid: load_volume(_paths(images_of(job, uid), path_of), max_voxels=max_voxels, read=read)
            for uid in job.plan.input_series
            if uid != job.plan.series_instance_uid
        }
    except FileNotFoundError as error:
        raise NotAnalysed(IMAGES_GONE.code, IMAGES_GONE.text) from error
    slices = volume.voxels.shape[0]
    if slices < model.min_slices:
        raise NotAnalysed("too_few_slices", f"{slices} slices, and {model.identity.name} needs {model.min_slices}")
    return on_one_grid(volume, [further.get(uid) for uid in job.plan.input_series])


def _paths(images: Mapping[str, Instance], path_of: PathOf) -> list[Path]:
    return [path_of(one.digest) for one in images.values()]


def cautions_of(job: Job, model: Model, volume: Volume) -> tuple[Reason, ...]:
    """Cautions. Raises NotAnalysed: what the volume shows is far from what the model was made for."""
    if not model.expects:
        return ()
    header = next(iter(images_of(job).values())).header
    return judge(model.expects, observe(volume, header), model_name=model.identity.name)


def _find(segmentation: Segmentation, volume: Volume, model: Model, job: Job) -> tuple[Finding, LabelMap | None]:
    """What was found, and its label map. A model without a tumour class finds organs, and never "nothing"."""
    candidates = find_candidates(segmentation, volume, model)
    organs = organs_in(segmentation.labels, volume, model)
    if not model.tumour_values:
        return replace(without_analysis(Outcome.NOT_ANALYSED, NO_TUMOUR_CLASS), organs=organs), None
    finding = assess(candidates.lesions, model.thresholds, calibrated=model.calibrated)
    label_map = candidates.label_map_of(finding.lesions)
    lesions = keep_identities(finding.lesions, job.earlier_lesions)
    uncertainty = uncertainty_of(segmentation, candidates.lesions)
    return replace(finding, lesions=lesions, uncertainty=uncertainty, organs=organs), label_map


def _report(
    job: Job,
    model: Model,
    finding: Finding,
    path_of: PathOf,
    predecessors: Sequence[Path],
    now: datetime,
    volume: Volume | None = None,
    label_map: LabelMap | None = None,
    inference: Inference | None = None,
    segmentations: Sequence[ObjectKind | None] = (ObjectKind.SEG,),
    fallbacks: Collection[ObjectKind] = (),
    *,
    read: ReadHeader = read_header,
) -> tuple[ResultObject, ...]:
    if two_patients(job.instances) is not None:
        return ()  # whoever it named, it would enter one patient's record and speak of the other's images
    images = images_of(job)
    uids = list(dict.fromkeys(source.sop_instance_uid for source in volume.sources)) if volume else list(images)
    chosen = job.plan.series_instance_uid
    further = [images_of(job, uid).values() for uid in job.plan.input_series if uid != chosen]
    return write_report(
        finding,
        model=model,
        headers=[header_of(images[uid], path_of, read) for uid in uids],
        further_headers=[header_of(one, path_of, read) for some in further for one in some],
        volume=volume,
        label_map=label_map,
        inference=inference,
        refused_series=job.plan.refused_series,
        predecessors=read_headers(predecessors),
        now=now,
        segmentations=segmentations,
        fallbacks=fallbacks,
    )


def images_of(job: Job, series_instance_uid: str | None = None) -> dict[str, Instance]:
    """By SOP Instance UID: those of a series, or of that to analyse, or all the study's images where none will do."""
    chosen = series_instance_uid or job.plan.series_instance_uid
    return {
        instance.header.sop_instance_uid: instance
        for instance in job.instances
        if (instance.header.series_instance_uid == chosen if chosen else is_routable(instance.header))
    }


class Stopwatch:
    """Wall-clock seconds per stage."""

    def __init__(self, progress: Progress) -> None:
        self.timings_s: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a stage."""
        self._progress(stage)
        begin = time.perf_counter()
        with tracing.step(stage):
            yield
        self.timings_s[stage] = round(time.perf_counter() - begin, 3)

    def add(self, parts_s: dict[str, float]) -> None:
        """The runner's own account of the `segment` stage."""
        self.timings_s |= {f"segment.{part}": round(seconds, 3) for part, seconds in parts_s.items()}
