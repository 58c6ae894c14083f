"""Target: PDUs at the DICOM port (PS3.8 9.3), right ones spoilt; meanwhile and afterwards good associations go on."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random

from pydicom.uid import ExplicitVRLittleEndian

from fuzz.scu import Scu, association_request, store_command
from fuzz.seeds import Seed
from fuzz.service import Service
from fuzz.tally import Tally
from fuzz.watch import Watch
from tests.support.wire import c_echo_request, p_data, release_request

BATCH = 100
ANSWER_WITHIN_S = 20.0
SLOW = 8
"""Connections that send a byte now and then, for as long as the target runs."""
_SLOW_PAUSE_S = 0.7
_CT = "1.2.840.10008.5.1.4.1.1.2"
_ABORT = struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 0, 0)
_ASSOCIATE = association_request({ExplicitVRLittleEndian: 1})
_LENGTHS = (0, 1, 4, 5, 6, 0x44, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
Conversation = list[bytes]


def run(service: Service, seeds: Sequence[Seed], watch: Watch, *, count: int, seed: str) -> Tally:
    """So many connections."""
    tally, dice = Tally(target="PDUs"), Random(f"{seed} pdus")
    good = [each for each in seeds if each.uids and each.transfer_syntax == ExplicitVRLittleEndian]
    began = time.monotonic()
    with _good_ones_meanwhile(service, good, tally), _slow_ones(service):
        while tally.cases < count and not tally.findings:
            for _ in range(min(BATCH, count - tally.cases)):
                tally.cases += 1
                _play(service, dice, tally)
    watch.judge(tally)
    tally.seconds = time.monotonic() - began
    return tally


def _play(service: Service, dice: Random, tally: Tally) -> None:
    """One connection: send, stop sending, and wait until the door has hung up."""
    make = dice.choice(CONVERSATIONS)
    pieces = make(dice)
    name = f"{make.__name__} {tally.cases}"
    try:
        with socket.create_connection(("127.0.0.1", service.dicom_port), timeout=ANSWER_WITHIN_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                connection.sendall(piece)
            if dice.random() < 0.2:
                return  # gone without a word
            connection.shutdown(socket.SHUT_WR)
            answered = b""
            while part := connection.recv(65536):
                answered += part
        tally.refused[_kind_of_last(answered)] += 1
    except TimeoutError:
        tally.found("the door does not hang up", made=name, content=b"".join(pieces))
    except OSError:
        tally.refused["connection reset"] += 1


def _kind_of_last(answered: bytes) -> str:
    """What the door has said last."""
    kind, at = 0, 0
    while at + 6 <= len(answered):
        kind = answered[at]
        at += 6 + int.from_bytes(answered[at + 2 : at + 6], "big")
    return {0: "no answer", 2: "A-ASSOCIATE-AC", 3: "A-ASSOCIATE-RJ", 4: "P-DATA", 6: "A-RELEASE-RP", 7: "A-ABORT"}.get(
        kind, f"PDU {kind}"
    )


def _noise(dice: Random) -> Conversation:
    return [dice.randbytes(dice.choice((1, 6, 100, 5000)))]


def _spoilt_request(dice: Random) -> Conversation:
    return [_spoilt(_ASSOCIATE, dice, flips=dice.randint(1, 6)), p_data(b"\x03" + c_echo_request(1))]


def _shuffled_items(dice: Random) -> Conversation:
    """The items of an A-ASSOCIATE-RQ out of order, repeated, or left out."""
    items, at = [], 74
    while at + 4 <= len(_ASSOCIATE):
        length = int.from_bytes(_ASSOCIATE[at + 2 : at + 4], "big")
        items.append(_ASSOCIATE[at : at + 4 + length])
        at += 4 + length
    chosen = b"".join(dice.choices(items, k=dice.choice((0, 1, 3, 40))))
    body = _ASSOCIATE[6:74] + chosen
    return [struct.pack(">BBI", 1, 0, len(body)) + body]


def _out_of_turn(dice: Random) -> Conversation:
    """Whole PDUs that must not come now."""
    pdus = (_ASSOCIATE, release_request(), _ABORT, p_data(b"\x03" + c_echo_request(1)), struct.pack(">BBI", 9, 0, 0))
    return dice.choices(pdus, k=dice.randint(1, 8))


def _wrong_lengths(dice: Random) -> Conversation:
    """P-DATA-TF whose lengths do not fit."""
    value = _store(dice)
    inner = struct.pack(">I", dice.choice(_LENGTHS)) + bytes([dice.choice((0, 1, 2, 255))]) + value
    length = dice.choice((len(inner), *_LENGTHS))
    return [_ASSOCIATE, struct.pack(">BBI", 4, 0, length) + inner]


def _spoilt_command(dice: Random) -> Conversation:
    command = _spoilt(store_command(_CT, "1.2.3.4"), dice, flips=dice.randint(1, 8))
    control = dice.choice((b"\x03", b"\x03", b"\x01", b"\x00", b"\x02", b"\xff"))
    return [_ASSOCIATE, p_data(control + command), p_data(b"\x02" + dice.randbytes(50)), release_request()]


def _tiny(dice: Random) -> Conversation:
    """A flood of PDUs of one byte, or of none."""
    value = dice.choice((b"\x00", b"\x01", b"\x00x", b"\x03"))
    return [_ASSOCIATE, p_data(value) * dice.choice((10, 1000, 5000)), release_request()]


def _cut_off(dice: Random) -> Conversation:
    """A conversation as it should be, that ends anywhere, by an A-ABORT or without."""
    whole = _ASSOCIATE + p_data(b"\x03" + store_command(_CT, "1.2.3.4")) + p_data(b"\x02" + bytes(400))
    end = dice.choice((b"", _ABORT))
    return [whole[: dice.randrange(len(whole))] + end]


CONVERSATIONS: tuple[Callable[[Random], Conversation], ...] = (
    _noise,
    _spoilt_request,
    _spoilt_request,
    _shuffled_items,
    _out_of_turn,
    _wrong_lengths,
    _spoilt_command,
    _spoilt_command,
    _tiny,
    _cut_off,
)


def _store(dice: Random) -> bytes:
    return dice.choice((b"\x03" + store_command(_CT, "1.2.3.4"), b"\x02" + bytes(100), b"\x03", b""))


def _spoilt(data: bytes, dice: Random, *, flips: int) -> bytes:
    changed = bytearray(data)
    for _ in range(flips):
        changed[dice.randrange(len(changed))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
    return bytes(changed)


@contextmanager
def _good_ones_meanwhile(service: Service, seeds: Sequence[Seed], tally: Tally) -> Iterator[None]:
    """Another sender stores good instances all the time."""
    over = threading.Event()

    def send() -> None:
        dice = Random("meanwhile")
        while not over.wait(0.2):
            seed = dice.choice(seeds)
            data_set, uid = seed.renamed(dice)
            try:
                with Scu(service.dicom_port, [ExplicitVRLittleEndian]) as scu:
                    status = scu.store(
                        data_set,
                        sop_class_uid=seed.sop_class_uid,
                        sop_instance_uid=uid,
                        transfer_syntax=ExplicitVRLittleEndian,
                    )
                    scu.release()
            except OSError as error:
                tally.found(f"a good association broke: {type(error).__name__} {error}")
            else:
                tally.kept += not status
                if status:
                    tally.found(f"a good instance was answered by 0x{status:04X}")

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


@contextmanager
def _slow_ones(service: Service) -> Iterator[None]:
    """Connections that never come to the end of their association request."""
    over = threading.Event()
    slow = [socket.create_connection(("127.0.0.1", service.dicom_port)) for _ in range(SLOW)]

    def drip() -> None:
        for byte in _ASSOCIATE:
            for each in slow:
                try:
                    each.send(bytes([byte]))
                except OSError:  # the door has had enough, as it should
                    continue
            if over.wait(_SLOW_PAUSE_S):
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        yield
    finally:
        over.set()
        dripping.join()
        for each in slow:
            each.close()
