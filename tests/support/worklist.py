"""Fills a real store the way door, dispatcher, worker and delivery would."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydicom.uid import generate_uid

from services.backends.files import FolderStudyFiles
from services.backends.store import SqlStudyStore, open_store
from services.gateway.app import create_app
from services.gateway.role import Role
from services.settings import Settings
from services.triage.blind import NOT_BLIND, BlindPolicy
from services.triage.errors import Reason
from services.triage.finding import Finding, Flag, Outcome, without_analysis
from services.triage.inference import Inference
from services.triage.job import JobPlan, OrderPriority, Plan, SeriesRefusal
from services.triage.lesion import Lesion
from services.triage.model import ModelIdentity
from services.triage.result import Destination, Result, ResultObject
from services.triage.study import Instance, InstanceHeader, StudyAttributes
from tests.support.records import lease_job

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MODEL = ModelIdentity(name="ct_lung_lesion", version="1.0.0", weights_sha256="ab" * 32)
PACS = Destination(name="PACS", kind="dicom", address="PACS@10.0.0.5:11112")
ROOT = "1.2.826.0.1.3680043.8.498"


def lesion(number: int, score: float, long_axis_mm: float) -> Lesion:
    return Lesion(
        number=number,
        tracking_uid=f"{ROOT}.77.{number}",
        label=f"Lesion {number}",
        class_value=1,
        score=score,
        volume_ml=round(0.0004 * long_axis_mm**3, 2),
        long_axis_mm=long_axis_mm,
        short_axis_mm=long_axis_mm * 0.7,
        max_diameter_3d_mm=long_axis_mm * 1.1,
        centroid_lps_mm=(-61.4, -20.8, 1210.0),
        slice_range=(20 + number, 24 + number),
        key_slice=22 + number,
        long_axis_ends=((22.0, 200.0, 210.0), (22.0, 210.0, 230.0)),
        mean_intensity=-14.0,
        sd_intensity=61.0,
    )


def found(flag: Flag, *scores_and_mm: tuple[float, float], outcome: Outcome = Outcome.FOUND) -> Finding:
    lesions = tuple(lesion(n, score, mm) for n, (score, mm) in enumerate(scores_and_mm, start=1))
    best = max(one.score for one in lesions)
    return Finding(outcome=outcome, score=best, flag=flag, calibrated=False, lesions=lesions)


def nothing_found(score: float = 0.08) -> Finding:
    return Finding(outcome=Outcome.NOTHING_FOUND, score=score, flag=Flag.ROUTINE, calibrated=False)


def not_analysed(code: str = "too_few_slices", text: str = "9 slices; the model needs 16") -> Finding:
    return without_analysis(Outcome.NOT_ANALYSED, Reason(code=code, text=text))


def failed() -> Finding:
    return without_analysis(Outcome.FAILED, Reason(code="out_of_memory", text="The model ran out of memory"))


@dataclass
class Ward:
    """A store, its files and an application on top; every study is told by a small number."""

    folder: Path
    store: SqlStudyStore = field(init=False)
    files: FolderStudyFiles = field(init=False)
    now: datetime = NOW
    blind: BlindPolicy = NOT_BLIND

    def __post_init__(self) -> None:
        self.store = open_store(f"sqlite:///{self.folder / 'vigie.sqlite'}", clock=lambda: self.now)
        self.files = FolderStudyFiles(self.folder)

    def app(self, *, role: Role = Role.ALL, **settings: str) -> FastAPI:
        return create_app(
            Settings(data=self.folder, **{"requests_per_minute": "0"} | settings),
            store=self.store,
            files=self.files,
            role=role,
            clock=lambda: self.now,
        )

    def client(self, *, role: Role = Role.ALL, **settings: str) -> TestClient:
        return TestClient(
            self.app(role=role, **settings), base_url="http://127.0.0.1:8000", raise_server_exceptions=False
        )

    @staticmethod
    def uid(number: int) -> str:
        return f"{ROOT}.{number}"

    def arrive(
        self,
        number: int,
        *,
        at: datetime | None = None,
        series: Sequence[tuple[str, str, int]] = (("CT", "Thorax 1.0 Br40", 3),),
        index_from: int = 1,
        **attributes: str,
    ) -> str:
        """Record series of (modality, description, instance count)."""
        study = StudyAttributes(
            study_instance_uid=self.uid(number),
            **{
                "patient_id": f"P-{number:04}",
                "patient_name": f"FAMILY{number}^Given",
                "study_date": "20260302",
                "study_time": "084500",
                "study_description": "CT chest",
                "accession_number": f"A{number}",
                **attributes,
            },
        )
        instances = [
            (self._instance(study, series_number, index, modality, description), "CT1")
            for series_number, (modality, description, count) in enumerate(series, start=1)
            for index in range(index_from, index_from + count)
        ]
        self.store.record(instances, now=at or self.now)
        return study.study_instance_uid

    @staticmethod
    def _instance(study: StudyAttributes, series: int, index: int, modality: str, description: str) -> Instance:
        series_uid = f"{study.study_instance_uid}.{series}"
        header = InstanceHeader(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid=f"{series_uid}.{index}",
            series_instance_uid=series_uid,
            study_instance_uid=study.study_instance_uid,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            modality=modality,
            series_number=series,
            series_description=description,
            has_pixel_data=True,
        )
        return Instance(header=header, study=study, digest=sha256(header.sop_instance_uid.encode()).hexdigest())

    def complete(
        self,
        number: int,
        *,
        priority: OrderPriority = OrderPriority.ROUTINE,
        models: Sequence[str] = (MODEL.name,),
        refusal: Reason | None = None,
        refused_series: tuple[SeriesRefusal, ...] = (),
        out_of_scope: Reason | None = None,
    ) -> None:
        uid = self.uid(number)
        series_uid = None if refusal else f"{uid}.1"
        jobs = tuple(
            JobPlan(model_name=name, series_instance_uid=series_uid, refusal=refusal, refused_series=refused_series)
            for name in models
        )
        plan = Plan(jobs=() if out_of_scope else jobs, out_of_scope=out_of_scope)
        quiet = self.store.quiet_versions(now=self.now + timedelta(days=1), quiet_period=timedelta(0))
        version = next(one for one in quiet if one.study_instance_uid == uid)
        seen = len(self.store.instances(version))
        assert self.store.complete(version, plan, priority=priority, seen=seen, now=self.now)

    def lease(self, number: int):
        """Take the next queued job of a study: (lease, job)."""
        detail = self.store.board.study(self.uid(number))
        job = next(one for one in detail.versions[0].jobs if one.state == "queued")
        return lease_job(self.store, job.job_id, worker="worker-1", now=self.now)

    def freeze(
        self, number: int, finding: Finding, *, content: bytes = b"SEG bytes", inference: Inference | None = None
    ) -> str:
        """Answers the SOP Instance UID of the object that `content` became."""
        lease, job = self.lease(number)
        uid = generate_uid()
        objects = (
            ResultObject(
                modality="SEG" if finding.lesions else "SR",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
                sop_instance_uid=uid,
                series_instance_uid=f"{uid}.1",
                content=content,
            ),
        )
        result = Result(
            model=ModelIdentity(name=job.plan.model_name, version=MODEL.version, weights_sha256=MODEL.weights_sha256),
            series_instance_uid=job.plan.series_instance_uid,
            finding=finding,
            objects=objects,
            timings_s={"load": 0.6, "segment": 24.1, "report": 0.9},
            peak_memory_mb=1480.0,
            inference=inference,
        )
        sha256s = [self.files.keep_result(content)]
        self.store.freeze(lease, result, sha256s=sha256s, destinations=[PACS], now=self.now, blind=self.blind)
        return uid

    def analysed(self, number: int, finding: Finding, *, at: datetime | None = None, **complete: object) -> str:
        """A study that went the whole way."""
        self.arrive(number, at=at)
        self.complete(number, **complete)
        return self.freeze(number, finding)
