"""`run_deliver` tells real receivers: in order, again after a kill, and without holding up anybody."""

import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from services.triage.result import DeliveryState
from tests.support.delivering import delivering, states
from tests.support.house import House, chest_with_ball
from tests.support.http_server import Server, serving
from tests.support.mllp import Ris, mllp_server
from tests.support.peers import free_port, wait_until
from tests.support.telling import SECRET, credentials_file


def receivers_file(folder: Path, **addresses: str) -> Path:
    path = folder / "notifications.toml"
    path.write_text(
        "\n".join(f'[{name}]\nkind = "hl7"\naddress = "{address}"\n' for name, address in addresses.items())
    )
    return path


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def house(tmp_path, port):
    return House(data=tmp_path / "data", notifications=receivers_file(tmp_path, ris=f"127.0.0.1:{port}"))


def control_ids(ris: Ris) -> list[str]:
    return [str(message.segment("MSH")[10]) for message in ris.messages]


def told(ris: Ris, uid: str) -> list[str]:
    """The statuses of what the receiver was told of a study, in the order in which it was."""
    about = [message for message in ris.messages if uid in str(message)]
    return ["W" if "|W|" in str(message) else "P" for message in about]


def recall(house: House, uid: str) -> None:
    result_id = house.result(uid).result_id
    house.store.recall(result_id, reason="it segments the heart", actor="a person", now=datetime.now(UTC))


def all_sent(house: House, uid: str) -> bool:
    return {one.state for one in house.result(uid).deliveries} == {DeliveryState.SENT}


def test_a_frozen_result_is_told_with_patient_and_order_of_its_images(house, port):
    uid = house.freeze(chest_with_ball(PatientName="Müller^Ada", PlacerOrderNumberImagingServiceRequest="PL7"))
    with mllp_server(port) as ris, delivering(house):
        wait_until(lambda: states(house, uid) == {"ris": DeliveryState.SENT})
    (message,) = ris.messages
    assert str(message.segment("PID")[5]).startswith("Müller^Ada")
    assert str(message.segment("ORC")[2]) == "PL7"
    assert [one.what for one in house.result(uid).deliveries[0].events] == ["pending", "sent"]


def test_a_receiver_that_was_away_is_told_in_order_once_it_is_back(house, port):
    uid = house.freeze(chest_with_ball())
    with delivering(house):
        wait_until(lambda: house.result(uid).deliveries[0].attempt >= 2)
        recall(house, uid)
        other = house.freeze(chest_with_ball())
        with mllp_server(port) as ris:
            wait_until(lambda: all_sent(house, other) and "W" in told(ris, uid))
    # the result itself was recalled before it was ever acknowledged
    assert told(ris, uid) == ["W"]
    assert told(ris, other) == ["P"]


def test_a_recall_follows_the_result(house, port):
    uid = house.freeze(chest_with_ball())
    with mllp_server(port) as ris, delivering(house):
        wait_until(lambda: all_sent(house, uid))
        recall(house, uid)
        wait_until(lambda: len(ris.blocks) == 2)
        wait_until(lambda: all_sent(house, uid))
    assert told(ris, uid) == ["P", "W"]


def test_a_process_that_is_killed_before_the_acknowledgement_loses_nothing_and_repeats_the_same(house, port):
    uid = house.freeze(chest_with_ball())
    with mllp_server(port) as ris:
        ris.hold.set()
        with delivering(house, lease_s=1) as process:
            wait_until(lambda: len(ris.blocks) == 1)
            process.send_signal(signal.SIGKILL)
            process.wait()
        recall(house, uid)
        ris.hold.clear()
        with delivering(house, lease_s=1):
            wait_until(lambda: "W" in told(ris, uid))
    assert told(ris, uid) == ["P", "W"]


def test_killed_again_and_again_every_result_is_told_and_a_repetition_is_recognised(house, port):
    uids = [house.freeze(chest_with_ball()) for _ in range(5)]
    with mllp_server(port) as ris:
        for killed_after in range(1, 4):
            with delivering(house, lease_s=0.5) as process:
                wait_until(lambda count=killed_after: len(ris.blocks) >= count)
                process.kill()
                process.wait()
        with delivering(house, lease_s=0.5):
            wait_until(lambda: all(all_sent(house, uid) for uid in uids))
    distinct = set(zip(control_ids(ris), ris.blocks, strict=True))
    assert len(distinct) == 5
    assert len(set(control_ids(ris))) == 5


def test_two_processes_tell_each_result_once(house, port):
    uids = [house.freeze(chest_with_ball()) for _ in range(4)]
    with mllp_server(port) as ris, delivering(house), delivering(house):
        wait_until(lambda: all(all_sent(house, uid) for uid in uids))
    assert len(ris.blocks) == 4


def test_a_refused_message_is_given_up_and_holds_up_nobody(house, port):
    first = house.freeze(chest_with_ball())
    with mllp_server(port, code="AE", error_code="101") as ris, delivering(house):
        wait_until(lambda: states(house, first) == {"ris": DeliveryState.GIVEN_UP})
        ris.code, ris.error_code = "AA", ""
        second = house.freeze(chest_with_ball())
        wait_until(lambda: all_sent(house, second))
    reason = house.result(first).deliveries[0].reason
    assert (reason.code, "error 101" in reason.text) == ("message_refused", True)


def test_a_receiver_that_is_away_holds_up_no_archive_and_no_other_receiver(tmp_path, port):
    choices = receivers_file(tmp_path, ris=f"127.0.0.1:{port}", away=f"127.0.0.1:{free_port()}")
    house = House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),), notifications=choices)
    uid = house.freeze(chest_with_ball())
    with mllp_server(port), delivering(house, retry_s=60):
        wait_until(lambda: states(house, uid)["ris"] == DeliveryState.SENT)
        wait_until(lambda: states(house, uid)[str(tmp_path / "out")] == DeliveryState.SENT)
        wait_until(lambda: "try_failed" in {event.what for one in house.result(uid).deliveries for event in one.events})
    assert states(house, uid)["away"] == DeliveryState.PENDING


def test_a_webhook_is_told_of_its_occasions_and_nobody_else_knows_the_secret(tmp_path, monkeypatch):
    hook, path = Server(), tmp_path / "notifications.toml"
    monkeypatch.setenv("VIGIE_NOTIFICATION_CREDENTIALS", str(credentials_file(tmp_path, hook=f'secret = "{SECRET}"')))
    with serving(hook) as url:
        path.write_text(
            f'[hook]\nkind = "webhook"\naddress = "{url}"\ntell = ["found"]\n'
            f'[quiet]\nkind = "webhook"\naddress = "{url}"\ntell = ["failed"]\n'
        )
        house = House(data=tmp_path / "data", notifications=path)
        uid = house.freeze(chest_with_ball())
        with delivering(house):
            wait_until(lambda: states(house, uid) == {"hook": DeliveryState.SENT})
    assert Webhook(SECRET).verify(hook.content, hook.headers)["data"]["study_instance_uid"] == uid
    assert len(hook.requests) == 1


def test_two_patients_in_one_study_are_told_to_nobody_by_name_and_it_is_said_so(house, port):
    two = chest_with_ball()
    for dataset in two[10:]:
        dataset.PatientID = "ANOTHER"
    uid = house.queue_study(two)
    house.work()
    with mllp_server(port) as ris, delivering(house):
        wait_until(lambda: states(house, uid) == {"ris": DeliveryState.GIVEN_UP})
    assert house.result(uid).deliveries[0].reason.code == "two_patients"
    assert ris.blocks == []
