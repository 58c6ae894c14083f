"""Target: HL7 v2 over MLLP. Each message gets an acknowledgement or a closed connection; no value of it is logged."""

import time
from collections.abc import Sequence
from random import Random

from fuzz.service import Service
from fuzz.tally import Tally
from fuzz.values import CANARY, CHARACTER_SETS, DATES, NUMBERS, TEXTS
from fuzz.watch import Watch
from tests.support.hl7 import Mllp, adt_message, code, condition, framed

BATCH = 200
_MESSAGES = (
    adt_message(f"PID|||P1^^^HOSP||{CANARY}^Marie^^^^^L||19700101|F"),
    adt_message(f"PID|||P1^^^HOSP~P2^^^OTHER&1.2.3&ISO||{CANARY}^Marie~漢字^名^^^^^L^I||1970|M", event="A31"),
    adt_message("PID|||P3^^^HOSP", "MRG|P1^^^HOSP", event="A40"),
    adt_message("PID|||P4^^^HOSP", "MRG|P5^^^HOSP", "PID|||P6^^^HOSP", "MRG|P7^^^HOSP", event="A18"),
    adt_message(f"PID|||P1^^^HOSP||{CANARY}\\T\\\\X41\\\\H\\^Jos\xe9", character_set="8859/1", codec="latin-1"),
)
_ACCEPTED = frozenset({"AA", "CA"})
_REFUSED = frozenset({"AE", "AR", "CE", "CR"})
_PIECES = (
    *TEXTS[:-2],
    *CHARACTER_SETS,
    *NUMBERS,
    *DATES,
    b"|" * 500,
    b"^" * 500,
    b"~" * 500,
    b"&" * 500,
    b"\r\r\r",
    b"\x0b",
)


def run(service: Service, watch: Watch, *, count: int, seed: str) -> Tally:
    """So many messages."""
    tally, dice = Tally(target="HL7 over MLLP"), Random(f"{seed} hl7")
    began = time.monotonic()
    while tally.cases < count and not tally.findings:
        _converse(service, [_message(dice) for _ in range(min(BATCH, count - tally.cases))], tally, dice)
        watch.judge(tally)
        for path in (service.data / "quarantine").iterdir():
            path.unlink()
    tally.seconds = time.monotonic() - began
    return tally


def _converse(service: Service, messages: Sequence[bytes], tally: Tally, dice: Random) -> None:
    """One connection for as long as it lasts, then the next; each ends with a message that must be taken."""
    connection = Mllp(service.hl7_port)
    for number, message in enumerate(messages):
        tally.cases += 1
        try:
            answer = _ask(connection, message, dice)
        except OSError as error:
            answer = None
            if isinstance(error, TimeoutError):
                tally.found("neither acknowledged nor closed", made=f"message {number}", content=message)
        if answer is None:
            tally.refused["connection closed"] += 1
            connection.close()
            connection = Mllp(service.hl7_port)
        else:
            _note(answer, message, tally)
    connection.close()
    good = Mllp(service.hl7_port)
    if code(good.ask(_MESSAGES[0]) or b"MSA|") != "AA":
        tally.found("a good message is not taken any more")
    good.close()


def _ask(connection: Mllp, message: bytes, dice: Random) -> bytes | None:
    """In a frame mostly; without the frame's end, or with noise around it, only where an answer still comes."""
    if b"\x1c\r" in message or b"\x0b" in message[1:]:
        # it is several frames, or none: who sends that gets what it gets, and a new connection
        connection.send(framed(message))
        connection.end_of_sending()
        return None
    if dice.random() < 0.05:
        connection.send(framed(message)[: dice.randrange(len(message))])
        connection.end_of_sending()
        return None
    if dice.random() < 0.1:
        connection.send(dice.choice((b"\r\n", b"noise", bytes(100))))
    return connection.ask(message)


def _note(answer: bytes, message: bytes, tally: Tally) -> None:
    try:
        said = code(answer)
        if said in _ACCEPTED:
            tally.kept += 1
        elif said in _REFUSED:
            tally.refused[condition(answer) or "none"] += 1
        else:
            tally.found(f"acknowledged by {said[:20]!r}", content=message)
    except IndexError:
        # the separators are the sender's own: then the answer has them, too
        tally.refused["own separators"] += 1


def _message(dice: Random) -> bytes:
    message = bytearray(dice.choice(_MESSAGES))
    for _ in range(dice.choice((0, 1, 1, 2, 4))):
        at = dice.randrange(len(message) + 1)
        way = dice.randrange(5)
        if way == 0:
            message[at:at] = dice.choice(_PIECES)
        elif way == 1:
            fields = bytes(message).split(b"|")
            fields[dice.randrange(len(fields))] = dice.choice(_PIECES)
            message = bytearray(b"|".join(fields))
        elif way == 2:
            del message[at : at + dice.choice((1, 2, 30, 1000))]
        elif way == 3 and at < len(message):
            message[at] ^= 1 << dice.randrange(8)
        else:
            message[at:at] = bytes(message[at : at + 60]) * dice.choice((1, 50))
    return bytes(message) or b"\r"
