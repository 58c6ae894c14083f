"""An analysis that hangs and a series that is too large: each is given up with its reason, and the next job is done."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import dcmread

from services.triage.finding import Outcome
from services.triage.job import JobState
from services.worker.attempt import Attempts
from tests.support.house import House, chest_with_ball
from tests.support.peers import wait_until
from tests.support.segmenter import BrightSegmenter
from tests.support.warm import FORKED

LEFT_RUNNING = 9


def take_one_job(house: House, segmenter: BrightSegmenter, **limits: float) -> bool:
    """Lease the next job and make one attempt."""
    lease = house.store.lease_next(worker="w", now=datetime.now(UTC), duration=timedelta(seconds=60))
    assert lease is not None
    attempts = Attempts(
        store=house.store,
        files=house.files,
        segmenter=segmenter,
        destinations=(),
        stop=threading.Event(),
        lease_s=60,
        max_attempts=3,
        **limits,
    )
    return attempts.make(*lease)


def a_worker_that_hangs(data: str) -> None:
    """As `run_worker` does it: when a pipeline is left running, the process ends at once."""
    if not take_one_job(House(data=Path(data)), BrightSegmenter(hangs=True), analysis_limit_s=1.0):
        os._exit(LEFT_RUNNING)


@pytest.fixture
def house(tmp_path):
    return House(data=tmp_path / "data")


def test_an_analysis_that_hangs_is_given_up_in_time_and_a_fresh_worker_does_the_next_job(house):
    hung = house.queue_study(chest_with_ball())
    next_one = house.queue_study(chest_with_ball())

    worker = FORKED.Process(target=a_worker_that_hangs, args=(str(house.data),))
    worker.start()
    worker.join(timeout=60)

    assert worker.exitcode == LEFT_RUNNING  # it has ended, and its CPU is free
    result = house.result(hung)
    assert (result.outcome, result.reason.code) == (Outcome.FAILED, "time_limit")
    assert "within 1 s" in result.reason.text
    (report,) = result.objects
    assert dcmread(house.files.result_path(report.sha256)).Modality == "SR"
    assert take_one_job(house, BrightSegmenter())
    assert house.result(next_one).outcome == Outcome.FOUND


def test_an_analysis_within_its_limit_is_not_disturbed(house):
    uid = house.queue_study(chest_with_ball())

    assert take_one_job(house, BrightSegmenter(takes_s=0.5), analysis_limit_s=30.0)

    assert house.result(uid).outcome == Outcome.FOUND


def test_a_hung_analysis_whose_job_was_cancelled_writes_nothing(house):
    """A late image opens version 2 while version 1 hangs: the limit comes, and the lease is no longer its own."""
    uid = house.queue_study(chest_with_ball(study_uid="1.2.3", series_uid="1.2.3.1"))
    worker = FORKED.Process(target=a_worker_that_hangs, args=(str(house.data),))
    worker.start()
    wait_until(lambda: house.jobs(uid)[0].state == JobState.ANALYSING)
    house.queue_study(chest_with_ball(study_uid="1.2.3", series_uid="1.2.3.2"))
    worker.join(timeout=60)

    assert worker.exitcode == LEFT_RUNNING
    newest, first = house.store.board.study(uid).versions
    assert (first.jobs[0].state, first.jobs[0].result) == (JobState.CANCELLED, None)
    assert newest.jobs[0].state == JobState.QUEUED


def test_a_series_larger_than_the_limit_is_not_analysed_and_the_model_is_not_asked(house):
    uid = house.queue_study(chest_with_ball())
    segmenter = BrightSegmenter()

    assert take_one_job(house, segmenter, max_volume_voxels=20 * 24 * 24 - 1)

    result = house.result(uid)
    assert (result.outcome, result.reason.code) == (Outcome.NOT_ANALYSED, "too_large")
    assert "20 slices of 24 x 24" in result.reason.text
    assert segmenter.calls == 0
