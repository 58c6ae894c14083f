"""The JSON document of `vigie process --json`, and the same as a table for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel
from rich.table import Table

from services.triage.errors import Reason
from services.triage.finding import Finding, Flag, Outcome, two_digits
from services.triage.inference import Inference, InferenceMode
from services.triage.job import Plan
from services.triage.lesion import Lesion
from services.triage.organ import Organ
from services.triage.wording import organs_text
from services.worker.offline import Written

Status = Literal["analysed", "out_of_scope", "not_analysed", "failed"]


class ReasonReport(BaseModel):
    """A coded reason."""

    code: str
    text: str


class ModelReport(BaseModel):
    """Which weights answered."""

    name: str
    version: str
    weights_sha256: str


class InferenceReport(BaseModel):
    """How its network ran. `reason`: what kept it from the fast mode that was asked for."""

    mode: InferenceMode
    reason: ReasonReport | None


class SpreadReport(BaseModel):
    """A score over `runs` runs, the ordinary one and those on mirrored images, on the same voxels."""

    runs: int
    sd: float
    lowest: float
    highest: float


class UncertaintyReport(BaseModel):
    """What became of the mirrored runs: the spread of the study's score, or the reason why there is none."""

    spread: SpreadReport | None
    reason: ReasonReport | None


class LesionReport(BaseModel):
    """One lesion; lengths in mm, centroid in the DICOM patient system (LPS). organ: the class that surrounds it.

    spread: of its score over mirrored runs, null where none were made.
    """

    number: int
    tracking_uid: str
    label: str
    score: float
    volume_ml: float
    long_axis_mm: float
    short_axis_mm: float
    centroid_lps_mm: tuple[float, float, float]
    organ: str | None
    spread: SpreadReport | None


class OutputReport(BaseModel):
    """One DICOM object and the file that holds it."""

    modality: str
    sop_instance_uid: str
    path: str


class ResultReport(BaseModel):
    """One model's answer.

    `series_instance_uid` is null when no series would do; `score` and `inference` when nothing was analysed;
    `uncertainty` also when it was not asked for (VIGIE_UNCERTAINTY). `organs`: each organ class of a model that looked.
    """

    series_instance_uid: str | None
    model: ModelReport
    outcome: Outcome
    score: float | None
    calibrated: bool
    flag: Flag
    lesions: list[LesionReport]
    cautions: list[ReasonReport]
    outputs: list[OutputReport]
    timings_s: dict[str, float]
    inference: InferenceReport | None
    uncertainty: UncertaintyReport | None
    organs: tuple[Organ, ...]


class StudyReport(BaseModel):
    """One study. `reason` is null only when it was analysed."""

    study_instance_uid: str
    status: Status
    reason: ReasonReport | None
    results: list[ResultReport]


class RejectedReport(BaseModel):
    """A file that is no instance Vigie can read."""

    path: str
    reason: ReasonReport


class FilesReport(BaseModel):
    """The files that were looked at."""

    read: int
    rejected: list[RejectedReport]


class Document(BaseModel):
    """Everything that one run has to say."""

    vigie_version: str
    studies: list[StudyReport]
    files: FilesReport


def study_report(study_instance_uid: str, plan: Plan, written: Sequence[Written]) -> StudyReport:
    """A study's report: failed before not analysed before analysed."""
    findings = [each.result.finding for each in written]
    status, reason = _status(plan, findings)
    return StudyReport(
        study_instance_uid=study_instance_uid,
        status=status,
        reason=ReasonReport(code=reason.code, text=reason.text) if reason else None,
        results=[_result_report(each) for each in written],
    )


def _status(plan: Plan, findings: Sequence[Finding]) -> tuple[Status, Reason | None]:
    if plan.out_of_scope is not None:
        return "out_of_scope", plan.out_of_scope
    reasons = {finding.outcome: finding.reason for finding in reversed(findings)}
    if Outcome.FAILED in reasons:
        return "failed", reasons[Outcome.FAILED]
    if Outcome.NOT_ANALYSED in reasons:
        return "not_analysed", reasons[Outcome.NOT_ANALYSED]
    return "analysed", None


def _result_report(written: Written) -> ResultReport:
    result, finding = written.result, written.result.finding
    identity = result.model
    return ResultReport(
        series_instance_uid=result.series_instance_uid,
        model=ModelReport(name=identity.name, version=identity.version, weights_sha256=identity.weights_sha256),
        outcome=finding.outcome,
        score=finding.score,
        calibrated=finding.calibrated,
        flag=finding.flag,
        lesions=[_lesion_report(lesion) for lesion in finding.lesions],
        cautions=[ReasonReport(code=one.code, text=one.text) for one in finding.cautions],
        outputs=[
            OutputReport(modality=item.modality, sop_instance_uid=item.sop_instance_uid, path=str(path))
            for item, path in zip(result.objects, written.paths, strict=True)
        ],
        timings_s=result.timings_s,
        inference=_inference_report(result.inference),
        uncertainty=finding.uncertainty and UncertaintyReport.model_validate(finding.uncertainty, from_attributes=True),
        organs=finding.organs,
    )


def _inference_report(inference: Inference | None) -> InferenceReport | None:
    if inference is None:
        return None
    why = inference.why
    return InferenceReport(mode=inference.mode, reason=ReasonReport(code=why.code, text=why.text) if why else None)


def _lesion_report(lesion: Lesion) -> LesionReport:
    return LesionReport.model_validate(lesion, from_attributes=True)


def rejected_report(rejected: Sequence[tuple[Path, Reason]]) -> list[RejectedReport]:
    """The files that were left out, each with its reason."""
    return [
        RejectedReport(path=str(path), reason=ReasonReport(code=reason.code, text=reason.text))
        for path, reason in rejected
    ]


def summary_table(document: Document) -> Table:
    """One row a result, and one for each study without any."""
    table = Table("Study", "Model", "Outcome", "Score", "Flag", "Lesions", "Objects", "Seconds")
    for study in document.studies:
        uid = f"…{study.study_instance_uid[-12:]}"
        why = f" ({study.reason.text})" if study.reason else ""
        for result in study.results:
            table.add_row(uid, f"{result.model.name} {result.model.version}", _outcome(result, why), *_figures(result))
        if not study.results:
            table.add_row(uid, "", study.status + why, "", "", "", "", "")
    return table


def _outcome(result: ResultReport, why: str) -> str:
    cautions = (f"caution: {one.text}" for one in result.cautions)
    return "\n".join([result.outcome + why, *cautions, *organs_text(result.organs, result.outcome)])


def _figures(result: ResultReport) -> tuple[str, str, str, str, str]:
    calibrated = "" if result.calibrated else " (not calibrated on patients)"
    lesions = (
        f"{lesion.volume_ml:.1f} mL, {lesion.long_axis_mm:.0f} mm, score {two_digits(lesion.score)}"
        + (_over_runs(lesion.spread) if lesion.spread else "")
        + (f", in: {lesion.organ}" if lesion.organ else "")
        for lesion in result.lesions
    )
    seconds = sum(value for stage, value in result.timings_s.items() if "." not in stage)
    return (
        "" if result.score is None else f"{two_digits(result.score)}{calibrated}",
        result.flag,
        "\n".join(lesions) or ("none" if result.outcome.analysed else ""),
        "\n".join(output.modality for output in result.outputs),
        f"{seconds:.1f}",
    )


def _over_runs(spread: SpreadReport) -> str:
    return f" ({two_digits(spread.lowest)} to {two_digits(spread.highest)} over {spread.runs} runs)"
