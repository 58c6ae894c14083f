"""Studies of a `Ward` with real images, and results that the worker's own pipeline wrote of a painted segmentation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from services.backends.headers import read_instance
from services.triage.job import JobPlan, OrderPriority, Plan
from services.triage.model import Model
from services.triage.result import ObjectKind
from services.triage.study import VersionKey
from services.triage.volume import Segmentation, Volume
from services.worker.pipeline import analyse
from tests.support.lesion_case import LESION, a_model
from tests.support.records import lease_job
from tests.support.worklist import Ward


@dataclass(frozen=True)
class PaintedSegmenter:
    """Finds what was painted, with a score; raises `error`, if there is one."""

    mask: npt.NDArray[np.bool_]
    score: float
    error: Exception | None = None

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        if self.error is not None:
            raise self.error
        return Segmentation(
            labels=(self.mask * LESION).astype(np.uint8),
            tumour_probability=(self.mask * round(self.score * 255)).astype(np.uint8),
            timings_s={"network": 0.0},
        )


def arrive(ward: Ward, series: Sequence[Dataset], *, at: datetime, sender: str = "CT1") -> str:
    """Keep a series as the door does, and record it; answers the Study Instance UID."""
    instances = []
    for dataset in series:
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        instance = read_instance(buffer.getvalue())
        ward.files.keep(buffer.getvalue(), digest=instance.digest, received_from=sender)
        instances.append((instance, sender))
    ward.store.record(instances, now=at)
    ward.files.settle(instance.digest for instance, _ in instances)
    return str(series[0].StudyInstanceUID)


def complete(
    ward: Ward,
    uid: str,
    plan: JobPlan,
    *,
    at: datetime,
    priority: OrderPriority = OrderPriority.ROUTINE,
    priority_from: str = "",
) -> None:
    version = VersionKey(study_instance_uid=uid, number=1)
    seen = len(ward.store.instances(version))
    plans = Plan(jobs=(plan,))
    assert ward.store.complete(version, plans, priority=priority, priority_from=priority_from, seen=seen, now=at)


def lease(ward: Ward, uid: str, *, at: datetime):
    """Take the job of a study: (lease, job)."""
    (job,) = ward.store.board.study(uid).versions[0].jobs
    return lease_job(ward.store, job.job_id, worker="worker-1", now=at)


def freeze(
    ward: Ward,
    uid: str,
    segmenter: PaintedSegmenter,
    *,
    at: datetime,
    fallbacks: Sequence[ObjectKind] = (),
    calibrated: bool = False,
) -> str:
    """Have the pipeline analyse the study, and freeze what it wrote; answers the result's id."""
    taken, job = lease(ward, uid, at=at - timedelta(seconds=1))
    result = analyse(
        job,
        a_model(calibrated=calibrated, name=job.plan.model_name),
        path_of=ward.files.path,
        segmenter=segmenter,
        fallbacks=fallbacks,
        now=at,
        progress=lambda _stage: None,
    )
    digests = [ward.files.keep_result(one.content) for one in result.objects]
    return ward.store.freeze(taken, result, sha256s=digests, destinations=[], now=at)
