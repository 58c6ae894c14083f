"""The recall of a period, carried out on real files and a real store, and gone on with after a kill."""

import errno
import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import dcmread

from services.backends.files import FolderStudyFiles
from services.backends.store import SqlStudyStore, open_store
from services.gateway import recalling
from services.gateway.recalling import Recalling
from services.triage.errors import OutOfResources
from services.triage.finding import Flag
from services.triage.result import DeliveryState
from services.triage.switch import ModelScope, Period
from tests.support.house import House, chest_with_ball
from tests.support.peers import wait_until
from tests.support.records import MODEL, PACS, after, analyse
from tests.support.warm import FORKED

WHY = "it marks the diaphragm"
SCOPE = ModelScope(model_name=MODEL.name)


def ask(store: SqlStudyStore, scope: ModelScope = SCOPE):
    now = datetime.now(UTC)
    return store.campaigns.ask(scope, Period(until=now), reason=WHY, actor="Dr Lead", now=now)


def carry_out(url: str, folder: Path) -> None:
    """As a process of its own."""
    Recalling(open_store(url), FolderStudyFiles(folder), notes=False, stop=threading.Event()).turn()


def recalls(store: SqlStudyStore, studies: int) -> list[tuple[str, str]]:
    """(actor, reason) of every line 'recalled' of all histories."""
    details = [store.board.study(f"1.{number}") for number in range(studies)]
    return [
        (event.actor, event.cause)
        for detail in details
        if detail
        for event in detail.versions[0].jobs[0].events
        if event.what == "recalled"
    ]


def test_a_recall_of_300_that_is_killed_is_gone_on_with_and_each_result_is_recalled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, studies = f"sqlite:///{tmp_path / 'vigie.sqlite'}", 300
    store = open_store(url)
    for number in range(studies):
        analyse(store, study=f"1.{number}", at=number, flag=Flag.URGENT)
    campaign = ask(store)
    assert campaign.left == studies
    process = FORKED.Process(target=carry_out, args=(url, tmp_path))
    process.start()
    wait_until(lambda: store.campaigns.listed()[0].recalled >= 20, timeout_s=60)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    halfway = store.campaigns.get(campaign.campaign_id)
    assert halfway is not None
    assert 20 <= halfway.recalled < studies
    assert halfway.recalled + halfway.left == studies
    assert store.campaigns.claim(now=datetime.now(UTC), duration=timedelta(0)) is None  # it may still be at work
    monkeypatch.setattr(recalling, "_now", lambda: datetime.now(UTC) + timedelta(minutes=2))
    carry_out(url, tmp_path)
    done = store.campaigns.get(campaign.campaign_id)
    assert done is not None
    assert (done.recalled, done.left, done.trouble) == (studies, 0, "")
    assert done.finished_at is not None
    assert recalls(store, studies) == [("Dr Lead", WHY)] * studies
    assert store.claim_delivery(PACS.name, now=after(10_000), duration=timedelta(minutes=1)) is None
    store.close()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(data=tmp_path / "data", send_to=("PACS@h:104",))


def delivered(house: House) -> str:
    uid = house.freeze(chest_with_ball())
    house.store.delivered(house.result(uid).deliveries[0].delivery_id, now=datetime.now(UTC))
    return uid


def test_each_is_recalled_with_its_note_as_a_single_one_is(house: House) -> None:
    uids = [delivered(house) for _ in range(2)]
    campaign = ask(house.store, ModelScope(model_name="ct_lung_lesion"))
    stop = threading.Event()
    running = threading.Thread(target=Recalling(house.store, house.files, notes=True, stop=stop).run)
    running.start()
    wait_until(lambda: house.store.campaigns.get(campaign.campaign_id).finished_at is not None)
    stop.set()
    running.join()
    for uid in uids:
        result = house.result(uid)
        assert result.recall is not None
        assert (result.recall.actor, result.recall.reason) == ("Dr Lead", WHY)
        (note,) = [one for one in result.deliveries if one.note]
        assert note.state is DeliveryState.PENDING
        (written,) = [one for one in result.objects if one.note]
        assert dcmread(house.files.result_path(written.sha256)).StudyInstanceUID == uid


def test_a_result_whose_files_are_gone_is_recalled_without_a_note(house: House) -> None:
    uid = delivered(house)
    for one in house.result(uid).objects:
        house.files.result_path(one.sha256).unlink()
    ask(house.store, ModelScope(model_name="ct_lung_lesion"))
    assert Recalling(house.store, house.files, notes=True, stop=threading.Event()).turn()
    assert house.result(uid).recall is not None
    assert [one.note for one in house.result(uid).deliveries] == [False]


def test_a_full_disk_puts_it_off_and_says_so_and_then_it_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = delivered(house)
    campaign = ask(house.store, ModelScope(model_name="ct_lung_lesion"))
    doing = Recalling(house.store, house.files, notes=True, stop=threading.Event())

    def full(_content: bytes) -> str:
        raise OutOfResources("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(house.files, "keep_result", full)
        with pytest.raises(OutOfResources):
            doing.turn()
    waiting = house.store.campaigns.get(campaign.campaign_id)
    assert waiting is not None
    assert (waiting.left, "no space left" in waiting.trouble) == (1, True)
    assert doing.turn()
    assert house.result(uid).recall is not None
    assert not doing.turn()


@pytest.mark.parametrize("fault", [ValueError("odd"), OSError(errno.EIO, "the volume is away")])
def test_one_that_breaks_holds_up_no_other(house: House, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    uids = [delivered(house) for _ in range(3)]
    odd = house.result(uids[0]).result_id
    campaign = ask(house.store, ModelScope(model_name="ct_lung_lesion"))
    real = SqlStudyStore.frozen_result

    def breaks(store: SqlStudyStore, result_id: str):
        if result_id == odd:
            raise fault
        return real(store, result_id)

    monkeypatch.setattr(SqlStudyStore, "frozen_result", breaks)
    assert Recalling(house.store, house.files, notes=True, stop=threading.Event()).turn()
    assert [house.result(uid).recall is not None for uid in uids] == [False, True, True]
    waiting = house.store.campaigns.get(campaign.campaign_id)
    assert waiting is not None
    assert (waiting.left, waiting.finished_at) == (1, None)
    assert waiting.trouble.startswith("1 results could not be recalled")
