"""Target: instances by C-STORE and STOW-RS, in batches; after each all is judged, and a part of it read again."""

import time
from collections.abc import Sequence
from itertools import islice
from random import Random
from uuid import uuid4

import httpx

from fuzz import kept
from fuzz.cases import SYNTAXES, Case, cases, spoil_file
from fuzz.reading import Reader
from fuzz.scu import ANSWER_WITHIN_S, Scu
from fuzz.seeds import Seed
from fuzz.service import Service
from fuzz.tally import Tally
from fuzz.watch import Watch
from services.backends.headers import read_instance
from services.triage.errors import InstanceRefused

BATCH, PER_ASSOCIATION, MOST_PARTS, BY_STOW = 1000, 50, 6, 0.3
_OF_BOMBS = ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90")
_REFERENCED, _FAILED, _OTHER, _UID, _REASON = "00081199", "00081198", "0008119A", "00081155", "00081197"


def run(service: Service, seeds: Sequence[Seed], watch: Watch, *, count: int, seed: str) -> list[Tally]:
    """So many cases; answers the tallies of C-STORE, of STOW-RS, and of what reads the kept ones."""
    by_store, by_stow, reading = Tally(target="C-STORE"), Tally(target="STOW-RS"), Tally(target="QIDO, WADO, pages")
    stream = cases(seeds, seed)
    dice = Random(f"{seed} batches")
    with httpx.Client(base_url=service.url, timeout=ANSWER_WITHIN_S) as client:
        reader = Reader(client)
        _send_good(service, seeds, reading)
        watch.begin()
        while (done := by_store.cases + by_stow.cases) < count:
            batch = list(islice(stream, min(BATCH, count - done)))
            for tally, share in ((by_store, 1 - BY_STOW), (by_stow, 1.0)):
                mine, batch = batch[: round(len(batch) * share)], batch[round(len(batch) * share) :]
                began = time.monotonic()
                if tally is by_store:
                    _store(service, seeds, mine, tally, dice)
                else:
                    _stow(client, mine, tally, dice)
                kept.settle(service, tally)
                kept.judge(service, mine, tally)
                tally.seconds += time.monotonic() - began
                began = time.monotonic()
                reader.read([each for each in mine if each.accepted], reading, dice)
                reading.seconds += time.monotonic() - began
            watch.judge(reading)
            if any(tally.findings for tally in (by_store, by_stow, reading)):
                break
    return [by_store, by_stow, reading]


def _store(service: Service, seeds: Sequence[Seed], batch: Sequence[Case], tally: Tally, dice: Random) -> None:
    """Each association ends with a good instance, and so does the batch on one of its own."""
    for start in range(0, len(batch), PER_ASSOCIATION):
        _store_some(service, seeds, batch[start : start + PER_ASSOCIATION], tally, dice)
    _send_good(service, seeds, tally)


def _store_some(service: Service, seeds: Sequence[Seed], batch: Sequence[Case], tally: Tally, dice: Random) -> None:
    at: Case | None = None
    try:
        with Scu(service.dicom_port, _syntaxes(seeds)) as scu:
            for at in batch:
                at.status = scu.store(
                    at.data_set,
                    sop_class_uid=at.sop_class_uid,
                    sop_instance_uid=at.sop_instance_uid,
                    transfer_syntax=at.transfer_syntax,
                    dice=dice,
                )
            at = None
            _store_good(scu, seeds, dice)
            scu.release()
    except OSError as error:
        made, content = (at.made, at.content) if at else ("after the last", b"")
        tally.found(f"the association broke: {type(error).__name__} {error}", made=made, content=content)


def _send_good(service: Service, seeds: Sequence[Seed], tally: Tally) -> None:
    try:
        with Scu(service.dicom_port, _syntaxes(seeds)) as scu:
            _store_good(scu, seeds, Random(uuid4().hex))
            scu.release()
    except OSError as error:
        tally.found(f"a good instance was not taken: {type(error).__name__} {error}")


def _store_good(scu: Scu, seeds: Sequence[Seed], dice: Random) -> None:
    """Raises OSError."""
    seed = dice.choice([each for each in seeds if each.uids and not each.transfer_syntax.endswith(".99")])
    data_set, uid = seed.renamed(dice)
    status = scu.store(
        data_set, sop_class_uid=seed.sop_class_uid, sop_instance_uid=uid, transfer_syntax=seed.transfer_syntax
    )
    if status:
        raise ConnectionError(f"a good instance ({seed.name}) was answered by 0x{status:04X}")


def _stow(client: httpx.Client, batch: Sequence[Case], tally: Tally, dice: Random) -> None:
    waiting = list(batch)
    while waiting:
        many = dice.choice((1, 1, 1, dice.randint(2, MOST_PARTS)))
        together, waiting = waiting[:many], waiting[many:]
        for each in together:
            spoil_file(each, dice)
        try:
            began = time.monotonic()
            answer = client.post("/dicomweb/studies", **multipart(together))
        except httpx.HTTPError as error:
            tally.found(f"no answer: {type(error).__name__}", made=together[0].made, content=together[0].content)
            continue
        if answer.status_code >= 500 or time.monotonic() - began > ANSWER_WITHIN_S:
            made = " | ".join(each.made for each in together)
            tally.found(f"answered by {answer.status_code}", made=made, content=together[0].content)
            continue
        _note(together, answer.json())


def multipart(together: Sequence[Case]) -> dict[str, object]:
    """Headers and body of a STOW-RS request."""
    boundary = uuid4().hex
    parts = [
        b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % (boundary.encode(), each.content)
        for each in together
    ]
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return {"headers": {"Content-Type": kind}, "content": b"".join(parts) + f"--{boundary}--".encode()}


def _note(together: Sequence[Case], answer: dict[str, dict[str, list[dict[str, dict[str, list[int]]]]]]) -> None:
    """Give each case its status; what was not understood is told by its reason alone, in the order of the parts."""

    def items(tag: str) -> list[dict[str, dict[str, list[int]]]]:
        return answer.get(tag, {}).get("Value", [])

    stored = [str(item[_UID]["Value"][0]) for item in items(_REFERENCED)]
    failed = {str(item[_UID]["Value"][0]): item[_REASON]["Value"][0] for item in items(_FAILED)}
    others = iter([item[_REASON]["Value"][0] for item in items(_OTHER)])
    for each in together:
        uid = _uid(each)
        if uid is None or (uid not in stored and uid not in failed):
            each.status = next(others, None)
        else:
            each.status = failed.get(uid, 0)


def _uid(case: Case) -> str | None:
    try:
        return read_instance(case.content).header.sop_instance_uid
    except InstanceRefused:
        return None


def _syntaxes(seeds: Sequence[Seed]) -> list[str]:
    return sorted({each.transfer_syntax for each in seeds} | set(SYNTAXES) | set(_OF_BOMBS))
