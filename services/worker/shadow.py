"""A shadow's story: look as a job is looked at, and compare with the frozen answer; nothing is reported or sent."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.uid import SegmentationStorage

from services.backends.image_header import PathOf
from services.triage.model import Model
from services.triage.ports import Segmenter
from services.triage.result import FrozenResult, Result
from services.triage.shadow import Overlap, ShadowResult, ShadowTask, overlap_of
from services.triage.volume import Volume
from services.worker.energy import EnergyMeter
from services.worker.pipeline import Look, Progress, Stopwatch, completed, look


def run_shadow(
    task: ShadowTask,
    model: Model,
    *,
    path_of: PathOf,
    result_path: Callable[[str], Path],
    segmenter: Segmenter,
    max_volume_voxels: int,
    energy: EnergyMeter,
    progress: Progress,
    cancelled: Callable[[], bool],
) -> ShadowResult:
    """What the model says of the task's images, and how it lies to the answer; see `pipeline.analyse`.

    `result_path` maps a frozen object's SHA-256 to its file. Raises as `pipeline.analyse` does.
    """
    stage, spent = Stopwatch(progress), energy.begin()
    job = completed(task.job, model)
    seen = look(job, model, stage, path_of, segmenter, max_volume_voxels, cancelled)
    result = Result(
        model=model.identity,
        series_instance_uid=job.plan.series_instance_uid,
        finding=seen.finding,
        objects=(),
        timings_s=stage.timings_s,
    )
    return ShadowResult(
        model=model.identity,
        finding=seen.finding,
        timings_s=stage.timings_s,
        peak_memory_mb=seen.peak_memory_mb,
        energy=spent(result),
        overlap=_overlap(seen, task.answer, result_path),
        inference=seen.inference,
    )


def _overlap(seen: Look, answer: FrozenResult, result_path: Callable[[str], Path]) -> Overlap | None:
    if seen.volume is None or seen.label_map is None:
        return None
    answered = np.zeros(seen.label_map.shape, dtype=np.uint16)
    if answer.finding.lesions:
        segs = [data_set for sha256 in answer.sha256s if _is_seg(data_set := pydicom.dcmread(result_path(sha256)))]
        fill(answered, segs[0], seen.volume)
    return overlap_of(answered, seen.label_map)


def _is_seg(data_set: pydicom.Dataset) -> bool:
    return bool(data_set.SOPClassUID == SegmentationStorage)


def fill(label_map: npt.NDArray[np.uint16], seg: pydicom.Dataset, volume: Volume) -> None:
    """Put the segments of a BINARY Segmentation (PS3.3 A.51) into a label map [slice, row, column] of its source.

    Each frame names the image, or its frame, that it was derived from (PS3.3 C.7.6.16.2.6).
    """
    slices = {(one.sop_instance_uid, one.frame_number): index for index, one in enumerate(volume.sources)}
    (shared,) = seg.SharedFunctionalGroupsSequence  # what all frames have in common is told there alone
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for frame, told in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        groups = pydicom.Dataset()
        groups.update(shared)
        groups.update(told)
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        index = slices[source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")]
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        label_map[index][frame > 0] = number
