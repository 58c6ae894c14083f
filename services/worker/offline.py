"""The pipeline on files: no queue, no store, nothing kept but the results."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from services.backends.headers import read_instance
from services.triage.errors import InstanceRefused, Reason
from services.triage.job import Job, JobPlan, OrderPriority, Plan
from services.triage.model import Model
from services.triage.ports import Segmenter
from services.triage.result import ObjectKind, Result
from services.triage.study import Instance, VersionKey
from services.triage.volume import MAX_VOXELS
from services.worker.pipeline import Progress, analyse


@dataclass(kw_only=True)
class Scan:
    """What was found below some paths: instances by study, and the files that are none, each with its reason."""

    studies: dict[str, dict[str, Instance]] = field(default_factory=dict)
    path_of: dict[str, Path] = field(default_factory=dict)
    rejected: list[tuple[Path, Reason]] = field(default_factory=list)
    read: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """One result and the files of its objects, in their order."""

    result: Result
    paths: tuple[Path, ...]


def scan(paths: Sequence[Path], progress: Callable[[int], None]) -> Scan:
    """Read the headers of every file below the paths. `progress` hears how many were read so far.

    Of two files with one SOP Instance UID and different contents the last read counts; the other is told as rejected.
    """
    found = Scan()
    for path in _files(paths):
        found.read += 1
        progress(found.read)
        try:
            instance = read_instance(path)
        except InstanceRefused as refusal:
            found.rejected.append((path, refusal.reason))
            continue
        uid = instance.header.sop_instance_uid
        instances = found.studies.setdefault(instance.study.study_instance_uid, {})
        earlier = instances.get(uid)
        if earlier is not None and earlier.digest != instance.digest:
            text = f"another file with SOP Instance UID {uid} and other content was read later: {path}"
            found.rejected.append((found.path_of.pop(earlier.digest), Reason(code="other_content", text=text)))
        instances[uid] = instance
        found.path_of[instance.digest] = path
    return found


def analyse_study(
    study_instance_uid: str,
    found: Scan,
    plan: Plan,
    *,
    model_of: Callable[[str], Model],
    segmenter: Segmenter,
    output: Path,
    max_volume_voxels: int = MAX_VOXELS,
    fallbacks: Collection[ObjectKind] = (),
    now: datetime,
    progress: Progress,
) -> tuple[Written, ...]:
    """Analyse a study as planned; the objects of one result get a folder of their own below `output`."""
    written = []
    for job_plan in plan.jobs:
        instances = tuple(found.studies[study_instance_uid].values())
        job = job_of(study_instance_uid, job_plan, instances)
        model = model_of(job_plan.model_name)
        result = analyse(
            job,
            model,
            path_of=found.path_of.__getitem__,
            segmenter=segmenter,
            max_volume_voxels=max_volume_voxels,
            fallbacks=fallbacks,
            now=now,
            progress=progress,
        )
        folder = _new_folder(output / study_instance_uid, job_plan.model_name)
        written.append(Written(result=result, paths=tuple(_write(folder, result))))
    return tuple(written)


def job_of(study_instance_uid: str, job_plan: JobPlan, instances: tuple[Instance, ...]) -> Job:
    """As a worker is given one; `instances`: all of the study."""
    return Job(
        job_id=study_instance_uid,
        version=VersionKey(study_instance_uid=study_instance_uid, number=1),
        plan=job_plan,
        priority=OrderPriority.ROUTINE,
        attempt=1,
        study=instances[0].study,
        instances=instances,
    )


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        below: Iterable[Path] = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file.absolute() for file in below if file.is_file())


def _new_folder(parent: Path, name: str) -> Path:
    """A folder that was not there before: an earlier run's result is never mixed with this one's."""
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def _write(folder: Path, result: Result) -> Iterator[Path]:
    for item in result.objects:
        path = folder / f"{item.modality}.{item.sop_instance_uid}.dcm"
        path.write_bytes(item.content)
        yield path
