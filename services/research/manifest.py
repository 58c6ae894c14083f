"""What an export holds, for who works with it: no name, no ID, no date of the hospital's."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services import __version__
from services.backends.store.board import ResultRow
from services.research.export import ExportedSeries
from services.research.pseudonyms import Pseudonyms
from services.research.recipe import Recipe
from services.research.table import EDITION
from services.triage.switch import MODEL_SWITCHED_OFF
from services.triage.verdict import Verdict, standing

RISKS = (
    "Pixels are as they were received. Text may be burned into them: a series whose header says so, or does not say, "
    "and every series of a modality whose machines write names into images, is left out unless it was asked for. "
    "A face can be made of CT and MR images of the head: where the risks say 'face', share them only under an "
    "agreement that forbids it. Times of day are kept where dates are moved. Look at a sample before anything leaves "
    "the house."
)
RECALL_BEGUN = "recall_begun"
"""Why a result does not leave: it is about to be recalled, with those of a period."""


@dataclass(frozen=True, kw_only=True)
class ExportedStudy:
    """A study of the export, under new names. kept_back: results that do not leave."""

    subject: str
    study_instance_uid: str
    series: tuple[ExportedSeries, ...]
    results: tuple[dict[str, Any], ...]
    kept_back: tuple[dict[str, Any], ...]
    verdicts: tuple[dict[str, Any], ...]


def result_of(row: ResultRow, pseudonyms: Pseudonyms) -> dict[str, Any]:
    """What a model said."""
    return {
        "result": pseudonyms.uid(row.result_id),
        "model": row.model.name,
        "model_version": row.model.version,
        "weights_sha256": row.model.weights_sha256,
        "inference": row.inference.mode.value if row.inference else "",
        "inference_reason": row.inference.why.code if row.inference and row.inference.why else "",
        "outcome": row.outcome.value,
        "reason": row.reason.code if row.reason else "",
        "score": row.score,
        "calibrated": row.calibrated,
        "flag": row.flag.value,
        "superseded": row.superseded_by is not None,
        "recalled": row.recall is not None,
        "series_instance_uid": pseudonyms.uid(row.series_instance_uid) if row.series_instance_uid else "",
        "lesions": [
            {
                "tracking_uid": pseudonyms.uid(one.tracking_uid),
                "label": one.label,
                "score": one.score,
                "volume_ml": one.volume_ml,
                "long_axis_mm": one.long_axis_mm,
                "short_axis_mm": one.short_axis_mm,
            }
            for one in row.lesions
        ],
    }


def kept_back(row: ResultRow, pseudonyms: Pseudonyms) -> dict[str, Any]:
    """Which result does not leave, and why."""
    return {
        "result": pseudonyms.uid(row.result_id),
        "model": row.model.name,
        "model_version": row.model.version,
        "no_result": MODEL_SWITCHED_OFF.code if row.switched_off else RECALL_BEGUN,
    }


def verdicts_of(verdicts: Sequence[Verdict], pseudonyms: Pseudonyms) -> tuple[dict[str, Any], ...]:
    """What readers answered, so far as it stands; comments are free text, and are not told."""
    return tuple(
        {
            "reader": pseudonyms.reader(one.reader),
            "result": pseudonyms.uid(one.result_id) if one.result_id else "",
            "tracking_uid": pseudonyms.uid(one.tracking_uid) if one.tracking_uid else "",
            "answer": one.answer.value,
            "reason": one.reason.value if one.reason else "",
            "blind": one.shown.blind,
            "long_axis_mm": one.lesion.long_axis_mm if one.lesion else None,
            "volume_ml": one.lesion.volume_ml if one.lesion else None,
            "lesion_count": one.assessment.lesion_count if one.assessment else None,
            "confidence": one.assessment.confidence.value if one.assessment and one.assessment.confidence else "",
        }
        for one in standing(verdicts)
    )


def write_manifest(folder: Path, studies: Sequence[ExportedStudy], *, recipe: Recipe, key_fingerprint: str) -> Path:
    """manifest.json with all of it, manifest.csv with a line per study and result. Answers the former."""
    told = {
        "vigie": __version__,
        "profile": f"PS3.15 table E.1-1, edition {EDITION}",
        "codes": [{"code": value, "meaning": meaning} for value, meaning in recipe.codes],
        "options": sorted(recipe.options),
        "key": key_fingerprint,
        "risks": RISKS,
        "studies": [asdict(one) for one in studies],
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        for study in studies:
            writer.writerows(_lines(study))
    return path


_OF_RESULT = ("model", "model_version", "inference", "outcome", "score", "flag", "recalled", "no_result")
_COLUMNS = (
    "subject",
    "study_instance_uid",
    "modalities",
    "instances",
    "risks",
    "left_out",
    *_OF_RESULT,
    "answers",
    "readers",
)


def _lines(study: ExportedStudy) -> list[dict[str, Any]]:
    there = [one for one in study.series if one.left_out is None]
    common = {
        "subject": study.subject,
        "study_instance_uid": study.study_instance_uid,
        "modalities": " ".join(sorted({one.modality for one in there})),
        "instances": sum(one.instances for one in there),
        "risks": " ".join(sorted({risk.code for one in there for risk in one.risks})),
        "left_out": " ".join(sorted({one.left_out.code for one in study.series if one.left_out})),
    }
    lines = []
    for result in (*study.results, *study.kept_back) or ({},):
        given = [one for one in study.verdicts if one["result"] == result.get("result")]
        lines.append(
            common
            | {name: result.get(name, "") for name in _OF_RESULT}
            | {
                "answers": " ".join(one["answer"] for one in given),
                "readers": " ".join(sorted({one["reader"] for one in given})),
            }
        )
    return lines
