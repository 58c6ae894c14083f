"""The worker's story in one screen: load, segment, find, assess, report. What comes out is ready to be frozen."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services import tracing
from services.backends.image_header import PathOf, header_of, read_headers
from services.triage.completeness import is_routable
from services.triage.errors import AnalysisFailed, ModelRefused, NotAnalysed, Reason
from services.triage.finding import Finding, Outcome, assess, without_analysis
from services.triage.identity import two_patients
from services.triage.job import Job
from services.triage.model import Model
from services.triage.ports import Segmenter
from services.triage.result import ObjectKind, Result, ResultObject
from services.triage.retention import IMAGES_GONE
from services.triage.study import Instance
from services.triage.switch import MODEL_SWITCHED_OFF, is_off
from services.triage.tracking import keep_identities
from services.triage.volume import MAX_VOXELS, Volume
from services.worker.lesions import find_candidates
from services.worker.load import load_volume
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
    stage = _Stopwatch(progress)
    volume: Volume | None = None
    label_map: LabelMap | None = None
    peak_memory_mb: float | None = None
    try:
        with stage("load"):
            volume = _load(job, model, path_of, max_volume_voxels)
        with stage("segment"):
            segmentation = segmenter.segment(volume, model, cancelled=cancelled)
        with stage("find"):
            candidates = find_candidates(segmentation, volume, model)
            finding = assess(candidates.lesions, model.thresholds, calibrated=model.calibrated)
            label_map = candidates.label_map_of(finding.lesions)
            finding = replace(finding, lesions=keep_identities(finding.lesions, job.earlier_lesions))
        stage.add(segmentation.timings_s)
        peak_memory_mb = segmentation.peak_memory_mb
    except NotAnalysed as refusal:
        finding = without_analysis(Outcome.NOT_ANALYSED, refusal.reason)
    except (AnalysisFailed, ModelRefused) as failure:
        finding = without_analysis(Outcome.FAILED, failure.reason)
    with stage("report"):
        written = segmentations, fallbacks
        objects = _report(job, model, finding, path_of, predecessors, now, volume, label_map, *written)
    return Result(
        model=model.identity,
        series_instance_uid=job.plan.series_instance_uid,
        finding=finding,
        objects=objects,
        timings_s=stage.timings_s,
        peak_memory_mb=peak_memory_mb,
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


def _load(job: Job, model: Model, path_of: PathOf, max_voxels: int) -> Volume:
    if is_off(model.identity.version, job.switched_off):
        raise NotAnalysed(MODEL_SWITCHED_OFF.code, MODEL_SWITCHED_OFF.text)
    if job.plan.refusal is not None:
        raise NotAnalysed(job.plan.refusal.code, job.plan.refusal.text)
    try:
        volume = load_volume([path_of(one.digest) for one in images_of(job).values()], max_voxels=max_voxels)
    except FileNotFoundError as error:
        raise NotAnalysed(IMAGES_GONE.code, IMAGES_GONE.text) from error
    slices = volume.voxels.shape[0]
    if slices < model.min_slices:
        raise NotAnalysed("too_few_slices", f"{slices} slices, and {model.identity.name} needs {model.min_slices}")
    return volume


def _report(
    job: Job,
    model: Model,
    finding: Finding,
    path_of: PathOf,
    predecessors: Sequence[Path],
    now: datetime,
    volume: Volume | None = None,
    label_map: LabelMap | None = None,
    segmentations: Sequence[ObjectKind | None] = (ObjectKind.SEG,),
    fallbacks: Collection[ObjectKind] = (),
) -> tuple[ResultObject, ...]:
    if two_patients(job.instances) is not None:
        return ()  # whoever it named, it would enter one patient's record and speak of the other's images
    images = images_of(job)
    uids = list(dict.fromkeys(source.sop_instance_uid for source in volume.sources)) if volume else list(images)
    return write_report(
        finding,
        model=model,
        headers=[header_of(images[uid], path_of) for uid in uids],
        volume=volume,
        label_map=label_map,
        refused_series=job.plan.refused_series,
        predecessors=read_headers(predecessors),
        now=now,
        segmentations=segmentations,
        fallbacks=fallbacks,
    )


def images_of(job: Job) -> dict[str, Instance]:
    """By SOP Instance UID: those of the series to analyse, or all the study's images where none will do."""
    chosen = job.plan.series_instance_uid
    return {
        instance.header.sop_instance_uid: instance
        for instance in job.instances
        if (instance.header.series_instance_uid == chosen if chosen else is_routable(instance.header))
    }


class _Stopwatch:
    """Wall-clock seconds per stage."""

    def __init__(self, progress: Progress) -> None:
        self.timings_s: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._progress(stage)
        begin = time.perf_counter()
        with tracing.step(stage):
            yield
        self.timings_s[stage] = round(time.perf_counter() - begin, 3)

    def add(self, parts_s: dict[str, float]) -> None:
        """The runner's own account of the `segment` stage."""
        self.timings_s |= {f"segment.{part}": round(seconds, 3) for part, seconds in parts_s.items()}
