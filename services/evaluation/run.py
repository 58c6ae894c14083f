"""Every study that has a reference goes through the model as in service; what cannot be judged is told and left out."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from services.backends.store.result_traits import age_years
from services.evaluation.compare import StudyRecord, compare
from services.evaluation.references import NIFTI, NONE, Reference, is_mask, is_own, read_reference, references
from services.triage.errors import AnalysisFailed, NotAnalysed, Reason
from services.triage.inputs import with_inputs
from services.triage.job import Job, JobPlan
from services.triage.model import Model
from services.triage.ports import Segmenter
from services.triage.routing import plan_for_model
from services.triage.study import Instance, Series, by_series
from services.triage.uncertainty import UncertaintyMode
from services.triage.volume import MAX_VOXELS, Volume
from services.worker.lesions import find_candidates, uncertainty_of
from services.worker.offline import Scan, job_of, scan
from services.worker.pipeline import cautions_of, completed, images_of, loaded

AGE_BANDS = (18, 40, 65)
THICKNESS_BANDS_MM = (1.5, 3.5)

Rejected = tuple[Path, Reason]


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """How is judged. structures: pattern of the names of segments and regions of interest that are lesions.

    tolerance_mm: of the normalised surface distance. unexpected_too: also what `expects` would have refused.
    uncertainty: whether the spread over mirrored runs is judged, too.
    """

    structures: str = "*"
    tolerance_mm: float = 2.0
    unexpected_too: bool = False
    uncertainty: UncertaintyMode = UncertaintyMode.OFF


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A study, or one of its references, that is in no figure, and why. study_instance_uid: None of files of none."""

    study_instance_uid: str | None
    reason: Reason


def judged(
    paths: Sequence[Path],
    model: Model,
    segmenter: Segmenter,
    criteria: Criteria,
    *,
    max_volume_voxels: int = MAX_VOXELS,
    progress: Callable[[str], None],
) -> Iterator[StudyRecord | LeftOut]:
    """One record for each series with a reference, as soon as it is there; see `_primaries` for several inputs."""
    found = scan(paths, lambda count: progress(f"reading files: {count}"))
    niftis = [path for path, _ in found.rejected if _is_reference(path)]
    unreadable, of_no_study = _unreadable(found, paths)
    for files in of_no_study:
        yield LeftOut(study_instance_uid=None, reason=_cannot_be_used(files))
    for number, (uid, instances) in enumerate(found.studies.items(), start=1):
        if uid in unreadable:
            yield LeftOut(study_instance_uid=uid, reason=_cannot_be_used(unreadable[uid]))
            continue
        images = tuple(instances.values())
        series = by_series(images)
        told = list(references(series, found.path_of, niftis, modality=model.modality))
        if not told:
            text = f"no reference belongs to any {model.modality} series of the study"
            if any(is_mask(one) and is_own(one) for one in images):
                text += "; what Vigie wrote itself is none"
            yield LeftOut(study_instance_uid=uid, reason=Reason(code="no_reference", text=text))
        for reference in _primaries(told, series, model) if model.inputs else told:
            progress(f"study {number} of {len(found.studies)}")
            plan = JobPlan(model_name=model.identity.name, series_instance_uid=reference.series.series_instance_uid)
            job = completed(job_of(uid, plan, images), model)
            try:
                volume = loaded(job, model, found.path_of.__getitem__, max_volume_voxels)
                yield _judge(job, reference, volume, model, segmenter, criteria)
            except (NotAnalysed, AnalysisFailed) as refusal:
                yield LeftOut(study_instance_uid=uid, reason=refusal.reason)


def _is_reference(path: Path) -> bool:
    return path.name.endswith(NIFTI) or path.name == NONE


def _unreadable(found: Scan, paths: Sequence[Path]) -> tuple[dict[str, list[Rejected]], list[list[Rejected]]]:
    """DICOM files that cannot be read, by study; those of none by folder. Nobody knows what they would have changed.

    One belongs to the studies whose files lie in its folder; if none do, to the only one in the nearest folder above
    that has any, within the paths.
    """
    beside, below = defaultdict[Path, set[str]](set), defaultdict[Path, set[str]](set)
    for uid, instances in found.studies.items():
        for folder in {found.path_of[one.digest].parent for one in instances.values()}:
            beside[folder].add(uid)
            for one in (folder, *folder.parents):
                below[one].add(uid)
    roots = [path.absolute() for path in paths]
    of_study, of_folder = defaultdict[str, list[Rejected]](list), defaultdict[Path, list[Rejected]](list)
    for path, reason in found.rejected:
        if _is_reference(path) or not _is_meant(path, reason):
            continue
        above = (one for one in path.parents if any(one.is_relative_to(root) for root in roots))
        nearest = next((below[one] for one in above if one in below), set())
        mine = beside.get(path.parent) or (nearest if len(nearest) == 1 else ())
        for uid in mine:
            of_study[uid].append((path, reason))
        if not mine:
            of_folder[path.parent].append((path, reason))
    return of_study, list(of_folder.values())


def _is_meant(path: Path, reason: Reason) -> bool:
    """Whether it should be a DICOM file with a study: no index of a disc, hidden file, text or picture."""
    if path.name == "DICOMDIR" or path.name.startswith("."):
        return False
    return reason.code != "not_dicom" or path.suffix.lower() == ".dcm"


def _cannot_be_used(files: Sequence[Rejected]) -> Reason:
    (path, reason), *others = files
    more = f"; nor can {len(others)} more" if others else ""
    text = f"{path.parent.name}/{path.name} cannot be used: {reason.text}{more}"
    return Reason(code="unreadable_file", text=text)


def _primaries(told: Sequence[Reference], series: Sequence[Series], model: Model) -> list[Reference]:
    """Of a model of several inputs each mask once: with the series that service would choose, if it is of that, too."""
    (planned,) = plan_for_model(series, model.identity.name, model.modality).jobs
    primary = with_inputs(planned, series, model.inputs).series_instance_uid
    once: dict[tuple[Path, ...], Reference] = {}
    for reference in sorted(told, key=lambda one: one.series.series_instance_uid != primary):
        once.setdefault(reference.files, reference)
    return list(once.values())


def _judge(
    job: Job, reference: Reference, volume: Volume, model: Model, segmenter: Segmenter, criteria: Criteria
) -> StudyRecord:
    if volume.series_instance_uid != reference.series.series_instance_uid:
        raise NotAnalysed("no_reference", "the reference belongs to a series that is no input of the model")
    truth = read_reference(reference, volume, structures=criteria.structures)
    try:
        codes = tuple(one.code for one in cautions_of(job, model, volume))
    except NotAnalysed as refusal:
        if not criteria.unexpected_too:
            raise
        codes = (refusal.reason.code,)
    began = time.perf_counter()
    segmentation = segmenter.segment(volume, model)
    candidates = find_candidates(segmentation, volume, model)
    seconds = time.perf_counter() - began
    comparison = compare(candidates, truth, volume, detect=model.thresholds.detect, tolerance_mm=criteria.tolerance_mm)
    return StudyRecord(
        study_instance_uid=volume.study_instance_uid,
        series_instance_uid=volume.series_instance_uid,
        groups=_groups(next(iter(images_of(job).values())), volume.spacing_mm[0]),
        cautions=codes,
        seconds=seconds,
        uncertainty=uncertainty_of(segmentation, candidates.lesions),
        **{name: getattr(comparison, name) for name in asdict(comparison)},
    )


def _groups(image: Instance, slice_spacing_mm: float) -> dict[str, str]:
    header, study = image.header, image.study
    age = age_years(study.patient_age, study.patient_birth_date, study.study_date)
    return {
        "sex": study.patient_sex.strip() or "not told",
        "age": "not told" if age is None else _band(age, AGE_BANDS, "years"),
        "manufacturer": header.manufacturer.strip() or "not told",
        "kernel": header.convolution_kernel.strip() or "not told",
        "slice thickness": _band(header.slice_thickness_mm or slice_spacing_mm, THICKNESS_BANDS_MM, "mm"),
    }


def _band(value: float, edges: Sequence[float], unit: str) -> str:
    low = max((edge for edge in edges if value >= edge), default=None)
    high = min((edge for edge in edges if value < edge), default=None)
    if low is None:
        return f"under {high:g} {unit}"
    return f"{low:g} {unit} and more" if high is None else f"{low:g} to {high:g} {unit}"
