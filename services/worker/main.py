"""The worker's loop: wait for a message, lease the job that is next, acknowledge, make an attempt.

The message is only a bell: which job is next, the store decides. A worker looks for work on its own, too: at once when
it has done a job, else every `LOOK_AGAIN`. So bells need not be counted, a lost one costs no more than that, and a
broker that is down stops nobody.
"""

import gc
import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from services import tracing
from services.backends.blind_file import load_blind
from services.backends.files import FolderStudyFiles
from services.backends.queue import open_queue
from services.backends.receivers import addressees
from services.backends.senders import tenants_in_force
from services.backends.store import open_store
from services.exposition import expose
from services.lifetime import stop_on_signals
from services.logs import Conditions
from services.memory import give_back
from services.settings import Settings
from services.tls_gauges import of_broker
from services.triage.errors import TransientError
from services.triage.job import Job, Lease
from services.triage.ports import JobQueue, ReceivedMessage, Segmenter, StudyFiles, StudyStore
from services.worker.attempt import Attempts
from services.worker.energy import EnergyMeter
from services.worker.readiness import obstacle
from services.worker.shadowing import Shadowing

log = structlog.get_logger(__name__)

LOOK_AGAIN = timedelta(seconds=2)
RETRY_DELAY = timedelta(seconds=5)


def run_worker(settings: Settings, segmenter: Segmenter) -> None:
    """Work on jobs until SIGTERM or SIGINT. A job in hand is finished, or given back after a grace."""
    stop = stop_on_signals()
    store, files = open_store(settings.store_url()), FolderStudyFiles(settings.data)
    expose(settings, store, part="worker", tls=[of_broker(settings)])
    gc.freeze()  # a collection in the midst of a job would walk all that was imported: a third of a second
    if not work(store, files, open_queue(settings), segmenter, settings, stop):
        # The pipeline's thread still computes, and an ordinary exit would wait for it. All that counts is committed.
        tracing.flush()
        os._exit(0)


def work(
    store: StudyStore,
    files: StudyFiles,
    queue: JobQueue,
    segmenter: Segmenter,
    settings: Settings,
    stop: threading.Event,
) -> bool:
    """Work until `stop` is set. False: a pipeline was left running, its job given back."""
    attempts = Attempts(
        store=store,
        files=files,
        segmenter=segmenter,
        destinations=addressees(settings),
        stop=stop,
        lease_s=settings.lease_s,
        max_attempts=settings.max_attempts,
        analysis_limit_s=settings.analysis_limit_s,
        max_volume_voxels=settings.max_volume_voxels,
        grace_s=settings.stop_grace_s,
        energy=EnergyMeter(
            watts_per_core=settings.watts_per_core, triton=settings.triton, triton_metrics=settings.triton_metrics
        ),
        blind=load_blind(settings.blind, tenants_in_force(settings)),
    )
    shadowing = Shadowing(
        shadows=store.shadows,
        files=files,
        segmenter=segmenter,
        stop=stop,
        lease_s=settings.lease_s,
        analysis_limit_s=settings.analysis_limit_s,
        max_volume_voxels=settings.max_volume_voxels,
        grace_s=settings.stop_grace_s,
        energy=attempts.energy,
    )
    worker = f"{socket.gethostname()}:{os.getpid()}"
    log.info("worker_started", worker=worker)
    ended, patience, conditions = True, timedelta(0), Conditions(log)
    while ended and not stop.is_set():
        if (obstructed := obstacle(segmenter, files)) is not None:
            conditions.begins("cannot_work", error=type(obstructed).__name__)
            stop.wait(LOOK_AGAIN.total_seconds())
            continue
        conditions.ends("cannot_work")
        received = _bell(queue, stop, patience, conditions)
        taken = _take(received, store, worker=worker, lease_s=settings.lease_s)
        patience = LOOK_AGAIN if taken is None else timedelta(0)
        if taken is not None:
            ended = attempts.make(*taken, rung_by=received.message.traceparent if received else None)
        elif (shadow_ended := shadowing.make(worker)) is not None:
            ended, patience = shadow_ended, timedelta(0)
        else:
            continue
        give_back()
    queue.close()
    log.info("worker_stopped", worker=worker)
    return ended


def _bell(
    queue: JobQueue, stop: threading.Event, patience: timedelta, conditions: Conditions
) -> ReceivedMessage | None:
    """A message, if one comes in time."""
    try:
        received = queue.receive(timeout=patience)
    except TransientError as error:
        conditions.begins("queue_unavailable", error=type(error).__name__)
        stop.wait(LOOK_AGAIN.total_seconds())
        return None
    conditions.ends("queue_unavailable")
    return received


def _take(
    received: ReceivedMessage | None, store: StudyStore, *, worker: str, lease_s: float
) -> tuple[Lease, Job] | None:
    """Lease the next job; the message is acknowledged once the lease is committed, or nothing is due."""
    try:
        taken = store.lease_next(worker=worker, now=datetime.now(UTC), duration=timedelta(seconds=lease_s))
    except TransientError as error:
        log.warning("lease_not_taken", error=type(error).__name__)
        _end(received, lambda message: message.retry(delay=RETRY_DELAY))
        return None
    _end(received, lambda message: message.ack())
    return taken


def _end(received: ReceivedMessage | None, how: Callable[[ReceivedMessage], None]) -> None:
    if received is None:
        return
    try:
        how(received)
    except TransientError as error:
        # it comes back: one bell too many, which does no harm
        log.warning("message_not_ended", rung_for=received.message.job_id, error=type(error).__name__)
