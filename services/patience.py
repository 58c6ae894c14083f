"""Waiting for a server that is not there yet, and pauses between tries."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from services.triage.errors import TransientError

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0

T = TypeVar("T")


def wait_for(what: str, opened: Callable[[], T]) -> T:
    """Call until it answers without a TransientError; blocks. Said once when it has to wait, and once when it is over.

    So our processes start in any order, with no loop of crashes.
    Call it while `lifetime.exit_on_signals` is in force, or before signals are handled at all.
    """
    pause_s = FIRST_PAUSE_S
    waited = False
    while True:
        try:
            found = opened()
        except TransientError as error:
            if not waited:
                log.warning("waiting", for_=what, error=type(error).__name__, reason=str(error))
            waited = True
            time.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
            continue
        if waited:
            log.info("waiting_ended", for_=what)
        return found


def pause_after(attempt: int, *, first_s: float, longest_s: float) -> float:
    """Seconds to wait after the given attempt (from 1): doubling, at most `longest_s`, with up to a tenth taken off.

    The jitter keeps many deliveries that failed together from coming back together.
    """
    pause_s = min(longest_s, first_s * 2.0 ** min(attempt - 1, 32))
    return pause_s * random.uniform(0.9, 1)  # noqa: S311 - no secret
