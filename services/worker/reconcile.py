"""A result again, under the patient and order data that its images have now; no model looks (IHE PIR)."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pydicom

from services.backends.image_header import PathOf, header_of, read_headers
from services.triage.job import Job
from services.triage.result import FrozenResult, Result
from services.worker.pipeline import Progress, images_of
from services.worker.report import reidentify


def reconcile(
    job: Job,
    earlier: FrozenResult,
    *,
    path_of: PathOf,
    result_path: Callable[[str], Path],
    predecessors: Sequence[Path],
    now: datetime,
    progress: Progress,
) -> Result:
    """Write the objects of an earlier result again; what it found is as it was.

    All images of the job tell the same patient and order. `path_of` maps an instance's digest to its file,
    `result_path` a frozen object's SHA-256.
    """
    progress("reconcile")
    begin = time.perf_counter()
    objects = reidentify(
        [pydicom.dcmread(result_path(sha256)) for sha256 in earlier.sha256s],
        header=header_of(next(iter(images_of(job).values())), path_of),
        predecessors=read_headers(predecessors),
        now=now,
    )
    return Result(
        model=earlier.model,
        series_instance_uid=earlier.series_instance_uid,
        finding=earlier.finding,
        objects=objects,
        timings_s={"reconcile": round(time.perf_counter() - begin, 3)},
        inference=earlier.inference,
    )
