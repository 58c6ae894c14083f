"""Asking for storage commitment: what becomes of an answer that comes late."""

import time

from services.backends.senders.commitment import StorageCommitmentUser
from tests.support.archive import archive
from tests.support.peers import wait_until

OBJECTS = [("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3")]


def test_an_answer_that_crosses_our_release_does_not_hold_us_up() -> None:
    with archive(crosses_release=True) as pacs:
        user = StorageCommitmentUser(pacs.address, "VIGIE", wait_s=0.2)
        began = time.monotonic()
        user.ask(OBJECTS, begin=lambda: "2.25.1", record=lambda _report: True)
        took_s = time.monotonic() - began
        wait_until(lambda: pacs.answers)
    assert pacs.requests == [("2.25.1", ["1.2.3"])]
    assert pacs.answers == [None]  # it knows that it was not heard, and may report again
    assert took_s < 10
