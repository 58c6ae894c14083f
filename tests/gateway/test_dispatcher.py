"""The dispatcher on a real store, real files and a real queue."""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from pydicom import Dataset
from structlog.testing import capture_logs

from services.backends.files import FolderStudyFiles
from services.backends.headers import read_instance
from services.backends.queue import EmbeddedJobQueue
from services.backends.routing_file import load_rules
from services.backends.store import SqlStudyStore, open_store
from services.gateway import dispatcher as dispatching
from services.gateway.dispatcher import OUTAGE_PAUSE, PAUSE, Dispatcher, run_dispatcher
from services.gateway.recalling import Recalling
from services.gateway.scrubbing import Scrubbing
from services.settings import Settings
from services.supervisor import run_part
from services.triage.errors import InstanceRefused, StoreUnavailable, TransientError
from services.triage.job import UNTAKEN_TOO_LONG, JobMessage, OrderPriority
from services.triage.ports import KeptFile, Recorded
from services.triage.routing import plan
from services.triage.study import Instance, Series, VersionKey
from services.triage.tenant import NO_TENANT, NO_TENANTS, Tenant, Tenants
from tests.support.ct import ct_series, write_series
from tests.support.pacs import pacs_file
from tests.support.records import NOON, after
from tests.support.warm import exit_code

QUIET_S = 15.0
WORKER = "worker-1"
LEASE = timedelta(seconds=60)


class Queue(EmbeddedJobQueue):
    """A real queue that can be told to be down."""

    down = False

    def publish(self, message: JobMessage) -> None:
        if self.down:
            raise TransientError("the broker does not answer")
        super().publish(message)


class Store:
    """A real store that does not take one study."""

    def __init__(self, store: SqlStudyStore, poisonous: str) -> None:
        self._store = store
        self.poisonous = poisonous

    def record(
        self,
        instances: Sequence[tuple[Instance, str]],
        *,
        now: datetime,
        tenant: Tenant | None,
        traceparent: str | None,
    ) -> list[Recorded]:
        if any(one.study.study_instance_uid == self.poisonous for one, _ in instances):
            raise StoreUnavailable("a value that the database refuses")
        return self._store.record(instances, now=now, tenant=tenant, traceparent=traceparent)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


class House:
    """Everything that a dispatcher works on, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(data=folder / "data", quiet_period_s=QUIET_S)
        self.settings.data.mkdir()
        url = self.settings.store_url()
        self.store, self.queue = open_store(url), Queue(url)
        self.files = FolderStudyFiles(self.settings.data)
        self.rules = load_rules(self.settings.routing)

    def dispatcher(
        self, store: Store | None = None, *, tenants: Tenants = NO_TENANTS, **settings: object
    ) -> Dispatcher:
        ours = Settings(**self.settings.model_dump() | settings)
        return Dispatcher(store or self.store, self.files, self.queue, self.rules, ours, tenants)

    def keep(self, series: list[Dataset], *, tenant: str = NO_TENANT) -> str:
        for path in write_series(series, self.folder / str(series[0].SeriesInstanceUID)):
            self.files.keep(path.read_bytes(), digest=read_instance(path).digest, received_from="CT1", tenant=tenant)
        return str(series[0].StudyInstanceUID)

    def messages(self) -> list[JobMessage]:
        taken = []
        while (received := self.queue.receive(timeout=timedelta())) is not None:
            taken.append(received.message)
            received.ack()
        return taken

    def leased_studies(self, now: datetime) -> list[str]:
        leases = [self.store.lease_next(worker=WORKER, now=now, duration=LEASE) for _ in self.messages()]
        return [lease[1].version.study_instance_uid for lease in leases if lease]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def chest(**attributes: object) -> list[Dataset]:
    return ct_series(slices=30, **attributes)


def test_a_kept_study_is_recorded_completed_when_quiet_and_queued(house: House) -> None:
    study, dispatcher = house.keep(chest()), house.dispatcher()
    dispatcher.turn(NOON)
    assert not list(house.files.pending())
    assert not house.messages()
    dispatcher.turn(after(QUIET_S - 1))
    assert not house.messages()
    dispatcher.turn(after(QUIET_S))
    assert house.leased_studies(after(QUIET_S)) == [study]


def test_jobs_that_nobody_takes_are_said_once_and_so_is_the_end_of_it(house: House) -> None:
    house.keep(chest())
    dispatcher = house.dispatcher()
    dispatcher.turn(NOON)
    dispatcher.turn(after(QUIET_S))
    late = QUIET_S + UNTAKEN_TOO_LONG.total_seconds()
    with capture_logs() as lines:
        for seconds in (0, 1, 2):
            dispatcher.turn(after(late + seconds))
        house.store.lease_next(worker=WORKER, now=after(late + 3), duration=LEASE)
        dispatcher.turn(after(late + 4))
    assert [line["event"] for line in lines] == ["no_worker", "no_worker_over"]


def test_a_study_that_no_rule_claims_is_out_of_scope_and_queues_nothing(house: House) -> None:
    study = house.keep(chest(BodyPartExamined="HEAD", StudyDescription="Head", SeriesDescription="Head"))
    dispatcher = house.dispatcher()
    dispatcher.turn(NOON)
    with capture_logs() as lines:
        dispatcher.turn(after(QUIET_S))
    assert not house.messages()
    complete = next(line for line in lines if line["event"] == "study_complete")
    assert (complete["study_instance_uid"], complete["out_of_scope"]) == (study, "no_rule")


@pytest.mark.parametrize(
    ("images", "sender_is", "asked", "priority"),
    [
        ({}, "routine", OrderPriority.ROUTINE, OrderPriority.ROUTINE),
        ({"RequestedProcedurePriority": "STAT"}, "routine", OrderPriority.ROUTINE, OrderPriority.STAT),
        ({}, "high", OrderPriority.ROUTINE, OrderPriority.HIGH),
        ({}, "high", OrderPriority.STAT, OrderPriority.STAT),
    ],
)
def test_the_order_priority_comes_from_the_request_the_calling_ae_or_whoever_asks(
    house: House, images: dict[str, str], sender_is: str, asked: OrderPriority, priority: OrderPriority
) -> None:
    study = house.keep(chest(**images))
    dispatcher = house.dispatcher(ae_priorities=f"ELSE=stat,CT1={sender_is}")
    dispatcher.turn(NOON)
    house.store.ask_completion(study, actor="a person", now=NOON, priority=asked)
    house.store.ask_completion(study, actor="a person", now=NOON)
    dispatcher.turn(after(1))
    assert [message.priority for message in house.messages()] == [priority]


def test_turns_of_two_dispatchers_queue_a_study_once(house: House) -> None:
    house.keep(chest())
    for now in (NOON, after(QUIET_S), after(QUIET_S + 1)):
        house.dispatcher().turn(now)
        house.dispatcher().turn(now)
    assert len(house.messages()) == 1


def test_a_study_that_the_store_refuses_does_not_hold_up_the_others_and_is_tried_again(house: House) -> None:
    poisonous = house.keep(chest(seed=1))
    sound = house.keep(chest(seed=2))
    store = Store(house.store, poisonous)
    dispatcher = house.dispatcher(store)
    dispatcher.turn(NOON)
    dispatcher.turn(after(QUIET_S))
    assert house.leased_studies(after(QUIET_S)) == [sound]
    assert len(list(house.files.pending())) == 30
    store.poisonous = ""
    later = NOON + PAUSE + timedelta(seconds=1)
    dispatcher.turn(later)
    dispatcher.turn(later + timedelta(seconds=QUIET_S))
    assert house.leased_studies(later) == [poisonous]


def test_a_bug_in_the_routing_of_one_study_fails_that_study_with_a_code_and_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, sound = house.keep(chest(seed=1, PatientName="Geheim^Name")), house.keep(chest(seed=2))

    def break_on_odd(series: Sequence[Series], rules: object) -> object:
        if series[0].header.study_instance_uid == odd:
            raise ZeroDivisionError("Geheim^Name")
        return plan(series, rules)

    monkeypatch.setattr("services.gateway.dispatcher.plan", break_on_odd)
    dispatcher = house.dispatcher()
    dispatcher.turn(NOON)
    with capture_logs() as lines:
        dispatcher.turn(after(QUIET_S))
    jobs = {}
    for _ in house.messages():
        taken = house.store.lease_next(worker=WORKER, now=after(QUIET_S), duration=LEASE)
        assert taken
        jobs[taken[1].version.study_instance_uid] = taken[1].plan
    refusal = jobs[odd].refusal
    assert refusal
    assert refusal.code == "routing_failed"
    assert jobs[sound].series_instance_uid
    assert "Geheim" not in str(lines)


def test_a_broker_that_is_down_stops_nothing_else_and_gets_the_message_later(house: House) -> None:
    house.keep(chest(seed=1))
    dispatcher = house.dispatcher()
    dispatcher.turn(NOON)
    house.queue.down = True
    house.keep(chest(seed=2))
    dispatcher.turn(after(QUIET_S))
    assert not list(house.files.pending())
    assert not house.messages()
    house.queue.down = False
    dispatcher.turn(after(QUIET_S + 1))
    assert len(house.messages()) == 1


def test_a_job_whose_lease_ran_out_is_published_again(house: House) -> None:
    house.keep(chest())
    dispatcher = house.dispatcher()
    dispatcher.turn(NOON)
    dispatcher.turn(after(QUIET_S))
    assert len(house.leased_studies(after(QUIET_S))) == 1
    dispatcher.turn(after(QUIET_S + 30))
    assert not house.messages()
    dispatcher.turn(after(QUIET_S + 61))
    assert len(house.messages()) == 1


def test_other_content_under_the_same_uid_is_said_aloud(house: House) -> None:
    series = chest(seed=1)
    house.keep(series)
    first = deepcopy(series[3])
    dispatcher = house.dispatcher()
    dispatcher.turn(NOON)
    changed = series[3]
    changed.PixelData = bytes(len(changed.PixelData))
    changed.SeriesInstanceUID = series[0].SeriesInstanceUID
    house.keep([changed])
    with capture_logs() as lines:
        dispatcher.turn(after(1))
        house.keep([first])
        dispatcher.turn(after(2))
    told = {line["event"]: line["instances"] for line in lines if "instances" in line}
    assert told == {"other_content_under_the_same_uid": 1, "older_content_came_again": 1}
    assert not list(house.files.pending())


@pytest.mark.parametrize("damage", [lambda kept: b"not DICOM", lambda kept: kept[:-8] + bytes(8)], ids=["all", "some"])
def test_a_kept_file_that_the_disk_has_damaged_goes_to_quarantine_and_blocks_nothing(
    house: House, damage: Callable[[bytes], bytes]
) -> None:
    study = house.keep(chest())
    damaged = next(iter(house.files.pending()))
    path = house.files.path(damaged.digest)
    path.write_bytes(damage(path.read_bytes()))
    dispatcher = house.dispatcher()
    dispatcher.turn(NOON)
    dispatcher.turn(after(QUIET_S))
    assert not list(house.files.pending())
    assert len(list((house.settings.data / "quarantine").glob("*.bin"))) == 1
    assert house.leased_studies(after(QUIET_S)) == [study]


def test_after_an_outage_of_the_store_a_study_does_not_wait_for_long(house: House) -> None:
    study = house.keep(chest())
    store = Store(house.store, poisonous=study)
    dispatcher = house.dispatcher(store)
    dispatcher.turn(NOON)
    store.poisonous = ""
    dispatcher.turn(NOON + OUTAGE_PAUSE)
    assert not list(house.files.pending())


def test_an_outage_is_said_once_and_so_is_its_end(house: House) -> None:
    house.keep(chest())
    dispatcher = house.dispatcher()
    house.queue.down = True
    with capture_logs() as logged:
        for turn in range(3):
            dispatcher.turn(after(turn * QUIET_S))
        house.queue.down = False
        dispatcher.turn(after(3 * QUIET_S))
    told = [one["event"] for one in logged if one.get("step") == "publish"]
    assert told == ["step_postponed", "step_postponed_over"]


def test_a_study_waits_for_the_grace_where_a_pacs_is_to_be_asked_and_nobody_asks_it(
    house: House, tmp_path: Path
) -> None:
    study = house.keep(chest())
    file = pacs_file(tmp_path / "pacs.toml", "PACS@127.0.0.1:104")
    dispatcher = house.dispatcher(pacs=file, pacs_grace_s=30)
    dispatcher.turn(NOON)
    dispatcher.turn(after(QUIET_S + 29))
    assert not house.messages()
    dispatcher.turn(after(QUIET_S + 30))
    assert house.leased_studies(after(QUIET_S + 30)) == [study]
    detail = house.store.board.study(study)
    assert detail
    assert [event.what for event in detail.events] == ["receiving", "pacs_unreachable", "complete"]


def test_a_file_of_pacs_that_are_not_asked_about_completeness_delays_nothing(house: House, tmp_path: Path) -> None:
    study = house.keep(chest())
    file = pacs_file(tmp_path / "pacs.toml", "PACS@127.0.0.1:104", completeness=False)
    dispatcher = house.dispatcher(pacs=file)
    dispatcher.turn(NOON)
    dispatcher.turn(after(QUIET_S))
    assert house.leased_studies(after(QUIET_S)) == [study]


A, B = Tenant(name="a", issuer_of_patient_id="HOSPITAL-A"), Tenant(name="b")


def test_what_another_tenant_sent_of_a_study_goes_to_quarantine_and_the_door_knows_whose_it_is(house: House) -> None:
    series = chest()
    study = house.keep(series, tenant="a")
    dispatcher = house.dispatcher(tenants=Tenants(tenants=(A, B)))
    dispatcher.turn(NOON)
    house.files.claim(study, "b")  # as when the study came before there were tenants
    house.keep(chest(study_uid=study, seed=7)[:3], tenant="b")
    house.keep(series[:1], tenant="b")
    sound = house.keep(chest(seed=9), tenant="b")
    with capture_logs() as lines:
        dispatcher.turn(after(1))
    assert [line["instances"] for line in lines if line["event"] == "other_tenants_study"] == [4]
    assert not list(house.files.pending())
    assert len(list((house.settings.data / "quarantine").glob("*.bin"))) == 4
    assert house.files.claim(study, "c") == "a"
    assert (house.store.tenant(study), house.store.tenant(sound)) == ("a", "b")
    detail = house.store.board.study(study)
    assert detail is not None
    assert detail.row.instance_count == 30


def test_what_was_kept_before_there_were_tenants_is_the_heirs(house: House) -> None:
    study = house.keep(chest())
    house.dispatcher(tenants=Tenants(tenants=(A, B), earlier="b")).turn(NOON)
    assert not list(house.files.pending())
    assert house.store.tenant(study) == "b"


def test_what_a_tenant_sent_that_is_no_longer_in_the_file_is_kept_apart_all_the_same(house: House) -> None:
    study = house.keep(chest(), tenant="closed")
    house.dispatcher(tenants=Tenants(tenants=(A, B))).turn(NOON)
    assert house.store.tenant(study) == "closed"


def test_a_volume_that_is_away_is_waited_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    uid, dispatcher = house.keep(chest()), house.dispatcher()

    def away(_files: FolderStudyFiles) -> Iterator[KeptFile]:
        raise OSError(errno.ESTALE, "stale file handle", str(house.folder))

    with monkeypatch.context() as patch, capture_logs() as said:
        patch.setattr(FolderStudyFiles, "pending", away)
        dispatcher.turn(NOON)
    assert said == [{"event": "step_postponed", "log_level": "warning", "step": "settle", "error": "OSError"}]
    dispatcher.turn(after(1))
    assert house.store.board.study(uid) is not None


def test_a_file_that_is_erased_while_it_is_settled_holds_up_no_other_study(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased, other = house.keep(chest()), house.keep(chest())
    dispatcher, settle = house.dispatcher(), FolderStudyFiles.settle
    of_erased = next(file.digest for file in house.files.pending())

    def too_late(files: FolderStudyFiles, digests: Iterable[str], *, tenant: str) -> None:
        if of_erased in (wanted := set(digests)):
            raise FileNotFoundError(errno.ENOENT, "no such file")
        settle(files, wanted, tenant=tenant)

    with monkeypatch.context() as patch:
        patch.setattr(FolderStudyFiles, "settle", too_late)
        dispatcher.turn(NOON)
    assert house.store.board.study(other) is not None
    assert len(list(house.files.pending())) == 30
    dispatcher.turn(NOON + PAUSE)
    assert house.store.board.study(erased) is not None
    assert not list(house.files.pending())


def test_a_damaged_file_that_is_gone_before_it_is_put_into_quarantine_holds_up_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = house.keep(chest())
    first = house.files.path(next(file.digest for file in house.files.pending()))

    def reads(path: Path) -> Instance:
        if path != first:
            return read_instance(path)
        path.unlink()
        raise InstanceRefused("damaged", "not the bytes that were kept")

    monkeypatch.setattr(dispatching, "read_instance", reads)
    house.dispatcher().turn(NOON)
    assert len(house.store.instances(VersionKey(study_instance_uid=uid, number=1))) == 29


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, MemoryError])
def test_a_study_whose_completion_breaks_each_time_holds_up_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    odd, sound = house.keep(chest(seed=1, PatientName="Geheim^Name")), house.keep(chest(seed=2))
    instances = SqlStudyStore.instances

    def breaks_on_odd(store: SqlStudyStore, version: VersionKey) -> tuple[Instance, ...]:
        if version.study_instance_uid == odd:
            raise error("Geheim^Name")
        return instances(store, version)

    monkeypatch.setattr(SqlStudyStore, "instances", breaks_on_odd)
    dispatcher = house.dispatcher()
    dispatcher.turn(NOON)
    with capture_logs() as said:
        dispatcher.turn(after(QUIET_S))
    assert house.leased_studies(after(QUIET_S)) == [sound]
    (postponed,) = [one for one in said if one["event"] == "completion_postponed"]
    assert (postponed["study_instance_uid"], postponed["error"]) == (odd, error.__name__)
    assert "test_dispatcher.py" in postponed["place"]
    assert "Geheim" not in str(said)


def test_a_file_that_cannot_be_understood_for_a_reason_nobody_foresaw_holds_up_no_other(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = house.keep(chest())
    first = house.files.path(next(file.digest for file in house.files.pending()))

    def reads(path: Path) -> Instance:
        if path == first:
            raise RecursionError("sequence in sequence")
        return read_instance(path)

    monkeypatch.setattr(dispatching, "read_instance", reads)
    house.dispatcher().turn(NOON)
    assert len(house.store.instances(VersionKey(study_instance_uid=uid, number=1))) == 29


def test_a_step_that_breaks_each_time_ends_the_dispatcher_once_the_others_had_their_turn(house: House) -> None:
    uid = house.keep(chest())

    def breaks(_now: datetime) -> int:
        raise RuntimeError("Geheim^Name")

    for at in (NOON, after(QUIET_S)):
        again = Dispatcher(house.store, house.files, house.queue, house.rules, house.settings, audit=breaks)
        with capture_logs() as said, pytest.raises(RuntimeError):
            again.turn(at)
        (told,) = [one for one in said if one["event"] == "step_broke"]
        assert (told["step"], told["error"], told["log_level"]) == ("settle_audit", "RuntimeError", "error")
        assert "Geheim" not in str(said)
    assert house.leased_studies(after(QUIET_S)) == [uid]


def breaking(settings: Settings, what: type) -> None:
    """A dispatcher's process in which nobody foresaw what a turn raises: its own, or one beside it."""

    def breaks(*_: object) -> None:
        raise RuntimeError("nobody foresaw it")

    what.turn = breaks  # type: ignore[attr-defined]
    run_part(run_dispatcher, settings)


def unroutable(settings: Settings) -> None:
    """One whose routing rules are gone."""
    run_part(run_dispatcher, settings.model_copy(update={"routing": settings.data / "gone.toml"}))


@pytest.mark.parametrize(
    "part",
    [unroutable, *(partial(breaking, what=what) for what in (Dispatcher, Recalling, Scrubbing))],
    ids=["routing", "dispatcher", "recalling", "scrubbing"],
)
def test_a_dispatcher_that_breaks_ends_its_process_so_that_it_is_started_again(
    house: House, part: Callable[[Settings], None]
) -> None:
    assert exit_code(part, house.settings) == 1
