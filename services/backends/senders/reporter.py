"""CommitmentReporter: tells an AE by N-EVENT-REPORT what became of its request (PS3.4 J.3.3)."""

from pynetdicom import build_role
from pynetdicom.presentation import build_context

from services.backends.senders.association import established
from services.backends.senders.link import PLAIN, Link
from services.backends.storage_commitment import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    event_information,
)
from services.triage.commitment import REPORT_REFUSED, DueRequest
from services.triage.errors import DestinationRefused, DestinationUnavailable

# processing failure, resource limitation: it cannot record it now
_PASSING = (0x0110, 0x0213)


class StorageCommitmentReporter:
    """Reports to one AE, `address` being AET@HOST:PORT, on an association of its own.

    We propose ourselves as SCP (PS3.7 D.3.3.4). A peer that accepts the context and says nothing of the role is
    reported to all the same: it knows no other use of the context.
    """

    def __init__(self, address: str, ae_title: str, *, link: Link = PLAIN) -> None:
        self._address = address
        self._ae_title = ae_title
        self._link = link

    def report(self, due: DueRequest) -> None:
        """See CommitmentReporter."""
        information = event_information(due.transaction_uid, due.decided)
        event_type = FAILURES_EXIST if "FailedSOPSequence" in information else ALL_COMMITTED
        contexts, roles = [build_context(STORAGE_COMMITMENT)], [build_role(STORAGE_COMMITMENT, scp_role=True)]
        with established(self._address, self._ae_title, contexts, link=self._link, roles=roles) as association:
            try:
                answer, _ = association.send_n_event_report(
                    information, event_type, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
                )
            except RuntimeError as error:
                raise DestinationUnavailable(f"{self._address} ended the association") from error
        status = answer.get("Status")
        if status is None:
            raise DestinationUnavailable(f"{self._address} did not answer the report")
        if status in _PASSING:
            raise DestinationUnavailable(
                f"{self._address} answered status 0x{status:04X}: it cannot take the report now"
            )
        if status != 0x0000:
            raise DestinationRefused(REPORT_REFUSED, f"{self._address} answered status 0x{status:04X} to the report")
