"""Faults that real PACS make, made by dcmtk's storescp and by Orthanc: what becomes of a delivery, and what they keep.

A PACS that commits only half: test_commitment.
"""

import time
from pathlib import Path

import httpx
import pytest

from services.backends.part10 import digest
from services.triage.errors import InstanceRefused
from services.triage.result import DeliveryState
from tests.support.delivering import delivering, states
from tests.support.house import House, chest_with_ball
from tests.support.orthanc import Orthanc, orthanc
from tests.support.peers import free_port, received, storescp, wait_until

SR_BUT_NO_SEG = (
    "[[TransferSyntaxes]]\n[Any]\nTransferSyntax1 = LittleEndianExplicit\n"
    "[[PresentationContexts]]\n[Reports]\nPresentationContext1 = 1.2.840.10008.5.1.4.1.1.88.34\\Any\n"
    "[[Profiles]]\n[OnlyReports]\nPresentationContexts = Reports\n"
)
# the PACS has said success to everything, and nobody has written that down yet
BEFORE_THE_RECORD = (
    "import os; from services.backends.store import SqlStudyStore\n"
    "SqlStudyStore.delivered = lambda *_, **__: os._exit(9)"
)
KEPT_TWICE = "--unique-filenames"  # what arrives twice under one UID is kept twice


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def house(tmp_path: Path, port: int) -> House:
    """Its results go to `pacs`, which has two seconds for an answer, and to `folder`, which knows no faults."""
    path = tmp_path / "destinations.toml"
    path.write_text(
        f'[pacs]\naddress = "PACS@127.0.0.1:{port}"\nanswer_timeout_s = 2\n[folder]\naddress = "{tmp_path}/folder"\n'
    )
    return House(data=tmp_path / "data", destinations=path)


def until(house: House, uid: str, state: DeliveryState) -> None:
    wait_until(lambda: states(house, uid)["pacs"] == state, what=state)


def history(house: House, uid: str, destination: str = "pacs") -> list[tuple[str, str]]:
    """(what, cause) of a delivery."""
    (found,) = [one for one in house.result(uid).deliveries if one.destination == destination]
    return [(event.what, event.cause) for event in found.events]


def frozen(house: House, uid: str) -> list[str]:
    return sorted(digest(house.files.result_path(each.sha256).read_bytes()) for each in house.result(uid).objects)


def whole(folder: Path) -> bool:
    """Whether something is there, and all of it is written."""
    try:
        return bool(kept(folder))
    except InstanceRefused:
        return False


def kept(folder: Path) -> list[str]:
    return sorted(digest(path.read_bytes()) for path in received(folder))


def require_other_undisturbed(house: House, uid: str) -> None:
    assert history(house, uid, "folder") == [("pending", "folder"), ("sent", "SEG, SR")]


def test_a_pacs_that_was_down_gets_each_object_once(house, port, tmp_path):
    uid = house.freeze(chest_with_ball())
    with delivering(house):
        wait_until(lambda: len(history(house, uid)) >= 2 and states(house, uid)["folder"] == DeliveryState.SENT)
        with storescp(tmp_path / "pacs", port, KEPT_TWICE):
            until(house, uid, DeliveryState.SENT)
    first, *tries, last = history(house, uid)
    assert (first, last) == (("pending", "pacs"), ("sent", "SEG, SR"))
    assert {what for what, _ in tries} == {"try_failed"}
    assert "cannot be reached" in tries[0][1]
    assert kept(tmp_path / "pacs") == frozen(house, uid)
    require_other_undisturbed(house, uid)


def test_a_pacs_that_refuses_some_sop_classes_gets_the_others_and_the_history_names_the_refused(house, port, tmp_path):
    uid = house.freeze(chest_with_ball())
    profile = tmp_path / "reports.cfg"
    profile.write_text(SR_BUT_NO_SEG)
    with (
        storescp(tmp_path / "pacs", port, KEPT_TWICE, "--config-file", str(profile), "OnlyReports"),
        delivering(house),
    ):
        until(house, uid, DeliveryState.GIVEN_UP)
        wait_until(lambda: states(house, uid)["folder"] == DeliveryState.SENT)
    (_, (what, cause)) = history(house, uid)
    assert what == "given_up"
    assert "does not accept Segmentation Storage (1.2.840.10008.5.1.4.1.1.66.4)" in cause
    assert "1 of 2 objects were taken [context_rejected]" in cause
    _, report = house.result(uid).objects
    assert kept(tmp_path / "pacs") == [digest(house.files.result_path(report.sha256).read_bytes())]
    require_other_undisturbed(house, uid)


def test_a_pacs_that_is_slow_holds_up_no_other_and_gets_each_object_once(house, port, tmp_path):
    uid = house.freeze(chest_with_ball())
    with storescp(tmp_path / "pacs", port, KEPT_TWICE, "--sleep-after", "1"), delivering(house):
        wait_until(lambda: states(house, uid)["folder"] == DeliveryState.SENT)
        until(house, uid, DeliveryState.SENT)
    assert history(house, uid) == [("pending", "pacs"), ("sent", "SEG, SR")]
    assert kept(tmp_path / "pacs") == frozen(house, uid)
    times = {one.destination: one.events[-1].time for one in house.result(uid).deliveries}
    assert times["folder"] < times["pacs"]


def test_a_pacs_that_is_too_slow_is_tried_again_later(house, port, tmp_path):
    uid = house.freeze(chest_with_ball())
    with delivering(house):
        with storescp(tmp_path / "slow", port, "--sleep-during", "5"):
            wait_until(lambda: len(history(house, uid)) >= 2)
            wait_until(lambda: states(house, uid)["folder"] == DeliveryState.SENT)
        with storescp(tmp_path / "pacs", port, KEPT_TWICE):
            until(house, uid, DeliveryState.SENT)
    assert "did not answer a C-STORE" in history(house, uid)[1][1]
    assert kept(tmp_path / "pacs") == frozen(house, uid)
    require_other_undisturbed(house, uid)


@pytest.mark.parametrize("moment", ["--abort-during", "--abort-after"])
def test_a_pacs_that_aborts_before_its_answer_is_sent_everything_again(house, port, tmp_path, moment):
    uid = house.freeze(chest_with_ball())
    with delivering(house):
        with storescp(tmp_path / "aborts", port, moment):
            wait_until(lambda: len(history(house, uid)) >= 3)
        with storescp(tmp_path / "pacs", port, KEPT_TWICE):
            until(house, uid, DeliveryState.SENT)
    tries = history(house, uid)[1:-1]
    assert {what for what, _ in tries} == {"try_failed"}
    assert "the association was lost [destination_unavailable]" in tries[0][1]
    assert kept(tmp_path / "pacs") == frozen(house, uid)
    require_other_undisturbed(house, uid)


def test_what_a_pacs_took_before_it_closed_the_association_is_not_sent_again(house, port, tmp_path):
    uid = house.freeze(chest_with_ball())
    seg, report = (digest(house.files.result_path(each.sha256).read_bytes()) for each in house.result(uid).objects)
    with delivering(house):
        with storescp(tmp_path / "first", port, KEPT_TWICE, "--sleep-after", "4"):
            wait_until(lambda: whole(tmp_path / "first"))
            time.sleep(1)  # its answer comes right after the file
        wait_until(lambda: len(history(house, uid)) >= 2)
        with storescp(tmp_path / "second", port, KEPT_TWICE):
            until(house, uid, DeliveryState.SENT)
    assert kept(tmp_path / "first") == [seg]
    assert kept(tmp_path / "second") == [report]
    assert history(house, uid)[1][0] == "try_failed"
    assert history(house, uid)[-1] == ("sent", "SEG, SR")
    require_other_undisturbed(house, uid)


@pytest.mark.system
def test_a_pacs_that_keeps_the_first_of_two_objects_under_one_uid_has_every_result_whole(house, tmp_path):
    """What is sent twice is the same, and what is computed anew has UIDs of its own: nothing rests on overwriting."""
    with orthanc(tmp_path / "pacs") as pacs:
        house.destinations.write_text(f'[pacs]\naddress = "{pacs.address}"\n')
        series = chest_with_ball()
        uid = house.freeze(series)
        before = frozen(house, uid)
        with delivering(house, lease_s=1, fault=BEFORE_THE_RECORD) as process:
            assert process.wait(timeout=60) == 9
        assert digests(pacs) == before
        with delivering(house):
            until(house, uid, DeliveryState.SENT)
            assert digests(pacs) == before
            for image in series:
                image.PatientID = "CORRECTED"
            assert house.take_in(series) == uid
            house.work()
            until(house, uid, DeliveryState.SENT)
        after = frozen(house, uid)
        assert digests(pacs) == sorted(before + after)
    assert not set(before) & set(after)
    assert history(house, uid) == [("pending", "pacs"), ("sent", "SEG, SR")]


def digests(pacs: Orthanc) -> list[str]:
    names = httpx.get(f"{pacs.rest}/instances", timeout=30).json()
    return sorted(digest(httpx.get(f"{pacs.rest}/instances/{name}/file", timeout=30).content) for name in names)
