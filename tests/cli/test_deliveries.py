"""`vigie deliveries`, as an operator uses it once a PACS is mended."""

from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from services.cli import app
from services.triage.errors import Reason
from services.triage.result import DeliveryState
from tests.support.house import House, chest_with_ball

REFUSED = Reason(code="store_refused", text="PACS@h:104 answered status 0xC000")


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path / "data"))
    return House(data=tmp_path / "data", send_to=("PACS@h:104", str(tmp_path / "out")))


def give_up(house, destination):
    uid = house.freeze(chest_with_ball())
    now = datetime.now(UTC)
    claimed = house.store.claim_delivery(destination, now=now, duration=timedelta(minutes=1))
    house.store.delivery_failed(claimed, REFUSED, now=now, retry_at=None)
    return uid, claimed.delivery_id


def vigie(*words):
    return CliRunner().invoke(app, ["deliveries", *words])


def state(house, uid, destination):
    return {one.destination: one.state for one in house.result(uid).deliveries}[destination]


def test_what_was_given_up_is_listed_with_its_reason_and_without_the_patient(house):
    uid, delivery = give_up(house, "PACS@h:104")
    listed = vigie("list").stdout
    assert delivery in listed
    assert uid in listed
    assert "answered status 0xC000 [store_refused]" in listed
    assert "SEG, SR" in listed
    assert house.send_to[1] not in listed
    assert house.send_to[1] in vigie("list", "--state", "pending").stdout
    assert house.store.board.study(uid).row.study.patient_name not in listed


def test_a_delivery_that_is_asked_for_again_is_pending_and_says_who_asked(house):
    uid, delivery = give_up(house, "PACS@h:104")
    answer = vigie("resend", delivery)
    assert (answer.exit_code, answer.stdout) == (0, "1 of 1 will be sent again\n")
    assert state(house, uid, "PACS@h:104") is DeliveryState.PENDING
    assert vigie("list").stdout == "None.\n"
    assert vigie("resend", delivery).exit_code == 1


def test_all_of_one_destination_are_asked_for_again(house):
    first, _ = give_up(house, "PACS@h:104")
    _, other = give_up(house, house.send_to[1])
    assert vigie("resend", "--all", "--destination", "PACS@h:104").stdout == "1 of 1 will be sent again\n"
    assert state(house, first, "PACS@h:104") is DeliveryState.PENDING
    assert [line.delivery_id for line in house.store.deliveries({DeliveryState.GIVEN_UP})] == [other]


def test_a_notification_is_listed_and_asked_for_again_as_a_result_is(tmp_path, house):
    receivers = tmp_path / "notifications.toml"
    receivers.write_text('[ris]\nkind = "hl7"\naddress = "ris:2575"\n')
    told = House(data=house.data, notifications=receivers)
    uid, delivery = give_up(told, "ris")
    (line,) = [line for line in vigie("list").stdout.splitlines() if delivery in line]
    assert "notification" in line
    assert vigie("resend", "--all", "--destination", "ris").stdout == "1 of 1 will be sent again\n"
    assert state(told, uid, "ris") is DeliveryState.PENDING


WHY = ("--reason", "the PACS was replaced")


def test_what_is_pending_for_a_destination_that_is_gone_is_told_and_given_up(house, monkeypatch):
    uid = house.freeze(chest_with_ball())
    monkeypatch.setenv("VIGIE_SEND_TO", house.send_to[1])
    pending = vigie("list", "--state", "pending").stdout
    assert pending.count("(not configured)") == 1
    answer = vigie("give-up", "--destination", "PACS@h:104", *WHY)
    assert (answer.exit_code, answer.stdout) == (0, "1 given up\n")
    assert state(house, uid, "PACS@h:104") is DeliveryState.GIVEN_UP
    assert state(house, uid, house.send_to[1]) is DeliveryState.PENDING
    assert "the PACS was replaced [abandoned]" in vigie("list").stdout
    assert vigie("resend", "--all").stdout == "0 of 0 will be sent again\n"
    assert vigie("resend", "--all", "--destination", "PACS@h:104").stdout == "1 of 1 will be sent again\n"


def test_a_destination_that_is_configured_is_given_up_by_force_alone(house, monkeypatch):
    uid = house.freeze(chest_with_ball())
    monkeypatch.setenv("VIGIE_SEND_TO", "PACS@h:104")
    words = ("give-up", "--destination", "PACS@h:104", *WHY)
    assert vigie(*words).exit_code == 2
    assert state(house, uid, "PACS@h:104") is DeliveryState.PENDING
    assert vigie(*words, "--force").stdout == "1 given up\n"


def test_what_is_being_sent_is_not_given_up(house):
    house.freeze(chest_with_ball())
    house.store.claim_delivery("PACS@h:104", now=datetime.now(UTC), duration=timedelta(minutes=1))
    answer = vigie("give-up", "--destination", "PACS@h:104", *WHY)
    assert (answer.exit_code, answer.stdout) == (1, "0 given up\n")


@pytest.mark.parametrize("words", [["resend"], ["resend", "--all", "0123"]])
def test_it_must_be_said_which(house, words):
    assert vigie(*words).exit_code == 2


def test_the_delivery_of_a_recalled_result_is_not_among_those_that_can_be_sent_again(house):
    uid = house.freeze(chest_with_ball())
    result = house.result(uid)
    house.store.recall(result.result_id, reason="wrong", actor="a person", now=datetime.now(UTC))
    assert vigie("list").stdout == "None.\n"
    assert "recalled" in vigie("list", "--state", "given_up").stdout
    answer = vigie("resend", "--all")
    assert (answer.exit_code, answer.stdout) == (0, "0 of 0 will be sent again\n")
    assert vigie("resend", result.deliveries[0].delivery_id).exit_code == 1
