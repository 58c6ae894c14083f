"""Storage Commitment that others ask of us: what the archive has committed to us, reported until it is taken."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import structlog
from pydicom.uid import generate_uid

from services.committed import record_report
from services.deliver.lane import Lane, utc_now
from services.logs import where
from services.triage.commitment import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    CommitmentReport,
    DueRequest,
    RequestState,
    Wanted,
)
from services.triage.errors import DestinationRefused, LeaseLost, Reason, StoreUnavailable, TransientError
from services.triage.ports import CommitmentReporter, CommitmentRequests, CommitmentUser, StudyFiles

log = structlog.get_logger(__name__)

LOOK_S = 1.0  # requests take their time anyway, and there may be a lane for every modality of a hospital


@dataclass(frozen=True, kw_only=True)
class Promising(Lane):
    """Decides the requests of one AE, and reports them to it; `destination` is where the reports go, by its AE title.

    tenant: whose the AE is, for which alone we hold what is its own.
    look_for_s: so long an instance that we do not hold is waited for. answer_within_s: without an answer for so long
    the archive is asked again. decide_within_s, report_within_s: then what is undecided fails, and the report is given
    up.
    """

    work: ClassVar[str] = "commitment_requests"

    requests: CommitmentRequests
    files: StudyFiles
    archive: CommitmentUser
    reporter: CommitmentReporter
    tenant: str
    look_for_s: float
    answer_within_s: float
    decide_within_s: float
    report_within_s: float

    def turn(self) -> float:
        """Go on with the first request that is due."""
        due = self.requests.claim(self.destination.name, now=utc_now(), duration=self.claim, tenant=self.tenant)
        if due is None:
            return LOOK_S
        with self.renewing(lambda: self.requests.renew(due, now=utc_now(), duration=self.claim)):
            if due.state is RequestState.DECIDED:
                self._report(due)
            else:
                self._decide(due)
        return 0

    def _decide(self, due: DueRequest) -> None:
        now, deadline = utc_now(), due.asked_at + timedelta(seconds=self.decide_within_s)
        if now >= deadline:
            self._fail(due, {one: one.refused or PROCESSING_FAILURE for one in due.wanted})
            return
        failed = {one: reason for one in due.wanted if (reason := self._own_failure(one)) is not None}
        if NO_SUCH_INSTANCE in failed.values() and now < due.asked_at + timedelta(seconds=self.look_for_s):
            self.requests.put_off(due, None, next_at=min(now + timedelta(seconds=LOOK_S), deadline))
            return
        self._fail(due, failed)
        if wanted := [one for one in due.wanted if one not in failed]:
            self._ask(due, wanted, deadline)

    def _own_failure(self, one: Wanted) -> int | None:
        """Why it is not for us to commit this instance; None where all depends on the archive."""
        if one.held is None:
            return NO_SUCH_INSTANCE
        sop_class_uid, digests = one.held
        if sop_class_uid != one.sop_class_uid:
            return CLASS_INSTANCE_CONFLICT
        return None if any(map(self._is_kept, digests)) else NO_SUCH_INSTANCE

    def _is_kept(self, digest: str) -> bool:
        try:
            self.files.path(digest)
        except FileNotFoundError:
            return False
        return True

    def _fail(self, due: DueRequest, failed: dict[Wanted, int]) -> None:
        if failed:
            reasons = {(one.sop_class_uid, one.sop_instance_uid): reason for one, reason in failed.items()}
            log.warning("commitment_denied", transaction=due.transaction_uid, instances=len(failed))
            self.requests.decide(due, reasons, now=utc_now())

    def _ask(self, due: DueRequest, wanted: Sequence[Wanted], deadline: datetime) -> None:
        """Ask the archive once; its answer may come here or at the door."""
        try:
            self.archive.ask(
                [(one.sop_class_uid, one.sop_instance_uid) for one in wanted],
                begin=lambda: self._begin(due, deadline),
                record=self._record,
            )
        except StoreUnavailable:
            raise
        except LeaseLost:
            return
        except (TransientError, DestinationRefused) as error:
            self._put_off(due, error.reason, no_later_than=deadline)
        except Exception as error:  # noqa: BLE001 - the border: one request nobody foresaw must not stop the others
            self._put_off(due, _unforeseen(due, error), no_later_than=deadline)
        else:
            # let go of what now waits for its answer
            self.requests.renew(due, now=utc_now(), duration=timedelta(0))

    def _begin(self, due: DueRequest, deadline: datetime) -> str:
        """Keep our transaction, before the archive hears of it."""
        transaction_uid, now = generate_uid(prefix=None), utc_now()
        again_at = min(now + timedelta(seconds=self.answer_within_s), deadline)
        retry_at = min(now + self.pause(due.inquiries + 1), deadline)
        self.requests.archive_asked(due, transaction_uid, now=now, again_at=again_at, retry_at=retry_at)
        log.info("archive_asked", transaction=due.transaction_uid, inquiry=transaction_uid)
        return transaction_uid

    def _record(self, report: CommitmentReport) -> bool:
        return record_report(self.store, report, now=utc_now())

    def _report(self, due: DueRequest) -> None:
        try:
            self.reporter.report(due)
        except DestinationRefused as error:
            if error.reason.code == "context_rejected":  # a setting of the peer, which a person may mend
                self._report_later(due, error.reason)
            else:
                self._give_up(due, error.reason)
        except TransientError as error:
            self._report_later(due, error.reason)
        except Exception as error:  # noqa: BLE001 - as above
            self._report_later(due, _unforeseen(due, error))
        else:
            self.requests.reported(due, now=utc_now())
            log.info("commitment_report_taken", transaction=due.transaction_uid, told=due.count())

    def _report_later(self, due: DueRequest, reason: Reason) -> None:
        last = (due.decided_at or due.asked_at) + timedelta(seconds=self.report_within_s)
        if utc_now() >= last:
            self._give_up(due, reason)
        else:
            self._put_off(due, reason, no_later_than=last)

    def _give_up(self, due: DueRequest, reason: Reason) -> None:
        log.error("commitment_report_given_up", transaction=due.transaction_uid, reason=reason.text)
        self.requests.give_up(due, reason, now=utc_now())

    def _put_off(self, due: DueRequest, reason: Reason, *, no_later_than: datetime) -> None:
        log.warning("commitment_request_put_off", transaction=due.transaction_uid, code=reason.code, reason=reason.text)
        next_at = min(utc_now() + self.pause(due.attempt), no_later_than)
        self.requests.put_off(due, reason, next_at=next_at)


def _unforeseen(due: DueRequest, error: Exception) -> Reason:
    found = where(error)
    log.error("unforeseen_error", transaction=due.transaction_uid, **found)
    return Reason(code="internal_error", text=f"unforeseen {found['error']}")
