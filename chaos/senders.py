"""Modalities that never give up: each sends study after study, and remembers what was acknowledged to it."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import httpx
from httpx import HTTPError
from pydicom import dcmread

from chaos.studies import Study
from services.backends.senders.association import OutgoingFile, associate
from services.triage.errors import TransientError

AGAIN_S = 0.3
PACE_S = 0.2  # between two instances, on average
REST_S = 0.8  # between two studies
STOW_AT_ONCE = 3
STOW_TIMEOUT_S = 30.0

# Sends files; yields each that was acknowledged; raises NotNow, TransientError or HTTPError when the others must wait.
Way = Callable[[Sequence[Path]], Iterator[Path]]


class NotNow(TransientError):
    """The door has no room, or is not quite there."""


class Refused(AssertionError):
    """The door will never take a sound instance."""


class Sender:
    """One modality. `acknowledged`: SHA-256 of each data set -> UID of its study."""

    def __init__(self, name: str, way: Way) -> None:
        self.name = name
        self.acknowledged: dict[str, str] = {}
        self._way = way

    def send(
        self, studies: Iterator[Study], dice: random.Random, enough: threading.Event, abandon: threading.Event
    ) -> list[Study]:
        """Send one study after the other until it is enough; the last is still sent to its end. Answers them."""
        sent = []
        while not enough.is_set():
            study = next(studies)
            sent.append(study)
            unsent = dict(study.files)
            while unsent and not abandon.is_set():
                try:
                    for path in self._way(list(unsent)):
                        self.acknowledged[unsent.pop(path)] = study.uid
                        enough.wait(dice.uniform(0, 2 * PACE_S))
                except (TransientError, HTTPError):
                    time.sleep(AGAIN_S)
            enough.wait(dice.uniform(0, 2 * REST_S))
        return sent


class Senders:
    """All modalities, each with a thread of its own."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self.senders = tuple(senders)
        self._pool = ThreadPoolExecutor(len(senders))
        self._enough, self._abandon = threading.Event(), threading.Event()
        self._sending: list[Future[list[Study]]] = []

    def begin(self, studies: Sequence[Iterator[Study]], dice: random.Random) -> None:
        """Have each send its own studies."""
        self._enough.clear()
        self._sending = [
            self._pool.submit(sender.send, own, random.Random(dice.random()), self._enough, self._abandon)
            for sender, own in zip(self.senders, studies, strict=True)
        ]

    def finish(self, timeout_s: float) -> list[Study]:
        """Answers what they have sent, all of it acknowledged. Raises TimeoutError, and whatever broke a sender."""
        self._enough.set()
        done, waiting = wait(self._sending, timeout_s)
        if waiting:
            raise TimeoutError(
                f"{len(waiting)} senders are not rid of their studies {timeout_s:.0f} s after all was up"
            )
        return [study for sending in done for study in sending.result()]

    def stop(self) -> None:
        """Give up whatever is not yet acknowledged."""
        self._abandon.set()
        self._enough.set()
        self._pool.shutdown()

    def acknowledged(self) -> dict[str, str]:
        """See Sender."""
        return {digest: uid for sender in self.senders for digest, uid in sender.acknowledged.items()}


def by_c_store(address: str, ae_title: str) -> Way:
    """One association for what is left of the study."""

    def send(paths: Sequence[Path]) -> Iterator[Path]:
        files = [OutgoingFile.read(path) for path in paths]
        with associate(address, ae_title, files, implicit_fallback=False) as association:
            for file in files:
                association.store(file)
                yield file.path

    return send


def by_stow(url: str) -> Way:
    """A few instances in each request (PS3.18 10.5)."""

    def send(paths: Sequence[Path]) -> Iterator[Path]:
        some = paths[:STOW_AT_ONCE]
        answer = httpx.post(url, content=_multipart(some), headers=_MULTIPART, timeout=STOW_TIMEOUT_S)
        if answer.status_code not in (200, 202, 409, 413, 503):
            raise NotNow(f"HTTP status {answer.status_code}")
        told = answer.json()
        stored = {item["00081155"]["Value"][0] for item in _items(told, "00081199")}
        yield from (path for path in some if _sop_instance_uid(path) in stored)
        failed = [item["00081197"]["Value"][0] for tag in ("00081198", "0008119A") for item in _items(told, tag)]
        if any(reason >> 8 != 0xA7 for reason in failed):
            raise Refused(f"STOW-RS failure reasons {failed}")
        if len(stored) < len(some):
            raise NotNow("not all were taken")

    return send


_BOUNDARY = b"chaos"
_MULTIPART = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=chaos'}


def _multipart(paths: Sequence[Path]) -> bytes:
    head = b"--" + _BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + path.read_bytes() + b"\r\n" for path in paths) + b"--" + _BOUNDARY + b"--\r\n"


def _items(told: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    return list(told.get(tag, {}).get("Value", ()))


def _sop_instance_uid(path: Path) -> str:
    return str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
