"""Who asks a PACS: growing pauses, and a PACS that is away is tried by one thread at a time. The PACS is a fake: it
forces the faults; tests/system/test_asking_the_pacs.py has a real one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.backends.store import SqlStudyStore, open_store
from services.gateway.asking import RETRY_S, Asking
from services.gateway.daily import POLL_S, Daily, days_before
from services.gateway.daily import RETRY_S as DAILY_RETRY_S
from services.gateway.reconciliation import Busy, Report
from services.settings import Settings
from services.triage.completeness import Inquired
from services.triage.errors import DestinationUnavailable
from services.triage.pacs import SeriesAtPacs, StudyAtPacs
from services.triage.study import VersionKey
from tests.support.pacs import one_pacs
from tests.support.records import NOON, STUDY, after, image, sent

VERSION = VersionKey(study_instance_uid=STUDY, number=1)


@dataclass
class Archive:
    """A PACS that has some images of each study, is away, or answers oddly."""

    has: int = 5
    away: bool = False
    odd: bool = False
    asked_at: list[float] = field(default_factory=list)

    def study(self, uid: str) -> StudyAtPacs:
        if self.odd:
            raise ZeroDivisionError("Geheim^Name")
        return StudyAtPacs(study_instance_uid=uid, instances=self.has)

    def series(self, uid: str) -> list[SeriesAtPacs]:
        return [SeriesAtPacs(series_instance_uid=f"{uid}.1", modality="CT", instances=self.has)]


@dataclass
class Scene:
    store: SqlStudyStore
    archive: Archive
    asking: Asking
    seconds: float = 0.0

    def turn(self, seconds: float) -> bool:
        self.seconds = seconds
        return self.asking.turn()

    def outcome(self, version: VersionKey = VERSION) -> Inquired | None:
        found = self.store.evidence(version)
        return found.answer.outcome if found and found.answer else None


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    settings = Settings(data=tmp_path / "data", quiet_period_s=15)
    store, archive = open_store(settings.store_url()), Archive()
    pacs = one_pacs(tmp_path / "pacs.toml", "PACS@host:104", sent_by=["CT1"])

    @contextmanager
    def questions(*_: object) -> Iterator[Archive]:
        archive.asked_at.append(made.seconds)
        if archive.away:
            raise DestinationUnavailable("PACS@host:104 cannot be reached")
        yield archive

    monkeypatch.setattr("services.gateway.asking.questions", questions)
    made = Scene(
        store=store, archive=archive, asking=Asking(store, [pacs], settings, clock=lambda: after(made.seconds))
    )
    return made


def test_a_study_of_which_the_pacs_has_more_is_asked_about_with_growing_pauses(scene: Scene) -> None:
    scene.store.record(sent(image(1)), now=NOON)
    for seconds in range(900):
        scene.turn(seconds)
    pauses = [
        later - earlier for earlier, later in zip(scene.archive.asked_at, scene.archive.asked_at[1:], strict=False)
    ]
    assert scene.archive.asked_at[0] == 15
    for pause, most in zip(pauses, (10, 20, 40, 80, 120, 120, 120), strict=False):
        assert 0.9 * most - 1 <= pause <= most + 1
    assert len(pauses) >= 7
    assert scene.outcome() is Inquired.MORE


def test_studies_of_others_are_not_asked_about(scene: Scene) -> None:
    scene.store.record(sent(image(1), sender="MR1"), now=NOON)
    assert scene.turn(15)
    assert scene.archive.asked_at == []
    assert scene.outcome() is Inquired.NOT_ASKED


def test_a_pacs_that_is_away_is_tried_now_and_then_for_all_studies_and_is_said_once(scene: Scene) -> None:
    scene.store.record(sent(*(image(1, study=f"1.7.{number}") for number in range(20))), now=NOON)
    scene.archive.away = True
    with capture_logs() as lines:
        for seconds in (15.0, 16.0, 15 + RETRY_S + 1):
            while scene.turn(seconds):
                pass
        assert scene.archive.asked_at == [15.0, 15 + RETRY_S + 1]
        scene.archive.away = False
        while scene.turn(60):
            pass
    told = [line["event"] for line in lines if line["event"].startswith("pacs_unreachable")]
    assert told == ["pacs_unreachable", "pacs_unreachable_over"]
    assert scene.outcome(VersionKey(study_instance_uid="1.7.19", number=1)) is Inquired.MORE


def test_an_odd_answer_about_one_study_is_no_answer_and_quotes_nothing(scene: Scene) -> None:
    scene.store.record(sent(image(1)), now=NOON)
    scene.archive.odd = True
    with capture_logs() as lines:
        assert scene.turn(15)
    assert scene.outcome() is Inquired.UNREACHABLE
    assert [line["event"] for line in lines] == ["unforeseen_error"]
    assert "Geheim" not in str(lines)


@dataclass
class Work:
    """A reconciliation that ends as it is told to."""

    ends: Any
    done: list[list[str]] = field(default_factory=list)

    def run(self, _pacs: object, days: list[datetime], **_: object) -> Report:
        self.done.append([f"{day:%d}" for day in days])
        if isinstance(self.ends, Exception):
            raise self.ends
        return Report(pacs="archive", error=self.ends)


def daily(scene: Scene, tmp_path: Path, ends: object) -> Daily:
    pacs = one_pacs(tmp_path / "pacs.toml", "PACS@host:104", reconcile_at="02:30", reconcile_days=2)
    return Daily(store=scene.store, pacs=pacs, work=Work(ends))  # type: ignore[arg-type]


def at(hour: int, minute: int) -> datetime:
    return datetime.combine(NOON.date(), time(hour, minute)).astimezone()


def test_the_daily_one_is_done_from_its_time_on_for_the_days_before(scene: Scene, tmp_path: Path) -> None:
    looking = daily(scene, tmp_path, "")
    looking.turn(at(2, 29))
    assert looking.work.done == []  # type: ignore[attr-defined]
    looking.turn(at(2, 30))
    looking.turn(at(23, 0))
    assert looking.work.done == [["27", "28"]] * 2  # type: ignore[attr-defined]
    assert days_before(NOON.date(), 1) == [NOON.date() - timedelta(days=1)]


@pytest.mark.parametrize(
    ("ends", "pause_s"),
    [("the PACS is away", DAILY_RETRY_S), (ZeroDivisionError("Geheim^Name"), DAILY_RETRY_S), (Busy("busy"), POLL_S)],
)
def test_a_daily_one_that_failed_is_tried_again_later(
    scene: Scene, tmp_path: Path, ends: object, pause_s: float
) -> None:
    with capture_logs() as lines:
        assert daily(scene, tmp_path, ends).turn(at(3, 0)) == pause_s
    assert "Geheim" not in str(lines)
