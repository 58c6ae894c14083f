"""CommitmentUser: asks a PACS by N-ACTION whether it keeps what it took (PS3.4 J.3.2)."""

import threading
import time
from collections.abc import Callable, Sequence

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import N_EVENT_REPORT_RQ
from pynetdicom.presentation import build_context

from services.backends.senders.association import established
from services.backends.senders.link import PLAIN, Link
from services.backends.storage_commitment import (
    REQUEST,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    action_information,
    answer_report,
)
from services.triage.commitment import REFUSED, CommitmentReport
from services.triage.errors import DestinationRefused, DestinationUnavailable

_RELEASE_S = 2.0
_LOOK_UP_S = 0.05  # an answer, or the end of the association, is noticed so late


class StorageCommitmentUser:
    """Asks one peer, `address` being AET@HOST:PORT, and then listens on the same association for `wait_s`.

    Most archives answer later, on an association of their own: `services.gateway.door` takes those.
    """

    def __init__(self, address: str, ae_title: str, *, wait_s: float, link: Link = PLAIN) -> None:
        self._address = address
        self._ae_title = ae_title
        self._wait_s = wait_s
        self._link = link

    def ask(
        self,
        objects: Sequence[tuple[str, str]],
        *,
        begin: Callable[[], str],
        record: Callable[[CommitmentReport], bool],
    ) -> None:
        """See CommitmentUser."""
        heard: set[str] = set()
        arrived: list[evt.Event] = []
        serving: list[threading.Thread] = []

        def hear(report: CommitmentReport) -> bool:
            known = record(report)
            heard.add(report.transaction_uid)
            return known

        def arrive(event: evt.Event) -> None:
            if isinstance(event.message, N_EVENT_REPORT_RQ):
                arrived.append(event)

        def serve(event: evt.Event) -> tuple[int | Dataset, None]:
            serving.append(threading.current_thread())
            return answer_report(event, hear)

        contexts = [build_context(STORAGE_COMMITMENT)]
        handlers = [(evt.EVT_DIMSE_RECV, arrive), (evt.EVT_N_EVENT_REPORT, serve)]
        with established(self._address, self._ae_title, contexts, link=self._link, handlers=handlers) as association:
            transaction_uid = begin()
            self._request(association, transaction_uid, objects)
            deadline = time.monotonic() + self._wait_s
            while transaction_uid not in heard and association.is_established and time.monotonic() < deadline:
                time.sleep(_LOOK_UP_S)
            # pynetdicom serves each report in a thread of its own: the release must not overtake the answer
            deadline = time.monotonic() + _LOOK_UP_S
            while len(serving) < len(arrived) and time.monotonic() < deadline:
                time.sleep(_LOOK_UP_S / 10)
            for thread in serving:
                thread.join()
            # a report that crosses the release can be answered no more, and some archives wait for that before they
            # release: they are left to report again
            association.acse_timeout = _RELEASE_S

    def _request(self, association: Association, transaction_uid: str, objects: Sequence[tuple[str, str]]) -> None:
        try:
            answer, _ = association.send_n_action(
                action_information(transaction_uid, objects),
                REQUEST,
                STORAGE_COMMITMENT,
                WELL_KNOWN_INSTANCE,
            )
        except RuntimeError as error:
            raise DestinationUnavailable(f"{self._address} ended the association") from error
        status = answer.get("Status")
        if status is None:
            raise DestinationUnavailable(f"{self._address} did not answer the request for storage commitment")
        if status != 0x0000:
            text = f"{self._address} answered status 0x{status:04X} to the request for storage commitment"
            raise DestinationRefused(REFUSED, text)
