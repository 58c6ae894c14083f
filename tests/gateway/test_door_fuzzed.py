"""What the fuzzing campaign has found at the door, each a regression test."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
from pydicom import Dataset

from services.gateway import upper_layer
from services.gateway.upper_layer import _WaitingSocket
from tests.support.ct import ct_series
from tests.support.peers import wait_until
from tests.support.scu import Door, associate, encode, open_door, store
from tests.support.wire import echo_association_request


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    data = tmp_path_factory.mktemp("door")
    with (data / "log").open("wb") as log, open_door(data, stderr=log) as one:
        yield one


def image(**attributes: object) -> Dataset:
    return ct_series(slices=1, rows=4, columns=4, **attributes)[0]


def with_character_set(name: bytes) -> tuple[bytes, str]:
    one = image(PatientName="Jose^Maria", SpecificCharacterSet="ISO_IR 100")
    data = encode(one).replace(b"Jose", b"Jos\xe9")
    return data.replace(b"ISO_IR 100", name.ljust(10)), one.SOPInstanceUID


@pytest.mark.parametrize("name", [b"zlib_codec", b"idna", b"punycode", b"undefined", b"a\x00b"])
def test_a_codec_of_pythons_is_no_character_set(door: Door, name: bytes) -> None:
    data, uid = with_character_set(name)
    with associate(door.port) as association:
        assert store(association, data, sop_instance_uid=uid) == 0x0000


@pytest.mark.parametrize("uid", [".", "..", "...."])
def test_a_uid_of_dots_alone_is_refused(door: Door, uid: str) -> None:
    one = image()
    data = encode(one)
    series = one.SeriesInstanceUID.encode()
    value = series + b"\x00" * (len(series) % 2)
    odd = uid.encode() + b"\x00" * (len(uid) % 2)
    data = data.replace(struct.pack("<H", len(value)) + value, struct.pack("<H", len(odd)) + odd)
    with associate(door.port) as association:
        assert store(association, data, sop_instance_uid=one.SOPInstanceUID) == 0xC000


def none_left(door: Door) -> bool:
    """Whether all processes of associations have ended."""
    return not Path(f"/proc/{door.process.pid}/task/{door.process.pid}/children").read_text()


def test_a_flood_of_tiny_pdus_ends_in_order(door: Door) -> None:
    """pynetdicom's state machine does not foresee what still comes after its abort."""
    tiny = struct.pack(">BBIIBB", 4, 0, 6, 2, 1, 3)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", door.port), timeout=20) as connection:
            connection.sendall(echo_association_request() + tiny * 1000)
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while connection.recv(4096):
                    pass
    wait_until(lambda: none_left(door), timeout_s=15, what="the end of the associations' processes")
    log = (door.data / "log").read_text()
    assert "association_out_of_turn" in log
    assert "Traceback" not in log


def test_who_hangs_up_before_any_association_frees_its_place_at_once(door: Door) -> None:
    for noise in (b"x", bytes(20), echo_association_request()[:40]):
        with socket.create_connection(("127.0.0.1", door.port)) as connection:
            connection.sendall(noise)
            wait_until(lambda: not none_left(door), what="a process for the connection")
    wait_until(lambda: none_left(door), timeout_s=10, what="the end of the connections' processes")


def test_a_peer_that_sends_a_byte_now_and_then_does_not_hold_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upper_layer, "_PATIENCE_S", 0.2)
    ours, theirs = socket.create_server(("127.0.0.1", 0)), socket.socket()
    theirs.connect(ours.getsockname())
    waiting = cast(_WaitingSocket, object.__new__(_WaitingSocket))
    waiting.socket, waiting.ahead = ours.accept()[0], bytearray()
    over = threading.Event()

    def drip() -> None:
        while not over.wait(0.02):
            theirs.send(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        with pytest.raises(TimeoutError):
            waiting.recv(1000)
    finally:
        over.set()
        dripping.join()
        for each in (waiting.socket, theirs, ours):
            each.close()
