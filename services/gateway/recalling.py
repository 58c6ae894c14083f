"""Recalls of a period, carried out result by result beside the dispatcher; safe in several copies and against kills.

Each result is recalled as a single one is, in a transaction of its own. What is done is seen by what is left, so that
nothing has to be remembered.
"""

import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from pydicom.errors import InvalidDicomError
from sqlalchemy.exc import SQLAlchemyError

from services.backends.store import SqlStudyStore
from services.backends.store.campaigns import Place
from services.gateway.recall import recall
from services.logs import Conditions, where
from services.triage.errors import TransientError
from services.triage.ports import StudyFiles
from services.triage.switch import Campaign

log = structlog.get_logger(__name__)

BATCH = 50
# what one odd result may raise where nobody foresaw it, as in the dispatcher
_FAULTS = (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError, SQLAlchemyError)
_CLAIM = timedelta(seconds=60)
_LOOK_EVERY_S = 1.0
_PAUSE_S = 5.0  # after the disk or the database made trouble


class Recalling:
    """Takes one campaign after the other."""

    def __init__(self, store: SqlStudyStore, files: StudyFiles, *, notes: bool, stop: threading.Event) -> None:
        self._store = store
        self._files = files
        self._notes = notes
        self._stop = stop
        self._conditions = Conditions(log)

    def run(self) -> None:
        """Go on until a stop is asked."""
        while not self._stop.is_set():
            try:
                busy = self.turn()
            except TransientError as error:
                self._conditions.begins("recalling_postponed", "recalling", error=type(error).__name__)
                self._stop.wait(_PAUSE_S)
            else:
                self._conditions.ends("recalling_postponed", "recalling")
                self._stop.wait(0 if busy else _LOOK_EVERY_S)

    def turn(self) -> bool:
        """Carry out the oldest campaign, to its end or until a stop is asked. False: there is none.

        Raises TransientError; another try goes on where this one ended.
        """
        claimed = self._store.campaigns.claim(now=_now(), duration=_CLAIM)
        if claimed is None:
            return False
        campaign, claim = claimed
        try:
            self._carry_out(campaign, claim)
        except TransientError as error:
            # the claim is given back at once: who tries again need not wait for it to run out
            told = f"{error} [{error.reason.code}]"
            self._store.campaigns.go_on(campaign.campaign_id, claim, now=_now(), duration=timedelta(0), trouble=told)
            raise
        return True

    def _carry_out(self, campaign: Campaign, claim: str) -> None:
        campaigns, after, failed = self._store.campaigns, None, 0
        log.info("recall_goes_on", campaign=campaign.campaign_id, model=campaign.scope.model_name, left=campaign.left)
        while not self._stop.is_set():
            places = campaigns.left(campaign, after=after, limit=BATCH)
            if not places and after is None:
                campaigns.finish(campaign.campaign_id, claim, now=_now())
                log.info("recall_finished", campaign=campaign.campaign_id)
                return
            failed += sum(not self._is_recalled(campaign, place) for place in places)
            # from the beginning once more, for what was frozen at the last moment
            after = places[-1] if places else None
            trouble = f"{failed} results could not be recalled; the log tells why" if failed else ""
            if not campaigns.go_on(campaign.campaign_id, claim, now=_now(), duration=_CLAIM, trouble=trouble):
                return
            if failed and after is None:
                return  # once this claim has run out they are tried again
        campaigns.go_on(campaign.campaign_id, claim, now=_now(), duration=timedelta(0))

    def _is_recalled(self, campaign: Campaign, place: Place) -> bool:
        """Recall one. False: nobody foresaw what came of it, and the others go first."""
        try:
            self._recall(campaign, place)
        except _FAULTS as error:
            log.error("recall_broke", result=place[1], **where(error))  # noqa: TRY400 - no values
            return False
        return True

    def _recall(self, campaign: Campaign, place: Place) -> None:
        _, result_id = place
        once = partial(
            recall,
            self._store,
            self._files,
            result_id,
            reason=campaign.reason,
            actor=campaign.actor,
            now=_now(),
        )
        try:
            once(notes=self._notes)
        except (FileNotFoundError, InvalidDicomError) as error:
            # of a result whose file is gone no note can be written; it is recalled all the same
            log.warning("recalled_without_note", result=result_id, error=type(error).__name__)
            once(notes=False)


def _now() -> datetime:
    return datetime.now(UTC)
