"""Keeping a claim while its work goes on, so that it runs out soon after its process has died."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from services.lifetime import beside
from services.triage.errors import StoreUnavailable

log = structlog.get_logger(__name__)


@contextmanager
def keeping(renew: Callable[[], None], *, claim_s: float, what: str) -> Iterator[None]:
    """Renew, three times while a claim lasts, until the block ends. what: is being worked on, for the log."""
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(claim_s / 3):
            try:
                renew()
            except StoreUnavailable:
                log.warning("claim_not_renewed", of=what)

    with beside(go_on, stop=done):
        yield
