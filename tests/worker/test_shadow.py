"""A shadow beside a real store and files: what it says is compared with the frozen answer, and a job goes first."""

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pytest
from pydicom.uid import CTImageStorage

from services.triage.errors import AnalysisCancelled, SegmenterUnavailable
from services.triage.finding import Outcome
from services.triage.inference import REFERENCE
from services.triage.model import Model
from services.triage.shadow import MAX_ATTEMPTS, ShadowState
from services.triage.switch import ModelScope
from services.triage.volume import Segmentation, Volume
from services.worker import main, shadowing
from services.worker.attempt import Attempts
from services.worker.main import work
from services.worker.report import write_report
from services.worker.shadow import fill
from services.worker.shadowing import Shadowing
from tests.support.ct import ct_series
from tests.support.house import House, chest_with_ball
from tests.support.lesion_case import LESION, a_model, volume_of_series, with_balls
from tests.support.multi_frame import multi_frame
from tests.support.peers import wait_until
from tests.support.reports import NOW, read
from tests.support.segmenter import one_of

OLD = a_model()
NEW = replace(OLD, identity=replace(OLD.identity, version="2.0.0", weights_sha256="cd" * 32))
NAME = OLD.identity.name


@dataclass
class TwoVersions:
    """The old version marks what is above 0 HU, the new one the half of it from slice 10 on."""

    errors: dict[str, list[BaseException]] = field(default_factory=dict)
    blind: set[str] = field(default_factory=set)
    hangs: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def model(self, name: str, version: str | None = None) -> Model:
        return one_of([OLD, NEW], name, version)

    def require_ready(self) -> None:
        pass

    def segment(self, volume: Volume, model: Model, *, cancelled: Callable[[], bool] | None = None) -> Segmentation:
        version = model.identity.version
        self.asked.append(version)
        while version in self.hangs:
            if cancelled is not None and cancelled():
                raise AnalysisCancelled("asked to")
            time.sleep(0.01)
        if self.errors.get(version):
            raise self.errors[version].pop(0)
        bright = volume.voxels > 0
        if version == "2.0.0":
            bright[:10] = False
        if version in self.blind:
            bright[:] = False
        return Segmentation(
            labels=(bright * LESION).astype(np.uint8),
            tumour_probability=(bright * 240).astype(np.uint8),
            timings_s={"network": 0.0},
        )


@pytest.fixture
def house(tmp_path, monkeypatch) -> House:
    monkeypatch.setattr(main, "Attempts", partial(Attempts, retry_s=0.01))
    monkeypatch.setattr(shadowing, "RETRY_AFTER", timedelta(0))
    monkeypatch.setattr(shadowing, "LOOK_FOR_JOBS_S", 0.05)
    house = House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),), lease_s=3.0)
    decided = {"standing": "1.0.0", "actor": "Dr Lead", "reason": "to be seen", "now": datetime.now(UTC)}
    house.store.rollouts.shadow(NAME, "2.0.0", **decided)
    return house


def shadow(house: House, segmenter: TwoVersions, **changed) -> bool | None:
    stop = threading.Event()
    given = {"shadows": house.store.shadows, "files": house.files, "segmenter": segmenter, "stop": stop}
    return Shadowing(**given, lease_s=house.lease_s, **changed).make("test")


def pairs(house: House):
    now = datetime.now(UTC) + timedelta(seconds=1)
    return house.store.shadows.pairs(since=now - timedelta(hours=1), until=now, now=now)


def states(house: House) -> dict[ShadowState, int]:
    return {state: count for (_, state), count in house.store.shadows.counts().items()}


@pytest.mark.parametrize("scores", [(0.9,), (0.93, 0.61)])
@pytest.mark.parametrize("enhanced", [False, True])
def test_a_frozen_segmentation_is_read_back_as_it_was_written(scores, enhanced) -> None:
    headers = ct_series(slices=9, rows=32, columns=28)
    volume = volume_of_series(headers)
    if enhanced:
        image, volume = multi_frame(headers)
        headers = [image]
    finding, label_map = with_balls(volume, scores)
    seg, _ = map(read, write_report(finding, model=OLD, headers=headers, volume=volume, label_map=label_map, now=NOW))
    found = np.zeros(label_map.shape, dtype=np.uint16)
    fill(found, seg, volume)
    np.testing.assert_array_equal(found, label_map)


def test_the_answer_s_own_segmentation_is_compared_with_what_the_shadow_marks(house) -> None:
    segmenter = TwoVersions()
    uid = house.queue_study(chest_with_ball())
    house.work(segmenter)
    before = house.store.board.study(uid)
    assert shadow(house, segmenter) is True
    (pair,) = pairs(house)
    z, y, x = np.ogrid[:20, :24, :24]
    ball = ((z - 10) * 2.5) ** 2 + ((y - 12) * 0.8) ** 2 + ((x - 12) * 0.7) ** 2 < 5**2
    upper = ball.copy()
    upper[:10] = False
    assert pair.dice == pytest.approx(2 * upper.sum() / (ball.sum() + upper.sum()))
    assert (pair.answer.version, pair.shadow.version) == ("1.0.0", "2.0.0")
    assert (pair.answer.outcome, pair.shadow.outcome) == (Outcome.FOUND, Outcome.FOUND)
    assert (pair.lesions_both, pair.lesions_answer_only, pair.lesions_shadow_only) == (1, 0, 0)
    assert pair.answer.looked_s is not None
    assert pair.shadow.looked_s is not None
    assert (pair.answer.inference, pair.shadow.inference) == (REFERENCE, REFERENCE)
    assert house.store.board.study(uid) == before
    assert shadow(house, segmenter) is None


def test_a_shadow_that_sees_what_the_answer_did_not_shares_no_voxel_with_it(house) -> None:
    segmenter = TwoVersions(blind={"1.0.0"})
    uid = house.queue_study(chest_with_ball())
    house.work(segmenter)
    assert house.result(uid).outcome == Outcome.NOTHING_FOUND
    shadow(house, segmenter)
    (pair,) = pairs(house)
    assert (pair.answer.outcome, pair.shadow.outcome) == (Outcome.NOTHING_FOUND, Outcome.FOUND)
    assert (pair.dice, pair.lesions_both, pair.lesions_answer_only, pair.lesions_shadow_only) == (0, 0, 0, 1)


def test_where_neither_sees_anything_there_is_no_dice(house) -> None:
    segmenter = TwoVersions(blind={"1.0.0", "2.0.0"})
    house.queue_study(chest_with_ball())
    house.work(segmenter)
    shadow(house, segmenter)
    (pair,) = pairs(house)
    assert pair.dice is None
    assert (pair.lesions_both, pair.lesions_answer_only, pair.lesions_shadow_only) == (0, 0, 0)


@contextmanager
def working(house: House, segmenter: TwoVersions):
    """A worker until the end of the block."""
    stop = threading.Event()
    ended: list[bool] = []
    arguments = (house.store, house.files, house.queue, segmenter, house.settings, stop)
    worker = threading.Thread(target=lambda: ended.append(work(*arguments)))
    worker.start()
    try:
        yield stop
    finally:
        stop.set()
        worker.join()
    assert ended == [True]


def frozen(house: House, uid: str) -> bool:
    return all(job.result is not None for job in house.jobs(uid))


def test_a_worker_without_a_job_takes_the_shadow_and_gives_way_to_a_job(house) -> None:
    segmenter = TwoVersions(hangs={"2.0.0"})
    first = house.queue_study(chest_with_ball())
    with working(house, segmenter):
        wait_until(lambda: segmenter.asked == ["1.0.0", "2.0.0"])
        second = house.queue_study(chest_with_ball())
        wait_until(lambda: frozen(house, second))
        assert frozen(house, first)
        segmenter.hangs.clear()
        wait_until(lambda: states(house) == {ShadowState.KEPT: 2})
    assert segmenter.asked[:3] == ["1.0.0", "2.0.0", "1.0.0"]
    assert len(pairs(house)) == 2


def test_a_worker_that_is_stopped_gives_the_shadow_back_without_an_attempt(house) -> None:
    segmenter = TwoVersions(hangs={"2.0.0"})
    house.queue_study(chest_with_ball())
    with working(house, segmenter):
        wait_until(lambda: segmenter.asked == ["1.0.0", "2.0.0"])
    assert states(house) == {ShadowState.OWED: 1}
    _, task = house.store.shadows.lease(worker="next", now=datetime.now(UTC), duration=timedelta(minutes=1))
    assert task.job.attempt == 1


@pytest.mark.parametrize("error", [SegmenterUnavailable("gone"), KeyError("what nobody foresaw")])
def test_a_failure_that_may_pass_is_tried_again_and_at_last_given_up(house, error) -> None:
    segmenter = TwoVersions(errors={"2.0.0": [error] * MAX_ATTEMPTS})
    house.queue_study(chest_with_ball())
    house.work(segmenter)
    for _ in range(MAX_ATTEMPTS):
        assert shadow(house, segmenter) is True
    assert states(house) == {ShadowState.FAILED: 1}
    assert shadow(house, segmenter) is None


def test_a_shadow_whose_images_are_gone_says_nothing_of_the_study(house) -> None:
    segmenter = TwoVersions()
    uid = house.queue_study(chest_with_ball())
    house.work(segmenter)
    sources = [one for one in house.store.archive.instances(uid) if one.sop_class_uid == CTImageStorage]
    assert len(sources) == 20
    for one in sources:
        house.files.path(one.digest).unlink()
    assert shadow(house, segmenter) is True
    assert (states(house), pairs(house)) == ({ShadowState.FAILED: 1}, ())


def test_a_shadow_that_is_switched_off_meanwhile_says_nothing_of_the_study(house) -> None:
    segmenter = TwoVersions()
    house.queue_study(chest_with_ball())
    house.work(segmenter)
    scope = ModelScope(model_name=NAME, version="2.0.0")
    house.store.switches.switch_off(scope, reason="wrong", actor="Dr Lead", now=datetime.now(UTC))
    assert shadow(house, segmenter) is True
    assert (states(house), pairs(house)) == ({ShadowState.FAILED: 1}, ())


def test_a_shadow_that_runs_for_too_long_is_given_up_and_ends_the_process(house) -> None:
    segmenter = TwoVersions(hangs={"2.0.0"})
    house.queue_study(chest_with_ball())
    house.work(segmenter)
    assert shadow(house, segmenter, analysis_limit_s=0.3) is False
    assert states(house) == {ShadowState.FAILED: 1}


def test_a_promoted_version_that_the_worker_does_not_have_is_waited_for_and_then_named(house) -> None:
    decided = {"standing": "1.0.0", "actor": "Dr Lead", "reason": "better", "now": datetime.now(UTC)}
    house.store.rollouts.promote(NAME, "9.0.0", **decided)
    uid = house.queue_study(chest_with_ball())
    with working(house, TwoVersions()):
        wait_until(lambda: house.publish() is None or frozen(house, uid))
    result = house.result(uid)
    assert (result.outcome, result.reason.code, result.model.version) == (Outcome.FAILED, "version_not_here", "9.0.0")
    assert house.jobs(uid)[0].attempt == house.max_attempts


def test_a_job_is_done_by_the_promoted_version(house) -> None:
    decided = {"standing": "1.0.0", "actor": "Dr Lead", "reason": "better", "now": datetime.now(UTC)}
    uid = house.queue_study(chest_with_ball())
    house.store.rollouts.promote(NAME, "2.0.0", **decided)
    house.work(TwoVersions())
    assert house.result(uid).model.version == "2.0.0"
