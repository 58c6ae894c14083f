"""`run_deliver` as a process of its own, against a real storescp; stopped, killed and started again."""

import signal
from datetime import UTC, datetime, timedelta

import pytest
from pydicom import dcmread

from services.backends.part10 import digest
from services.patience import pause_after
from services.triage.errors import DestinationUnavailable
from services.triage.result import DeliveryState
from tests.support.delivering import delivering, states
from tests.support.house import House, chest_with_ball
from tests.support.peers import free_port, received, storescp, wait_until


def frozen_digests(house, uid):
    return sorted(digest(house.files.result_path(each.sha256).read_bytes()) for each in house.result(uid).objects)


def digests(folder):
    return sorted(digest(path.read_bytes()) for path in received(folder))


def modalities(paths):
    return sorted(dcmread(path, specific_tags=["Modality"]).Modality for path in paths)


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def house(tmp_path, port):
    return House(data=tmp_path / "data", send_to=(f"PACS@127.0.0.1:{port}",))


def test_a_frozen_result_reaches_the_pacs_byte_for_byte(house, port, tmp_path):
    uid = house.freeze(chest_with_ball())
    with storescp(tmp_path / "pacs", port), delivering(house):
        wait_until(lambda: set(states(house, uid).values()) == {DeliveryState.SENT})
    assert digests(tmp_path / "pacs") == frozen_digests(house, uid)
    assert len(digests(tmp_path / "pacs")) == 2


def test_a_result_arrives_once_the_pacs_is_back(house, port, tmp_path):
    uid = house.freeze(chest_with_ball())
    with delivering(house):
        wait_until(lambda: house.result(uid).deliveries[0].attempt >= 2)
        assert states(house, uid) == {house.send_to[0]: DeliveryState.PENDING}
        with storescp(tmp_path / "pacs", port):
            wait_until(lambda: set(states(house, uid).values()) == {DeliveryState.SENT})
    assert digests(tmp_path / "pacs") == frozen_digests(house, uid)


def test_a_result_arrives_after_delivery_was_killed_while_the_pacs_was_down(house, port, tmp_path):
    uid = house.freeze(chest_with_ball())
    with delivering(house):
        wait_until(lambda: house.result(uid).deliveries[0].attempt >= 1)
    with storescp(tmp_path / "pacs", port), delivering(house):
        wait_until(lambda: set(states(house, uid).values()) == {DeliveryState.SENT})
    assert digests(tmp_path / "pacs") == frozen_digests(house, uid)


def test_a_destination_that_is_down_does_not_hold_up_another(house, tmp_path):
    house = House(data=house.data, send_to=(*house.send_to, str(tmp_path / "out")))
    uids = [house.freeze(chest_with_ball()) for _ in range(3)]
    with delivering(house, retry_s=60):
        wait_until(lambda: all(states(house, uid)[str(tmp_path / "out")] == DeliveryState.SENT for uid in uids))
    assert {states(house, uid)[house.send_to[0]] for uid in uids} == {DeliveryState.PENDING}


def test_a_result_is_written_once_with_what_any_destination_takes_and_each_gets_its_own(house, port, tmp_path):
    viewer, later = tmp_path / "viewer", tmp_path / "later"
    choices = tmp_path / "destinations.toml"
    choices.write_text(f'[viewer]\naddress = "{viewer}"\nobjects = ["SR", "GSPS", "SC"]\n')
    house = House(data=house.data, send_to=house.send_to, destinations=choices)
    uid = house.freeze(chest_with_ball())
    choices.write_text(f'{choices.read_text()}[later]\naddress = "{later}"\nobjects = ["KOS"]\n')
    with storescp(tmp_path / "pacs", port), delivering(house):
        wait_until(lambda: set(states(house, uid).values()) == {DeliveryState.SENT})
    assert modalities(received(tmp_path / "pacs")) == ["SEG", "SR"]
    assert modalities(viewer.rglob("*.dcm")) == ["OT", "PR", "SR"]
    # what was frozen before somebody wanted more stays as it is
    assert not later.exists()
    assert [one.modality for one in house.result(uid).objects] == ["SEG", "SR", "SR", "PR", "OT"]
    assert {one.destination: one.events[-1].cause for one in house.result(uid).deliveries} == {
        house.send_to[0]: "SEG, SR",
        "viewer": "SR, GSPS, SC",
    }


def test_a_refused_result_is_given_up_with_the_reason_and_the_next_is_sent(house, port, tmp_path):
    """The first storescp takes only verification: no context for SEG or SR is accepted."""
    first = house.freeze(chest_with_ball())
    profile = tmp_path / "only-echo.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Any]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[Echo]\nPresentationContext1 = VerificationSOPClass\\Any\n"
        "[[Profiles]]\n[OnlyEcho]\nPresentationContexts = Echo\n"
    )
    with delivering(house):
        with storescp(tmp_path / "pacs", port, "--config-file", str(profile), "OnlyEcho"):
            wait_until(lambda: set(states(house, first).values()) == {DeliveryState.GIVEN_UP})
        second = house.freeze(chest_with_ball())
        with storescp(tmp_path / "pacs", port):
            wait_until(lambda: set(states(house, second).values()) == {DeliveryState.SENT})
    reason = house.result(first).deliveries[0].reason
    assert reason.code == "context_rejected"
    assert "Segmentation Storage" in reason.text
    assert digests(tmp_path / "pacs") == frozen_digests(house, second)


def test_a_result_whose_file_is_missing_does_not_stop_the_next(house, port, tmp_path):
    broken = house.freeze(chest_with_ball())
    house.files.result_path(house.result(broken).objects[0].sha256).unlink()
    whole = house.freeze(chest_with_ball())
    with storescp(tmp_path / "pacs", port), delivering(house):
        wait_until(lambda: set(states(house, whole).values()) == {DeliveryState.SENT})
        wait_until(lambda: house.result(broken).deliveries[0].reason)
    assert house.result(broken).deliveries[0].reason.code == "internal_error"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_delivery_stops_cleanly_on_a_signal(house, port, tmp_path, number):
    uid = house.freeze(chest_with_ball())
    with storescp(tmp_path / "pacs", port), delivering(house) as process:
        wait_until(lambda: set(states(house, uid).values()) == {DeliveryState.SENT})
        process.send_signal(number)
        assert process.wait(timeout=60) == 0


def test_several_processes_send_each_result_once(house, port, tmp_path):
    uids = [house.freeze(chest_with_ball()) for _ in range(6)]
    # what arrives twice under one UID is kept twice
    with (
        storescp(tmp_path / "pacs", port, "--unique-filenames"),
        delivering(house),
        delivering(house),
        delivering(house),
    ):
        wait_until(lambda: all(set(states(house, uid).values()) == {DeliveryState.SENT} for uid in uids))
    assert digests(tmp_path / "pacs") == sorted(one for uid in uids for one in frozen_digests(house, uid))
    assert [len(house.result(uid).deliveries[0].events) for uid in uids] == [2] * 6


def test_a_result_whose_sender_was_killed_is_sent_by_another_once_the_claim_has_run_out(house, port, tmp_path):
    uid = house.freeze(chest_with_ball())
    with storescp(tmp_path / "pacs", port, "--sleep-after", "1"), delivering(house, lease_s=2) as process:
        wait_until(lambda: received(tmp_path / "pacs"))
        process.kill()
        assert states(house, uid) == {house.send_to[0]: DeliveryState.PENDING}
        with delivering(house):
            wait_until(lambda: set(states(house, uid).values()) == {DeliveryState.SENT})
    assert digests(tmp_path / "pacs") == frozen_digests(house, uid)


def test_a_pacs_that_is_back_gets_all_that_waited_and_not_only_what_is_due(house, port, tmp_path):
    uids = [house.freeze(chest_with_ball()) for _ in range(3)]
    now = datetime.now(UTC)
    for pause in (timedelta(0), timedelta(hours=1), timedelta(hours=1)):
        claimed = house.store.claim_delivery(house.send_to[0], now=now, duration=timedelta(minutes=1))
        house.store.delivery_failed(claimed, DestinationUnavailable("down").reason, now=now, retry_at=now + pause)
        if not pause:
            due_again = house.store.claim_delivery(house.send_to[0], now=now, duration=timedelta(seconds=1))
            assert due_again.delivery_id == claimed.delivery_id
    with storescp(tmp_path / "pacs", port), delivering(house):
        wait_until(lambda: all(set(states(house, uid).values()) == {DeliveryState.SENT} for uid in uids))


def test_the_pause_doubles_up_to_its_limit():
    pauses = [pause_after(attempt, first_s=30, longest_s=3600) for attempt in (1, 2, 3, 8, 10_000)]
    for pause, most in zip(pauses, (30, 60, 120, 3600, 3600), strict=True):
        assert 0.9 * most <= pause <= most
