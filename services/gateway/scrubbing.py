"""The search for lost instances, beside the dispatcher; of several copies one takes each turn.

Every file that the store knows is looked for; one in READ_ONE_OF is read to its last byte, and its digest compared with
its name. What is missing is said in the log, once, and counted (`vigie_instances_lost`) until it is there again.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from services.backends.headers import read_instance
from services.backends.store import SqlStudyStore
from services.backends.store.scrub import Expected
from services.logs import Conditions
from services.triage.errors import InstanceRefused, TransientError
from services.triage.ports import StudyFiles

log = structlog.get_logger(__name__)

INTERVAL = timedelta(seconds=10)
READ_ONE_OF = 50
_LOOK_EVERY_S = 5.0


class Scrubbing:
    """files_per_s: so many are looked for, on average."""

    def __init__(self, store: SqlStudyStore, files: StudyFiles, *, files_per_s: float, stop: threading.Event) -> None:
        self._store = store
        self._files = files
        self._per_turn = max(1, round(files_per_s * INTERVAL.total_seconds()))
        self._is_on = files_per_s > 0
        self._stop = stop
        self._conditions = Conditions(log)

    def run(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Take turns until a stop is asked."""
        while self._is_on and not self._stop.is_set():
            try:
                self.turn(clock())
            except TransientError as error:
                self._conditions.begins("scrubbing_postponed", error=type(error).__name__)
            else:
                self._conditions.ends("scrubbing_postponed")
            self._stop.wait(_LOOK_EVERY_S)

    def turn(self, now: datetime) -> bool:
        """Look for the next ones, if it is time and nobody else does; answers whether. Raises StoreUnavailable."""
        if not self._store.scrub.take_turn(now=now, interval=INTERVAL):
            return False
        looked_for = self._store.scrub.expected(limit=self._per_turn)
        faults, read = {}, 0
        for one in looked_for:
            whole = one.serial % READ_ONE_OF == 0
            read += whole
            if (fault := self._fault(one, whole=whole)) is not None:
                faults[one.digest] = fault
        new = self._store.scrub.note(looked_for, faults, read=read, now=now)
        for one in looked_for:
            if one.digest in new:
                log.error(
                    "instance_lost",
                    study_instance_uid=one.study_instance_uid,
                    sop_instance_uid=one.sop_instance_uid,
                    digest=one.digest,
                    fault=faults[one.digest],
                )
        return True

    def _fault(self, one: Expected, *, whole: bool) -> str | None:
        """None: the file is there, and, if it was read whole, as it was kept."""
        try:
            path = self._files.path(one.digest)
            if not whole:
                return None if path.stat().st_size else "damaged"
            return None if read_instance(path).digest == one.digest else "damaged"
        except FileNotFoundError:
            return "missing"
        except InstanceRefused:
            return "damaged"
        except OSError as error:
            log.warning("kept_file_unreadable", digest=one.digest, error=type(error).__name__)
            return "unreadable"
