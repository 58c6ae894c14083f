"""What other processes do to a store, a folder or a queue; each takes and gives plain values."""

import contextlib
import hashlib
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, TypeVar

from services.backends.files import FolderStudyFiles
from services.backends.store import open_store
from services.triage.job import OrderPriority
from services.triage.study import VersionKey
from services.triage.tenant import Tenant
from tests.support.queues import queue_at
from tests.support.records import LEASE, QUIET, adt, after, image, one_job, sent
from tests.support.warm import FORKED

T = TypeVar("T")
_gate: Barrier


def at_once(work: Callable[..., T], calls: Sequence[tuple[Any, ...]]) -> list[T]:
    """Run each call in a process of its own, all beginning at the same moment."""
    gate = FORKED.Barrier(len(calls))
    with ProcessPoolExecutor(len(calls), mp_context=FORKED, initializer=_remember, initargs=(gate,)) as pool:
        return [one.result() for one in [pool.submit(_wait_then, work, call) for call in calls]]


def _remember(gate: Barrier) -> None:
    global _gate
    _gate = gate


def _wait_then(work: Callable[..., T], call: tuple[Any, ...]) -> T:
    _gate.wait(timeout=60)
    return work(*call)


def complete_all(url: str, studies: int) -> int:
    """Try to complete each study's first version; how many this process completed."""
    store = open_store(url)
    done = 0
    for number in range(studies):
        uid = f"1.7.{number}"
        version = VersionKey(study_instance_uid=uid, number=1)
        done += store.complete(version, one_job(uid), priority=OrderPriority.ROUTINE, seen=1, now=after(20))
    return done


def lease_all(url: str, worker: str) -> list[str]:
    """Lease until nothing is due; the jobs that this worker got."""
    store = open_store(url)
    leased = iter(lambda: store.lease_next(worker=worker, now=after(30), duration=LEASE), None)
    return [job.job_id for _, job in leased]


def claim_all(url: str, destination: str) -> list[str]:
    """Claim deliveries until none is due; those that this process got."""
    store = open_store(url)
    claimed = []
    while (one := store.claim_delivery(destination, now=after(100), duration=LEASE)) is not None:
        claimed.append(one.delivery_id)
    return claimed


def claim_inquiries(url: str) -> list[str]:
    """Claim what a PACS is to be asked about until nothing is due; the studies that this process got."""
    store = open_store(url)
    claimed = []
    while (one := store.inquiries.claim(now=after(100), quiet_period=QUIET, duration=LEASE)) is not None:
        claimed.append(one.version.study_instance_uid)
    return claimed


def record_all(url: str, studies: int, images: int, order: int) -> int:
    """Record the same images of several studies, in an order of its own; how many were new here."""
    store = open_store(url)
    new = 0
    for number in range(1, images + 1):
        batch = [image(number, study=f"1.7.{study}") for study in range(studies)]
        new += sum(one.arrival == "new" for one in store.record(sent(*batch[::order]), now=after(0)))
    return new


def contents(count: int) -> list[tuple[str, bytes]]:
    """Digest and bytes of the files that everyone keeps."""
    files = [f"file {number}".encode() * 100 for number in range(count)]
    return [(hashlib.sha256(content).hexdigest(), content) for content in files]


def keep_all(root: str, count: int, sender: str) -> list[str]:
    """Keep the same files as everyone else."""
    files = FolderStudyFiles(Path(root))
    return [files.keep(content, digest=digest, received_from=sender).digest for digest, content in contents(count)]


def keep_or_settle(root: str, count: int, sender: str) -> list[str]:
    """Keep what everyone keeps, or with no sender settle it again and again; the digests that are found then."""
    files = FolderStudyFiles(Path(root))
    digests = keep_all(root, count, sender) if sender else [digest for digest, _ in contents(count)]
    for _ in range(0 if sender else 20):
        files.settle(digests)
    return [digest for digest in digests if files.path(digest).is_file()]


def take_all(url: str) -> list[str]:
    """Receive and acknowledge until nothing comes."""
    queue = queue_at(url)
    taken = []
    while (received := queue.receive(timeout=timedelta(seconds=0.5))) is not None:
        taken.append(received.message.job_id)
        received.ack()
    return taken


def keep_for_ever(root: str, acknowledged: Connection) -> None:
    """Keep file after file; each digest goes to the pipe only after `keep` has returned."""
    files = FolderStudyFiles(Path(root))
    for number in itertools.count():
        content = f"instance {number}".encode() * 2000
        digest = hashlib.sha256(content).hexdigest()
        files.keep(content, digest=digest, received_from="CT1")
        acknowledged.send(digest)


def record_for_ever(url: str, acknowledged: Connection) -> None:
    """Record image after image; each number goes to the pipe only after `record` has returned."""
    store = open_store(url)
    for number in itertools.count(1):
        store.record(sent(image(number)), now=after(number))
        acknowledged.send(number)


def hold_a_message(url: str, acknowledged: Connection) -> None:
    """Take a message in hand and never end it."""
    options = {"claim": timedelta(seconds=1)} if url.startswith("sqlite") else {}
    received = queue_at(url, **options).receive(timeout=timedelta(seconds=5))
    assert received is not None
    acknowledged.send(received.message.job_id)
    time.sleep(600)


def killed_after(work: Callable[[str, Connection], None], where: str, *, acknowledged: int) -> list[Any]:
    """Run work in a process, kill -9 it once it has acknowledged so much; all it has acknowledged until then."""
    reader, writer = FORKED.Pipe(duplex=False)
    process = FORKED.Process(target=work, args=(where, writer))
    process.start()
    writer.close()
    said = [reader.recv() for _ in range(acknowledged)]
    process.kill()
    process.join()
    with contextlib.suppress(EOFError):
        while True:
            said.append(reader.recv())
    return said


def record_and_merge(url: str, studies: Sequence[str], surviving: str) -> None:
    """Record an image of patient P1 in each study while all of P1 is merged, again and again, into the survivor."""
    store = open_store(url, default_issuer="NORTH")
    for number, study in enumerate(studies or range(6)):
        if studies:
            store.record(sent(image(1, study=str(study))), now=after(number))
        store.reconcile_patients(adt(merges=[("P1", surviving)], sender=surviving, at=number), now=after(number))
    store.close()


def record_as(url: str, tenant: str, study: str, number: int) -> str:
    """Record an image of a study for a tenant; what the store makes of it."""
    (recorded,) = open_store(url).record(sent(image(number, study=study)), now=after(0), tenant=Tenant(name=tenant))
    return recorded.arrival.value


def claim(folder: Path, study: str, tenant: str) -> str:
    """Claim a study; whose it is."""
    return FolderStudyFiles(folder).claim(study, tenant)
