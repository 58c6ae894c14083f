"""From sent to committed: with Orthanc, and with an archive that makes every fault."""

from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app
from services.triage.result import DeliveryState
from tests.support.archive import archive, event_information, report
from tests.support.delivering import delivering, states
from tests.support.house import House, chest_with_ball
from tests.support.orthanc import orthanc
from tests.support.peers import free_port, storescp, wait_until
from tests.support.scu import open_door

BEFORE_THE_REQUEST = (
    "import os; from services.backends.senders.commitment import StorageCommitmentUser as User\n"
    "User._request = lambda *_, **__: os._exit(9)"
)
BEFORE_THE_TRANSACTION = BEFORE_THE_REQUEST.replace("_request", "ask")
AFTER_THE_REQUEST = (
    "import os; from services.backends.senders.commitment import StorageCommitmentUser as User\n"
    "request = User._request; User._request = lambda *words: (request(*words), os._exit(9))"
)


def house_for(folder: Path, address: str, **choices: object) -> House:
    """A house whose results go to `pacs`, which is asked for storage commitment."""
    path = folder / "destinations.toml"
    # an answer ends the wait: a long one costs nothing, and suits a busy machine
    lines = [f"{key} = {value}" for key, value in ({"commitment_wait_s": 20} | choices).items()]
    path.write_text("\n".join(["[pacs]", f'address = "{address}"', "storage_commitment = true", *lines]))
    return House(data=folder / "data", destinations=path)


def frozen(house: House) -> tuple[str, list[tuple[str, str]]]:
    """A study with a frozen result, and (SOP Class UID, SOP Instance UID) of its objects: SEG, SR."""
    uid = house.freeze(chest_with_ball())
    return uid, [(one.sop_class_uid, one.sop_instance_uid) for one in house.result(uid).objects]


def delivery(house: House, uid: str):
    return house.result(uid).deliveries[0]


def history(house: House, uid: str) -> list[str]:
    return [event.what for event in delivery(house, uid).events]


def until(house: House, uid: str, state: DeliveryState) -> None:
    wait_until(lambda: states(house, uid) == {"pacs": state}, what=state)


def transactions(house: House, uid: str) -> list[str]:
    return [event.cause for event in delivery(house, uid).events if event.what == "commitment_asked"]


@pytest.mark.system
def test_orthanc_commits_over_an_association_of_its_own(tmp_path, monkeypatch):
    with orthanc(tmp_path / "pacs") as pacs:
        house = house_for(tmp_path, pacs.address, commitment_wait_s=0)
        uid, _ = frozen(house)
        with open_door(house.data) as door:
            pacs.forward_to(door.port)
            with delivering(house):
                until(house, uid, DeliveryState.COMMITTED)
    assert history(house, uid) == ["pending", "sent", "commitment_asked", "committed"]
    monkeypatch.setenv("VIGIE_DATA", str(house.data))
    listed = CliRunner().invoke(app, ["deliveries", "list", "--state", "committed"]).stdout
    assert "SEG, SR" in listed
    assert "committed" in listed


@pytest.mark.system
def test_what_orthanc_drops_behind_its_success_is_never_committed_and_once_it_keeps_it_all_is(tmp_path, monkeypatch):
    with orthanc(tmp_path / "pacs") as pacs:
        house = house_for(tmp_path, pacs.address, commitment_wait_s=0, commitment_max_requests=2)
        uid, ((_, seg), (_, sr)) = frozen(house)
        pacs.drop_reports()
        with open_door(house.data) as door, delivering(house):
            pacs.forward_to(door.port)
            until(house, uid, DeliveryState.GIVEN_UP)
            first, second = transactions(house, uid)
            missing = "objects are not committed: 0x0112 no such object instance (SR)"
            tried = [
                ("pending", "pacs"),
                ("sent", "SEG, SR"),
                ("commitment_asked", first),
                ("commitment_failed", f"1 of 2 {missing}, transaction {first}"),
                ("pending", f"1 of 2 {missing} [commitment_failed]"),
                ("sent", "SR"),
                ("commitment_asked", second),
                ("commitment_failed", f"1 of 1 {missing}, transaction {second}"),
                ("given_up", f"1 of 1 {missing} [commitment_failed]"),
            ]
            assert [(event.what, event.cause) for event in delivery(house, uid).events] == tried
            assert pacs.kept() == [seg]

            pacs.drop_reports(dropping=False)
            monkeypatch.setenv("VIGIE_DATA", str(house.data))
            resent = CliRunner().invoke(app, ["deliveries", "resend", "--all"])
            assert resent.stdout == "1 of 1 will be sent again\n"
            until(house, uid, DeliveryState.COMMITTED)
            assert pacs.kept() == sorted([seg, sr])
    again = [(event.what, event.cause) for event in delivery(house, uid).events][len(tried) :]
    third = transactions(house, uid)[-1]
    assert again == [
        ("pending", "asked for again"),
        ("sent", "SR"),
        ("commitment_asked", third),
        ("committed", f"transaction {third}"),
    ]


def test_an_answer_on_the_association_of_the_request_is_taken(tmp_path):
    with archive() as pacs:
        house = house_for(tmp_path, pacs.address)
        uid, objects = frozen(house)
        with delivering(house):
            until(house, uid, DeliveryState.COMMITTED)
            wait_until(lambda: pacs.answers)
    assert pacs.answers == [0x0000]
    assert pacs.requests == [(transactions(house, uid)[0], [sop_instance_uid for _, sop_instance_uid in objects])]


def test_what_the_archive_does_not_commit_is_sent_and_asked_for_again_and_only_that(tmp_path):
    with archive(fails=lambda number, uids: uids[1:] if number == 1 else []) as pacs:
        house = house_for(tmp_path, pacs.address)
        uid, ((_, seg), (_, sr)) = frozen(house)
        with delivering(house):
            until(house, uid, DeliveryState.COMMITTED)
    assert pacs.stored == [seg, sr, sr]
    first, second = transactions(house, uid)
    assert pacs.requests == [(first, [seg, sr]), (second, [sr])]
    assert first != second


@pytest.mark.parametrize(
    ("fault", "choices", "code"),
    [
        ({"fails": lambda _number, uids: uids}, {}, "commitment_failed"),
        ({"answers": False}, {"commitment_answer_within_s": 0.5, "commitment_wait_s": 0.1}, "commitment_unanswered"),
        ({"status": 0x0110}, {}, "commitment_refused"),
    ],
)
def test_what_is_not_committed_in_the_end_is_given_up_with_the_reason(tmp_path, fault, choices, code):
    with archive(**fault) as pacs:
        house = house_for(tmp_path, pacs.address, commitment_max_requests=2, **choices)
        uid, objects = frozen(house)
        with delivering(house):
            until(house, uid, DeliveryState.GIVEN_UP)
    assert delivery(house, uid).reason.code == code
    assert len(pacs.requests) == 2
    assert history(house, uid)[-1] == "given_up"
    if code == "commitment_unanswered":
        # a late answer is still honoured
        with open_door(house.data) as door:
            assert report(door.port, event_information(transactions(house, uid)[0], objects)) == [0x0000]
        assert states(house, uid) == {"pacs": DeliveryState.COMMITTED}


def test_an_archive_without_the_service_keeps_what_was_sent_and_it_is_said_so(tmp_path):
    with storescp(tmp_path / "pacs", free_port()) as address:
        house = house_for(tmp_path, address)
        uid, _ = frozen(house)
        with delivering(house):
            wait_until(lambda: "not_committed" in history(house, uid))
    found = delivery(house, uid)
    assert (found.state, found.next_at, found.reason.code) == (DeliveryState.SENT, None, "commitment_unsupported")
    assert "does not accept Storage Commitment Push Model" in found.reason.text


def test_an_archive_that_is_down_when_it_should_be_asked_is_asked_later(tmp_path):
    with archive() as pacs:
        house = house_for(tmp_path, pacs.address)
        uid, _ = frozen(house)
        with killed(house, BEFORE_THE_TRANSACTION):
            assert history(house, uid) == ["pending", "sent"]
    with delivering(house):
        wait_until(lambda: "not_committed" in history(house, uid))
        assert delivery(house, uid).reason.code == "destination_unavailable"
        with archive(port=pacs.port) as back:
            until(house, uid, DeliveryState.COMMITTED)
    assert len(back.requests) == 1
    assert (back.stored, len(pacs.stored)) == ([], 2)


@contextmanager
def killed(house: House, fault: str):
    """Deliver with a fault that ends the process, until it has ended."""
    with delivering(house, lease_s=1, fault=fault) as process:
        assert process.wait(timeout=60) == 9
        yield


def test_a_death_between_transaction_and_request_costs_no_more_than_the_wait_for_an_answer(tmp_path):
    with archive() as pacs:
        house = house_for(tmp_path, pacs.address, commitment_answer_within_s=2)
        uid, _ = frozen(house)
        with killed(house, BEFORE_THE_REQUEST):
            assert pacs.requests == []
            assert history(house, uid) == ["pending", "sent", "commitment_asked"]
        with delivering(house):
            until(house, uid, DeliveryState.COMMITTED)
    assert [transaction for transaction, _ in pacs.requests] == transactions(house, uid)[1:]


def test_after_a_death_behind_the_request_the_answer_still_counts_and_nothing_is_asked_again(tmp_path):
    with archive(answers=False) as pacs:
        house = house_for(tmp_path, pacs.address)
        uid, objects = frozen(house)
        with killed(house, AFTER_THE_REQUEST):
            ((transaction, _),) = pacs.requests
        with open_door(house.data) as door:
            assert report(door.port, event_information(transaction, objects), times=2) == [0x0000, 0x0000]
        assert states(house, uid) == {"pacs": DeliveryState.COMMITTED}
        with delivering(house) as process:
            other, _ = frozen(house)
            wait_until(lambda: len(pacs.requests) == 2)
            assert process.poll() is None
    assert transactions(house, uid) == [transaction]
    assert history(house, uid).count("committed") == 1
    assert pacs.requests[1][0] in transactions(house, other)
