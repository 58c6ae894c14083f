"""A sender of `make load` before a real receiver, and the search for what was lost."""

import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from load.losing import lost
from load.null_worker import NullSegmenter
from load.senders import Order, Sent, send
from services.backends import part10
from services.gateway.app import create_app
from services.gateway.role import Role
from tests.support.house import House, chest_with_ball
from tests.support.peers import free_port, received, storescp


def test_a_study_is_sent_at_its_moment_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    due = time.time() + 0.3
    order = Order(phase="x", due=due, modality="NM", seed=3)
    with storescp(tmp_path / "got", free_port()) as address:
        sent = send(order, address, "LOAD1", tmp_path / "made")
    assert sent.began >= due
    assert sent.acknowledged is not None
    assert (len(sent.digests), len(sent.c_store_s), sent.errors) == (sent.instances, sent.instances, ())
    assert {part10.digest(path.read_bytes()) for path in received(tmp_path / "got")} == set(sent.digests)
    assert not (tmp_path / "made").exists()


def test_who_is_not_there_is_tried_again_and_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("load.senders.AGAIN_S", 0.0)
    order = Order(phase="x", due=0.0, modality="NM", seed=3)
    sent = send(order, f"VIGIE@127.0.0.1:{free_port()}", "LOAD1", tmp_path / "made")
    assert sent.acknowledged is None
    assert (sent.digests, set(sent.errors)) == ((), {"DestinationUnavailable"})


def test_an_instance_that_is_gone_or_altered_is_told_and_so_is_an_object_that_is_not_at_the_pacs(
    tmp_path: Path,
) -> None:
    house = House(data=tmp_path / "data", send_to=(str(tmp_path / "out"),), model_name="null")
    uid = house.queue_study(chest_with_ball())
    house.work(NullSegmenter())  # type: ignore[arg-type]
    assert house.result(uid).outcome == "nothing_found"
    kept = sorted(house.data.glob("instances/*/*.dcm"))
    order = Order(phase="x", due=0.0, modality="CT", seed=1)
    sent = Sent(
        order=order,
        uid=uid,
        instances=len(kept),
        ready=0,
        began=0,
        acknowledged=1,
        c_store_s=(),
        digests=tuple(path.name[:64] for path in kept),
        errors=(),
    )
    with TestClient(
        create_app(house.settings, store=house.store, files=house.files, role=Role.DESK),
        base_url="http://127.0.0.1:8000",
    ) as client:
        told = lost([sent], house.data, client, frozenset())
        assert [line.split(": ")[-1] for line in told] == ["delivery is pending", *told[1:]]
        assert [line for line in told[1:] if "is not at the PACS" not in line] == []
        kept[0].unlink()
        content = bytearray(kept[1].read_bytes())
        content[-1] ^= 1
        kept[1].chmod(0o600)
        kept[1].write_bytes(bytes(content))
        told = lost([sent], house.data, client, frozenset())
    assert f"instance {kept[0].name[:64]} is not kept" in told
    assert f"instance {kept[1].name[:64]} is kept with other bytes" in told
