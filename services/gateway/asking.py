"""Asking PACS, in a process of its own: whether a quiet study is complete there and here, and, daily, what never came.

The dispatcher does not wait for it: what a PACS said is read from the store, and what it has not said in time counts as
not said (`triage.completeness.decide`). So a slow PACS, or the death of this process, holds up nothing but its own
answers. Several such processes share the questions by claims.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from services.backends.files import FolderStudyFiles
from services.backends.pacs import Pacs, load_pacs, pacs_of, questions
from services.backends.routing_file import load_rules
from services.backends.store import SqlStudyStore, open_store
from services.backends.store.inquiries import Inquiry
from services.gateway.daily import Daily
from services.gateway.intake import Intake
from services.gateway.reconciliation import Reconciliation
from services.lifetime import beside, stop_on_signals
from services.logs import Conditions, where
from services.patience import pause_after, wait_for
from services.settings import Settings
from services.triage.completeness import ROUTABLE_MODALITIES, Answer, Inquired
from services.triage.errors import RejectedError, StoreUnavailable, TransientError
from services.triage.pacs import missing_here

log = structlog.get_logger(__name__)

THREADS = 4  # questions at the same time: one that hangs does not hold up the next
POLL_S = 0.3
STORE_PAUSE_S = 2.0
FIRST_AGAIN_S, LONGEST_AGAIN_S = 10.0, 120.0  # between questions about a study of which the PACS has more
RETRY_S = 5.0  # before a PACS that could not be reached is tried again, for any study
CLAIM = timedelta(seconds=20)  # less than a PACS's grace: after a death there is time to ask again; twice is harmless


def _now() -> datetime:
    return datetime.now(UTC)


def run_asking(settings: Settings) -> None:
    """Ask until SIGTERM or SIGINT; blocks. The question in hand is asked to its end."""
    among = load_pacs(settings)
    store = wait_for("database", lambda: open_store(settings.store_url()))
    stop = stop_on_signals()
    asking = Asking(store, among, settings)
    asks = [asking.run] * THREADS if any(each.completeness for each in among) else []
    turns = [*asks, *(each.run for each in _daily(store, among, settings, stop))]
    log.info("asking_started", pacs=[each.name for each in among])
    with beside(*(partial(turn, stop) for turn in turns), stop=stop):
        stop.wait()
    log.info("asking_stopped")


def _daily(store: SqlStudyStore, among: Sequence[Pacs], settings: Settings, stop: threading.Event) -> list[Daily]:
    files = FolderStudyFiles(settings.data, min_free_mb=settings.min_free_mb)
    intake = Intake(files=files, max_instance_bytes=settings.max_instance_mb * 1_000_000)
    rules = load_rules(settings.routing)
    return [
        Daily(
            store=store,
            pacs=each,
            work=Reconciliation(store=store, settings=settings, rules=rules, intake=intake, stop=stop),
        )
        for each in among
        if each.reconcile_at is not None
    ]


class Asking:
    """Answers, one after the other, whether the PACS has more of a quiet study than is here. Shared by threads."""

    def __init__(
        self, store: SqlStudyStore, among: Sequence[Pacs], settings: Settings, *, clock: Callable[[], datetime] = _now
    ) -> None:
        self._store = store
        self._among = among
        self._clock = clock
        self._settings = settings
        self._quiet_period = timedelta(seconds=settings.quiet_period_s)
        self._conditions = Conditions(log)
        self._away_until: dict[str, datetime] = {}  # PACS that was away -> it is not tried before
        self._lock = threading.Lock()

    def run(self, stop: threading.Event) -> None:
        """Take turns until a stop is asked."""
        while not stop.is_set():
            try:
                asked = self.turn()
            except StoreUnavailable as error:
                self._conditions.begins("asking_postponed", error=type(error).__name__)
                stop.wait(STORE_PAUSE_S)
                continue
            self._conditions.ends("asking_postponed")
            if not asked:
                stop.wait(POLL_S)

    def turn(self) -> bool:
        """Ask about one version; False: none is due. Raises StoreUnavailable."""
        due = self._store.inquiries.claim(now=self._clock(), quiet_period=self._quiet_period, duration=CLAIM)
        if due is None:
            return False
        answer = self._answer(due)
        again_s = {
            Inquired.MORE: pause_after(due.asked + 1, first_s=FIRST_AGAIN_S, longest_s=LONGEST_AGAIN_S),
            Inquired.UNREACHABLE: RETRY_S,
        }.get(answer.outcome)
        now = self._clock()
        again_at = None if again_s is None else now + timedelta(seconds=again_s)
        self._store.inquiries.answered(due, answer, now=now, again_at=again_at)
        return True

    def _answer(self, due: Inquiry) -> Answer:
        uid = due.version.study_instance_uid
        pacs = pacs_of(self._store.senders(due.version), self._among)
        if pacs is None:
            return Answer(outcome=Inquired.NOT_ASKED, text="no PACS is asked about studies of these senders")
        if not self._may_try(pacs):
            return Answer(outcome=Inquired.UNREACHABLE, text=f"{pacs.name} could not be reached a moment ago")
        try:
            answer = self._ask(pacs, uid)
        except StoreUnavailable:
            raise
        except (TransientError, RejectedError) as error:
            self._conditions.begins("pacs_unreachable", pacs.name, pacs=pacs.name, reason=str(error))
            self._away_until[pacs.name] = self._clock() + timedelta(seconds=RETRY_S)
            return Answer(outcome=Inquired.UNREACHABLE, text=str(error))
        except Exception as error:  # noqa: BLE001 - the border: an odd answer about one study must not stop the others
            found = where(error)
            log.error("unforeseen_error", study_instance_uid=uid, pacs=pacs.name, **found)  # noqa: TRY400 - no values
            return Answer(outcome=Inquired.UNREACHABLE, text=f"unforeseen {found['error']} when {pacs.name} was asked")
        self._away_until.pop(pacs.name, None)
        self._conditions.ends("pacs_unreachable", pacs.name, pacs=pacs.name)
        log.info("pacs_asked", study_instance_uid=uid, pacs=pacs.name, outcome=answer.outcome, said=answer.text)
        return answer

    def _may_try(self, pacs: Pacs) -> bool:
        """One thread at a time tries a PACS that was away: were it all, one that hangs would hold up the others."""
        with self._lock:
            until = self._away_until.get(pacs.name)
            if until is None:
                return True
            if self._clock() < until:
                return False
            trying = pacs.link.connect_timeout_s + pacs.link.answer_timeout_s + RETRY_S
            self._away_until[pacs.name] = self._clock() + timedelta(seconds=trying)
            return True

    def _ask(self, pacs: Pacs, study_instance_uid: str) -> Answer:
        """One question, and for a study of which the PACS has more objects a second: whether they are images."""
        here = self._store.inquiries.here(study_instance_uid)
        with questions(pacs, self._settings) as asked:
            study = asked.study(study_instance_uid)
            if study is None:
                return Answer(outcome=Inquired.UNKNOWN, text=f"{pacs.name} does not know the study")
            total = sum(here.values())
            if study.instances is not None and study.instances <= total:
                text = f"{pacs.name} has {study.instances} instances, {total} are here"
                return Answer(outcome=Inquired.ALL_HERE, text=text)
            series = asked.series(study_instance_uid)
        missing = missing_here(series, here, ROUTABLE_MODALITIES)
        if not missing:
            return Answer(outcome=Inquired.ALL_HERE, text=f"{pacs.name} has no image that is not here")
        text = f"{pacs.name} has {sum(missing.values())} images of {len(missing)} series that are not here"
        return Answer(outcome=Inquired.MORE, text=text)
