"""The worker's loop: take a message, take the job's lease, acknowledge, make an attempt."""

import os
import socket
import threading
from datetime import UTC, datetime, timedelta

import structlog

from services.backends.files import FolderStudyFiles
from services.backends.queue import EmbeddedJobQueue
from services.backends.senders import parse_destination
from services.backends.store import open_store
from services.lifetime import stop_on_signals
from services.settings import Settings
from services.triage.errors import TransientError
from services.triage.ports import JobQueue, ReceivedMessage, Segmenter, StudyFiles, StudyStore
from services.worker.attempt import Attempts

log = structlog.get_logger(__name__)

RECEIVE_TIMEOUT = timedelta(seconds=1)
RETRY_DELAY = timedelta(seconds=5)


def run_worker(settings: Settings, segmenter: Segmenter) -> None:
    """Work on jobs until SIGTERM or SIGINT. A job in hand is finished, or given back after a grace."""
    stop = stop_on_signals()
    store, files = open_store(settings.store_url()), FolderStudyFiles(settings.data)
    if not work(store, files, EmbeddedJobQueue(settings.store_url()), segmenter, settings, stop):
        # The pipeline's thread still computes, and an ordinary exit would wait for it. All that counts is committed.
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
        destinations=[parse_destination(text) for text in settings.send_to],
        stop=stop,
        lease_s=settings.lease_s,
        max_attempts=settings.max_attempts,
    )
    worker = f"{socket.gethostname()}:{os.getpid()}"
    log.info("worker_started", worker=worker)
    ended = True
    while ended and not stop.is_set():
        try:
            received = queue.receive(timeout=RECEIVE_TIMEOUT)
        except TransientError as error:
            log.warning("queue_unavailable", error=type(error).__name__)
            stop.wait(RETRY_DELAY.total_seconds())
            continue
        if received is not None:
            ended = _handle(received, store, attempts, worker=worker, lease_s=settings.lease_s)
    queue.close()
    log.info("worker_stopped", worker=worker)
    return ended


def _handle(received: ReceivedMessage, store: StudyStore, attempts: Attempts, *, worker: str, lease_s: float) -> bool:
    """Turn a message into a lease, and the lease into an attempt. False: see `Attempts.make`."""
    job_id = received.message.job_id
    try:
        taken = store.lease(job_id, worker=worker, now=datetime.now(UTC), duration=timedelta(seconds=lease_s))
    except TransientError as error:
        log.warning("lease_not_taken", job=job_id, error=type(error).__name__)
        received.retry(delay=RETRY_DELAY)
        return True
    try:
        received.ack()
    except TransientError as error:
        # the message comes back, and then finds the job taken
        log.warning("message_not_acknowledged", job=job_id, error=type(error).__name__)
    return True if taken is None else attempts.make(*taken)
