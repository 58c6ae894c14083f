"""Writes records into a real store as if door, worker and readers had made them."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

import sqlalchemy as sa

from services.backends.store import tables
from services.backends.store.engine import connect, writing
from services.observatory.record import Record
from services.triage.blind import HoldEnd
from services.triage.finding import Outcome
from services.triage.job import JobPlan, JobState
from services.triage.study import StudyAttributes
from services.triage.verdict import Answer, RejectReason, Shown, Truth
from tests.support.records import lesion

_BATCH = 2000
_ACCEPTED = {(Outcome.FOUND, Truth.PRESENT), (Outcome.NOTHING_FOUND, Truth.ABSENT)}
_NUMBER_OF_A_DAY = "20261001"


def keep_history(url: str, records: Iterable[Record]) -> int:
    """Answers how many. The store is open already: its tables are there."""
    engine, kept, left = connect(url), 0, iter(records)
    while batch := list(islice(left, _BATCH)):
        with writing(engine) as connection:
            for table, rows in _rows(batch, kept).items():
                if rows:
                    connection.execute(sa.insert(tables.metadata.tables[table]), rows)
        kept += len(batch)
    engine.dispose()
    return kept


def _rows(batch: list[Record], begin: int) -> dict[str, list[dict[str, Any]]]:
    names = ("study", "study_version", "job", "result", "result_traits", "blind_hold", "verdict")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number, one in enumerate(batch, begin):
        uid, job_id = one.study_instance_uid, f"j{one.result_id[1:]}"
        last_image_at = one.frozen_at - timedelta(seconds=one.to_flag_s or 0)
        attributes = dict.fromkeys(StudyAttributes.__dataclass_fields__, "") | {
            "study_instance_uid": uid,
            "patient_id": f"P-{number:06}",
            "patient_name": f"FAMILY{number}^Given",
            "patient_sex": one.traits.sex,
            "study_date": _NUMBER_OF_A_DAY,
        }
        rows["study"].append({**attributes, "tenant": one.traits.site, "received_at": last_image_at})
        rows["study_version"].append(
            {
                "study_instance_uid": uid,
                "number": 1,
                "state": "complete",
                "opened_at": last_image_at,
                "last_image_at": last_image_at,
                "completed_at": last_image_at,
            }
        )
        rows["job"].append(
            {
                "job_id": job_id,
                "study_instance_uid": uid,
                "version": 1,
                "model_name": one.model,
                "plan": JobPlan(model_name=one.model, series_instance_uid=f"{uid}.1"),
                "priority": 2,
                "state": JobState.FROZEN,
                "queued_at": one.frozen_at - timedelta(seconds=one.waited_s or 0),
                "outbox": False,
            }
        )
        rows["result"].append(_result(one, job_id))
        maker, _, model = one.traits.device.partition(" ")
        rows["result_traits"].append(
            {
                "result_id": one.result_id,
                "sex": one.traits.sex,
                "age_years": one.traits.age_years,
                "manufacturer": maker,
                "manufacturer_model_name": model,
                "convolution_kernel": one.traits.kernel,
                "slice_thickness_mm": one.traits.slice_thickness_mm,
            }
        )
        if one.held:
            rows["blind_hold"].append(
                {
                    "result_id": one.result_id,
                    "study_instance_uid": uid,
                    "since": one.frozen_at,
                    "until": one.frozen_at + timedelta(minutes=30),
                    "ended_at": one.frozen_at + timedelta(seconds=60),
                    "ended_how": HoldEnd.READ,
                    "ended_by": "Dr A",
                }
            )
        rows["verdict"] += _verdicts(one)
    return rows


def _result(one: Record, job_id: str) -> dict[str, Any]:
    return {
        "result_id": one.result_id,
        "job_id": job_id,
        "study_instance_uid": one.study_instance_uid,
        "version": 1,
        "model_name": one.model,
        "model_version": one.model_version,
        "weights_sha256": "ab" * 32,
        "series_instance_uid": f"{one.study_instance_uid}.1",
        "outcome": one.outcome,
        "flag": one.flag,
        "score": one.score,
        "calibrated": one.calibrated,
        "reason_code": one.reason or None,
        "reason_text": one.reason or None,
        "lesions": tuple(lesion(n, score=each.score) for n, each in enumerate(one.judgement.lesions, 1)),
        "timings_s": {},
        "frozen_at": one.frozen_at,
        "energy_j": one.energy_j,
        "energy_source": "estimated" if one.energy_j is not None else None,
    }


def _verdicts(one: Record) -> Iterator[dict[str, Any]]:
    said = one.judgement
    same = {
        "study_instance_uid": one.study_instance_uid,
        "result_id": one.result_id,
        "comment": "",
        "reader": "Dr A",
        "tracking_uid": None,
        "reason": None,
    }
    if said.own is not Truth.UNKNOWN:
        yield {
            **same,
            "verdict_id": f"b{one.result_id[1:]}",
            "answer": Answer(said.own),
            "given_at": one.frozen_at + timedelta(seconds=60),
            "shown": Shown(page="study", blind=True),
        }
    if said.truth is not Truth.UNKNOWN:
        accepted = (one.outcome, said.truth) in _ACCEPTED
        wrong = RejectReason.MISSED if one.outcome is Outcome.NOTHING_FOUND else RejectReason.VESSEL
        answer = Answer.ADD if said.missed else Answer.ACCEPT if accepted else Answer.REJECT
        yield {
            **same,
            "verdict_id": f"v{one.result_id[1:]}",
            "answer": answer,
            "reason": wrong if answer is Answer.REJECT else None,
            "tracking_uid": "2.25.999" if answer is Answer.ADD else None,
            "given_at": one.frozen_at + timedelta(seconds=90),
            "shown": Shown(page="study"),
        }
