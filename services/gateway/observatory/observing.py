"""Looking for alarms at intervals, in a process of its own: a scrape must not wait for figures.

Of several such processes one takes each turn (`Observations.take_turn`); what it finds is kept for the metrics of all.
"""

import threading
from datetime import UTC, datetime, timedelta

import structlog

from services.backends.store import SqlStudyStore, open_store
from services.backends.store.observations import Observation
from services.gateway.observatory.looking import last_days, look
from services.lifetime import stop_on_signals
from services.logs import Conditions, where
from services.patience import wait_for
from services.settings import Settings
from services.triage.errors import StoreUnavailable

log = structlog.get_logger(__name__)

POLL_S = 20.0


def run_observing(settings: Settings) -> None:
    """Look until SIGTERM or SIGINT; blocks."""
    store = wait_for("database", lambda: open_store(settings.store_url()))
    stop = stop_on_signals()
    conditions = Conditions(log)
    while not stop.is_set():
        try:
            turn(store, settings, now=datetime.now(UTC), stop=stop)
        except StoreUnavailable as error:
            conditions.begins("observing_postponed", error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the border: odd figures of one model must not end the process
            log.error("observing_broke", **where(error))  # noqa: TRY400 - no values
        else:
            conditions.ends("observing_postponed")
        stop.wait(POLL_S)


def turn(store: SqlStudyStore, settings: Settings, *, now: datetime, stop: threading.Event | None = None) -> bool:
    """Look, if it is time and nobody else does; answers whether. Raises StoreUnavailable."""
    interval = timedelta(seconds=settings.observatory_interval_s)
    if not store.observations.take_turn(now=now, interval=interval):
        return False
    store.observations.fill()
    window = last_days(settings.observatory_days, now)
    found = []
    for model, version, _ in store.observations.models(window.span):
        if stop is not None and stop.is_set():
            return False
        figures = look(store.observations, window, model, version, minimum=settings.observatory_minimum)
        found.append(Observation(computed_at=now, figures=figures))
    store.observations.keep(found)
    log.info("observed", models=len(found), alarms=sum(len(one.figures.alarms) for one in found))
    return True
