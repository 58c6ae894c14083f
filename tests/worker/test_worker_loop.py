"""The worker's loop over a real store, files and queue; the segmenter is a fake where a fault must be forced."""

import gc
import shutil
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from pydicom import dcmread

from services.backends.files import folder
from services.triage.errors import AnalysisFailed, OutOfResources, SegmenterUnavailable
from services.triage.finding import Outcome
from services.triage.job import JobState
from services.triage.switch import ModelScope
from services.worker import attempt, main
from services.worker.attempt import Attempts
from services.worker.main import run_worker, work
from tests.support.bundle import bright_spot_bundle
from tests.support.house import House, chest_with_ball
from tests.support.peers import wait_until
from tests.support.segmenter import BrightSegmenter


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setattr(main, "Attempts", partial(Attempts, retry_s=0.01))
    return House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),), lease_s=3.0)


@contextmanager
def working(house, segmenter):
    """A worker, and a dispatcher that publishes what is due, until the end of the block."""
    stop = threading.Event()
    ended = []
    arguments = (house.store, house.files, house.queue, segmenter, house.settings, stop)
    worker = threading.Thread(target=lambda: ended.append(work(*arguments)))
    worker.start()
    dispatcher = threading.Thread(target=lambda: [house.publish() for _ in iter(lambda: stop.wait(0.1), True)])
    dispatcher.start()
    try:
        yield stop
    finally:
        stop.set()
        worker.join()
        dispatcher.join()
    assert ended == [True]


def frozen(house, uid):
    return {job.state for job in house.jobs(uid)} == {JobState.FROZEN}


def test_a_queued_study_becomes_a_frozen_result_with_a_delivery_to_each_destination(house):
    uid = house.queue_study(chest_with_ball())
    with working(house, BrightSegmenter()):
        wait_until(lambda: frozen(house, uid))
    result = house.result(uid)
    assert (result.outcome, len(result.lesions)) == (Outcome.FOUND, 1)
    assert [each.modality for each in result.objects] == ["SEG", "SR"]
    assert [delivery.destination for delivery in result.deliveries] == list(house.settings.send_to)
    for each in result.objects:
        assert dcmread(house.files.result_path(each.sha256)).SOPInstanceUID == each.sop_instance_uid
    assert house.queue.receive(timeout=timedelta(0)) is None


@pytest.mark.parametrize(
    "error", [SegmenterUnavailable("gone"), OutOfResources("full"), KeyError("what nobody foresaw")], ids=repr
)
def test_an_attempt_that_fails_for_a_passing_reason_is_made_again(house, error):
    uid = house.queue_study(chest_with_ball())
    segmenter = BrightSegmenter(errors=[error])
    with working(house, segmenter):
        wait_until(lambda: frozen(house, uid))
    assert segmenter.calls == 2
    assert house.result(uid).outcome == Outcome.FOUND


@pytest.mark.parametrize(
    ("error", "code"),
    [(SegmenterUnavailable("gone"), "segmenter_unavailable"), (KeyError("unforeseen"), "internal_error")],
)
def test_a_job_that_never_succeeds_ends_as_a_failed_result_that_is_delivered(house, error, code):
    uid = house.queue_study(chest_with_ball())
    segmenter = BrightSegmenter(errors=[error] * 99)
    with working(house, segmenter):
        wait_until(lambda: frozen(house, uid))
    result = house.result(uid)
    assert segmenter.calls == segmenter.asked == house.max_attempts, "the model is read once for each attempt"
    assert (result.outcome, result.reason.code) == (Outcome.FAILED, code)
    assert [each.modality for each in result.objects] == ["SR"]
    assert len(result.deliveries) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(MemoryError(), "out_of_memory"), (AnalysisFailed("broken_model", "no weights"), "broken_model")],
)
def test_a_failure_that_will_not_pass_is_said_after_one_attempt(house, error, code):
    uid = house.queue_study(chest_with_ball())
    segmenter = BrightSegmenter(errors=[error] * 99)
    with working(house, segmenter):
        wait_until(lambda: frozen(house, uid))
    assert segmenter.calls == 1
    assert (house.result(uid).outcome, house.result(uid).reason.code) == (Outcome.FAILED, code)


def test_the_text_of_an_unforeseen_error_is_neither_logged_nor_kept(house, capfd):
    uid = house.queue_study(chest_with_ball())
    with working(house, BrightSegmenter(errors=[KeyError("Doe^Jane")] * 99)):
        wait_until(lambda: frozen(house, uid))
    output = capfd.readouterr()
    assert "unforeseen_error" in output.out + output.err
    assert "Doe" not in output.out + output.err
    assert "Doe" not in repr(house.jobs(uid))


def test_a_model_that_is_not_here_is_a_recorded_failure(house):
    house.model_name = "no_such_model"
    uid = house.queue_study(chest_with_ball())
    with working(house, BrightSegmenter()):
        wait_until(lambda: frozen(house, uid))
    result = house.result(uid)
    assert (result.outcome, result.reason.code, result.objects) == (Outcome.FAILED, "unknown_model", ())


def test_an_unreadable_bundle_fails_the_jobs_that_ask_for_it_and_no_others(house, tmp_path):
    from services.backends.inference.bundle_files import METADATA
    from services.backends.inference.catalogue import Catalogue
    from services.backends.inference.embedded import EmbeddedSegmenter

    models = tmp_path / "models"
    bright_spot_bundle(models)
    (bright_spot_bundle(models, name="torn") / METADATA).write_text("{")
    found = {}
    for name in ("torn", "bright_spot"):
        house.model_name = name
        found[name] = house.queue_study(chest_with_ball())
    with working(house, EmbeddedSegmenter(Catalogue(models), threads=1)):
        wait_until(lambda: all(frozen(house, uid) for uid in found.values()))
    torn, other = house.result(found["torn"]), house.result(found["bright_spot"])
    assert (torn.outcome, torn.reason.code) == (Outcome.FAILED, "bad_metadata")
    assert other.reason is None
    assert other.objects


def test_a_worker_that_dies_each_time_is_not_sent_to_the_model_again(house):
    uid = house.queue_study(chest_with_ball())
    for _ in range(house.max_attempts):
        now = datetime.now(UTC)
        assert house.store.lease_next(worker="dead", now=now, duration=timedelta(seconds=-1))
        house.publish()
    segmenter = BrightSegmenter()
    with working(house, segmenter):
        wait_until(lambda: frozen(house, uid))
    assert segmenter.calls == 0
    assert house.result(uid).reason.code == "worker_died"


def test_a_lease_is_renewed_while_the_model_runs_longer_than_it(house):
    house = House(data=house.data, lease_s=4.0)
    uid = house.queue_study(chest_with_ball())
    segmenter = BrightSegmenter(takes_s=9.0)
    with working(house, segmenter):
        wait_until(lambda: frozen(house, uid))
    assert segmenter.calls == 1
    assert house.jobs(uid)[0].attempt == 1


def test_a_worker_whose_job_was_cancelled_writes_nothing(house):
    """A new image opens version 2 while version 1 is analysed."""
    uid = house.queue_study(chest_with_ball(study_uid="1.2.3", series_uid="1.2.3.1"))
    with working(house, BrightSegmenter(takes_s=1.5)):
        wait_until(lambda: house.jobs(uid)[0].state == JobState.ANALYSING)
        house.queue_study(chest_with_ball(study_uid="1.2.3", series_uid="1.2.3.2"))
        wait_until(lambda: frozen(house, uid))
    newest, first = house.store.board.study(uid).versions
    assert newest.jobs[0].result is not None
    assert (first.jobs[0].state, first.jobs[0].result) == (JobState.CANCELLED, None)


def test_a_job_in_hand_is_finished_when_a_stop_is_asked(house):
    uid = house.queue_study(chest_with_ball())
    with working(house, BrightSegmenter(takes_s=1.0)) as stop:
        wait_until(lambda: house.jobs(uid)[0].state == JobState.ANALYSING)
        stop.set()
    assert house.result(uid).outcome == Outcome.FOUND


def stopped(house):
    """An attempt that outlasts the grace of a stop; answers how long it took, and whether it came to an end."""
    stop = threading.Event()
    stop.set()
    lease = house.store.lease_next(worker="w", now=datetime.now(UTC), duration=timedelta(seconds=60))
    attempts = Attempts(
        store=house.store,
        files=house.files,
        segmenter=BrightSegmenter(takes_s=2),
        destinations=(),
        stop=stop,
        lease_s=60,
        max_attempts=house.max_attempts,
        grace_s=0.3,
    )
    began = time.monotonic()
    came = attempts.make(*lease)
    return time.monotonic() - began, came


def test_a_job_that_outlasts_the_grace_is_given_back_at_once(house):
    uid = house.queue_study(chest_with_ball())
    took_s, came = stopped(house)
    assert came is False
    assert took_s < 1.5
    assert house.jobs(uid)[0].state == JobState.QUEUED
    assert house.publish() == 1


def test_orderly_stops_cost_a_job_none_of_its_attempts(house):
    """A rolling update, in which one old worker after the other takes the job."""
    uid = house.queue_study(chest_with_ball())
    for _ in range(house.max_attempts):
        stopped(house)
        house.publish()
    with working(house, BrightSegmenter()):
        wait_until(lambda: frozen(house, uid))
    assert house.jobs(uid)[0].attempt == 1
    assert house.result(uid).outcome == Outcome.FOUND


def test_a_job_at_which_each_worker_stops_comes_to_an_end(house, monkeypatch):
    monkeypatch.setattr(attempt, "MOST_STOPS", 2)
    uid = house.queue_study(chest_with_ball())
    for _ in range(2 + house.max_attempts):
        stopped(house)
        house.publish()
    with working(house, BrightSegmenter()):
        wait_until(lambda: frozen(house, uid))
    assert house.result(uid).reason.code == "worker_died"


def test_a_message_for_a_job_that_is_done_is_acknowledged_and_forgotten(house):
    uid = house.queue_study(chest_with_ball())
    first = house.queue.receive(timeout=timedelta(0))
    first.ack()
    for _ in range(3):
        house.queue.publish(first.message)
    segmenter = BrightSegmenter()
    with working(house, segmenter):
        wait_until(lambda: frozen(house, uid))
        time.sleep(2)
    assert segmenter.calls == 1
    assert house.queue.receive(timeout=timedelta(0)) is None


@pytest.mark.parametrize("outage", ["inference server", "disk"])
def test_an_outage_costs_a_job_none_of_its_attempts(house, monkeypatch, outage):
    monkeypatch.setattr(main, "LOOK_AGAIN", timedelta(seconds=0.01))
    uid = house.queue_study(chest_with_ball())
    segmenter = BrightSegmenter(away=outage == "inference server")
    room = folder.ROOM_BYTES if outage == "inference server" else 2 * shutil.disk_usage(house.data).free
    with monkeypatch.context() as full:
        full.setattr(folder, "ROOM_BYTES", room)
        with working(house, segmenter):
            time.sleep(0.5)  # many turns; that no job is taken cannot be waited for
            untaken = house.jobs(uid)[0]
            segmenter.away = False
            full.undo()
            wait_until(lambda: frozen(house, uid))
    assert (untaken.state, untaken.attempt) == (JobState.QUEUED, 0)
    assert house.jobs(uid)[0].attempt == 1
    assert house.result(uid).outcome == Outcome.FOUND


def test_a_model_that_is_switched_off_does_not_look_and_the_pacs_is_told_so(house):
    uid = house.queue_study(chest_with_ball())
    scope = ModelScope(model_name=house.model_name)
    house.store.switches.switch_off(scope, reason="wrong", actor="Dr Lead", now=datetime.now(UTC))
    segmenter = BrightSegmenter()
    house.work(segmenter)
    result = house.result(uid)
    assert (result.outcome, result.reason.code) == (Outcome.NOT_ANALYSED, "model_switched_off")
    assert [each.modality for each in result.objects] == ["SR"]
    assert "segment" not in result.timings_s
    (delivery,) = result.deliveries
    claimed = house.store.claim_delivery(delivery.destination, now=datetime.now(UTC), duration=timedelta(minutes=1))
    assert claimed is not None
    assert b"switched off" in house.files.result_path(result.objects[0].sha256).read_bytes()


def test_a_worker_sets_apart_what_it_has_imported_before_it_works(house, monkeypatch):
    monkeypatch.setattr(main, "stop_on_signals", threading.Event)
    monkeypatch.setattr(main, "expose", lambda *_, **__: None)
    apart = []
    monkeypatch.setattr(main, "work", lambda *_: apart.append(gc.get_freeze_count()) or True)
    before = gc.get_freeze_count()
    try:
        run_worker(house.settings, BrightSegmenter())
    finally:
        gc.unfreeze()
    assert apart[0] > before
