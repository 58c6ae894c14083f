"""Store, files and queue in a folder, and a study brought as far as the test needs it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from services.backends.files import FolderStudyFiles
from services.backends.headers import read_instance
from services.backends.queue import EmbeddedJobQueue
from services.backends.receivers import addressees
from services.backends.routing_file import load_rules
from services.backends.store import SqlStudyStore, open_store
from services.backends.store.board import JobRow, ResultRow
from services.gateway.dispatcher import Dispatcher
from services.settings import Settings
from services.triage.blind import NOT_BLIND, BlindPolicy
from services.triage.job import Job, JobPlan, OrderPriority, Plan
from services.triage.study import Instance
from services.worker.attempt import Attempts
from tests.support.ct import ct_series
from tests.support.segmenter import BrightSegmenter


def chest_with_ball(**attributes: object) -> list[Dataset]:
    """A small chest CT that the routing rules claim: 20 slices of air with one bright ball of about 0.5 mL."""
    z, y, x = np.ogrid[:20, :24, :24]
    ball = ((z - 10) * 2.5) ** 2 + ((y - 12) * 0.8) ** 2 + ((x - 12) * 0.7) ** 2 < 5**2
    return ct_series(np.where(ball, 40, -1000), **attributes)  # type: ignore[arg-type]


@dataclass
class House:
    """The embedded backends in one folder."""

    data: Path
    send_to: tuple[str, ...] = ()
    destinations: Path | None = None
    notifications: Path | None = None
    commitment: Path | None = None
    lease_s: float = 60.0
    max_attempts: int = 3
    model_name: str = "ct_lung_lesion"
    blind: BlindPolicy = NOT_BLIND
    settings: Settings = field(init=False)
    _quiet_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.settings = Settings(
            data=self.data,
            send_to=self.send_to,
            destinations=self.destinations,
            notifications=self.notifications,
            commitment=self.commitment,
            lease_s=self.lease_s,
            max_attempts=self.max_attempts,
        )

    @cached_property
    def store(self) -> SqlStudyStore:
        return open_store(self.settings.store_url(), same_pixels=self.files.same_pixels)

    @cached_property
    def files(self) -> FolderStudyFiles:
        return FolderStudyFiles(self.data)

    @cached_property
    def queue(self) -> EmbeddedJobQueue:
        return EmbeddedJobQueue(self.settings.store_url())

    def keep(self, series: Sequence[Dataset]) -> list[tuple[Instance, str]]:
        """Keep a series as the door does; answers what it kept."""
        instances = []
        for dataset in series:
            buffer = BytesIO()
            dataset.save_as(buffer, enforce_file_format=True)
            instance = read_instance(buffer.getvalue())
            self.files.keep(buffer.getvalue(), digest=instance.digest, received_from="CT1")
            instances.append((instance, "CT1"))
        return instances

    def queue_study(self, series: Sequence[Dataset]) -> str:
        """Keep a series, complete its study with a job for it, and publish the job; answers the Study Instance UID."""
        now = datetime.now(UTC)
        instances = self.keep(series)
        recorded = self.store.record(instances, now=now)
        self.files.settle(instance.digest for instance, _ in instances)
        version = next(one.version for one in recorded if one.version)
        plan = JobPlan(model_name=self.model_name, series_instance_uid=instances[0][0].header.series_instance_uid)
        count = len(self.store.instances(version))
        assert self.store.complete(version, Plan(jobs=(plan,)), priority=OrderPriority.ROUTINE, seen=count, now=now)
        self.publish()
        return version.study_instance_uid

    def publish(self) -> int:
        """One turn of the dispatcher's outbox; answers how many jobs were published."""
        self.store.reissue(now=datetime.now(UTC))
        messages = self.store.unpublished(limit=100)
        for message in messages:
            self.queue.publish(message)
        self.store.published(messages)
        return len(messages)

    def jobs(self, study_instance_uid: str) -> list[JobRow]:
        """The jobs of the newest version of a study, with their results and deliveries."""
        detail = self.store.board.study(study_instance_uid)
        return list(detail.versions[0].jobs) if detail and detail.versions else []

    def result(self, study_instance_uid: str) -> ResultRow:
        """The one frozen result of the newest version."""
        (job,) = self.jobs(study_instance_uid)
        assert job.result is not None, job.events
        return job.result

    def freeze(self, series: Sequence[Dataset]) -> str:
        """Queue a study and have the worker freeze its result for the settings' destinations; answers its UID."""
        uid = self.queue_study(series)
        assert self.work() is not None
        return uid

    def take_in(self, series: Sequence[Dataset]) -> str:
        """Keep a series, and have the dispatcher take it as far as the queue; answers the Study Instance UID."""
        self.keep(series)
        self.dispatch()
        return str(series[0].StudyInstanceUID)

    def dispatch(self) -> None:
        """Record, complete, route and publish what waits; the quiet period passes by the dispatcher's clock only."""
        dispatcher = Dispatcher(self.store, self.files, self.queue, load_rules(self.settings.routing), self.settings)
        self._quiet_s += 1 + self.settings.quiet_period_s
        for seconds in (self._quiet_s, self._quiet_s + self.settings.quiet_period_s):
            dispatcher.turn(datetime.now(UTC) + timedelta(seconds=seconds))

    def work(self, segmenter: BrightSegmenter | None = None) -> Job | None:
        """Have a worker make one attempt at the next job; answers the job, None when none is due."""
        received = self.queue.receive(timeout=timedelta(0))
        if received is not None:
            received.ack()
        duration = timedelta(seconds=self.lease_s)
        taken = self.store.lease_next(worker="test", now=datetime.now(UTC), duration=duration)
        if taken is None:
            return None
        attempts = Attempts(
            store=self.store,
            files=self.files,
            segmenter=segmenter or BrightSegmenter(),
            destinations=addressees(self.settings),
            stop=threading.Event(),
            lease_s=self.lease_s,
            max_attempts=self.max_attempts,
            blind=self.blind,
        )
        assert attempts.make(*taken)
        return taken[1]
