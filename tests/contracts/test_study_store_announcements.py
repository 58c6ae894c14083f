"""The contract of what MPPS and IAN announce: kept once, and what of it concerns a receiving version."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from services.backends.store import SqlStudyStore
from services.backends.store.announcements import KEPT, Changed, State
from services.triage.completeness import Announced, Announcer
from services.triage.job import OrderPriority
from services.triage.study import VersionKey
from tests.support.records import NOON, STUDY, after, image, one_job, sent

STEP = "1.2.826.0.5.1"
FIRST = VersionKey(study_instance_uid=STUDY, number=1)
SECOND = VersionKey(study_instance_uid=STUDY, number=2)


def uids(*numbers: int) -> tuple[str, ...]:
    return tuple(image(number).header.sop_instance_uid for number in numbers)


def begin(store: SqlStudyStore, step: str = STEP, studies: Sequence[str] = (STUDY,)) -> bool:
    return store.announcements.add(
        step,
        studies,
        announcer=Announcer.MPPS,
        state=State.IN_PROGRESS,
        instances=(),
        received_from="CT1",
        now=NOON,
    )


def end(store: SqlStudyStore, *numbers: int, step: str = STEP, state: State = State.COMPLETED) -> Changed:
    return store.announcements.change_step(step, state=state, instances=uids(*numbers))


def notify(store: SqlStudyStore, uid: str, *numbers: int, state: State = State.ONLINE) -> bool:
    return store.announcements.add(
        uid,
        [STUDY],
        announcer=Announcer.IAN,
        state=state,
        instances=uids(*numbers),
        received_from="PACS",
        now=after(1),
    )


def announced(store: SqlStudyStore, version: VersionKey = FIRST) -> Announced | None:
    found = store.evidence(version)
    assert found is not None
    return found.announced


def complete(store: SqlStudyStore, *, seen: int) -> None:
    assert store.complete(FIRST, one_job(), priority=OrderPriority.ROUTINE, seen=seen, now=after(60))


def test_a_step_is_begun_once_and_not_changed_after_its_end(store: SqlStudyStore) -> None:
    assert end(store, 1) is Changed.UNKNOWN
    assert begin(store)
    assert not begin(store)
    assert store.announcements.change_step(STEP, state=State.IN_PROGRESS, instances=uids(1)) is Changed.DONE
    assert store.announcements.change_step(STEP, state=State.COMPLETED, instances=None) is Changed.DONE
    assert end(store, 1, 2) is Changed.FINAL
    store.record(sent(image(1)), now=NOON)
    assert announced(store) == Announced(by=Announcer.MPPS, instances=1, missing=0, in_progress=False)


def test_a_notification_is_no_step(store: SqlStudyStore) -> None:
    assert notify(store, STEP, 1)
    assert not notify(store, STEP, 1, 2)
    assert end(store, 1) is Changed.UNKNOWN


def test_what_is_announced_before_among_and_after_the_images_is_held_against_them(store: SqlStudyStore) -> None:
    begin(store)
    store.record(sent(image(1)), now=NOON)
    assert announced(store) is None
    assert store.announced_versions() == []
    end(store, 1, 2, 3)
    assert store.announced_versions() == [FIRST]
    assert announced(store) == Announced(by=Announcer.MPPS, instances=3, missing=2, in_progress=False)
    store.record(sent(image(2), image(3), image(4)), now=after(1))
    assert announced(store) == Announced(by=Announcer.MPPS, instances=3, missing=0, in_progress=False)


def test_all_steps_and_notifications_of_a_study_count_together(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    begin(store)
    begin(store, "1.2.826.0.5.2", [STUDY, "1.2.404"])
    end(store, 1)
    assert announced(store) == Announced(by=Announcer.MPPS, instances=1, missing=0, in_progress=True)
    end(store, 2, step="1.2.826.0.5.2")
    notify(store, "1.2.826.0.6.1", 2, 3)
    assert announced(store) == Announced(by=Announcer.IAN, instances=3, missing=2, in_progress=False)


def test_a_step_that_was_discontinued_and_one_not_all_online_say_nothing(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    begin(store)
    end(store, 1, 2, state=State.DISCONTINUED)
    notify(store, "1.2.826.0.6.1", 1, 2, state=State.NOT_ONLINE)
    assert announced(store) is None
    assert store.announced_versions() == []


def test_what_a_complete_version_had_completes_no_later_one(store: SqlStudyStore) -> None:
    """Else each late image of an announced study would open and close a version of its own."""
    store.record(sent(image(1), image(2)), now=NOON)
    begin(store)
    end(store, 1, 2)
    complete(store, seen=2)
    assert store.announced_versions() == []
    store.record(sent(image(3)), now=after(100))
    assert announced(store, SECOND) is None


def test_what_a_version_was_completed_without_is_waited_for_in_the_next(store: SqlStudyStore) -> None:
    store.record(sent(image(1)), now=NOON)
    begin(store)
    end(store, 1, 2, 3)
    complete(store, seen=1)
    store.record(sent(image(2)), now=after(100))
    assert announced(store, SECOND) == Announced(by=Announcer.MPPS, instances=3, missing=1, in_progress=False)


def test_after_a_week_an_announcement_is_forgotten(store: SqlStudyStore) -> None:
    begin(store)
    end(store, 1, 2)
    store.record(sent(image(1)), now=NOON)

    def another(now: datetime) -> bool:
        common = {"announcer": Announcer.IAN, "state": State.ONLINE, "instances": (), "received_from": "PACS"}
        return store.announcements.add("1.2.826.0.6.1", ["1.2.404"], **common, now=now)  # type: ignore[arg-type]

    another(NOON + KEPT)
    assert announced(store)
    assert another(NOON + 2 * KEPT + timedelta(seconds=1))
    assert announced(store) is None


def test_a_step_may_name_more_instances_than_a_statement_has_room_for(store: SqlStudyStore) -> None:
    many = range(1, 1202)
    store.record(sent(*(image(number) for number in many[:-1])), now=NOON)
    begin(store)
    end(store, *many)
    found = announced(store)
    assert found is not None
    assert (found.instances, found.missing) == (1201, 1)
