"""A modality that asks for storage commitment, and takes the reports on a port of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt

from services.backends.senders.association import leave_answers_to_us
from services.backends.storage_commitment import (
    REQUEST,
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    action_information,
)
from tests.support.peers import free_port, wait_until

Objects = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Report:
    """An N-EVENT-REPORT: its event type, the SOP Instance UIDs committed, and failed with their Failure Reason."""

    transaction_uid: str
    event_type: int
    committed: tuple[str, ...]
    failed: dict[str, int]


@dataclass
class Modality:
    """Calls itself `ae_title`; `reports`: what it was told, in order."""

    ae_title: str
    port: int
    reports: list[Report] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.ae_title}@127.0.0.1:{self.port}"

    def ask(self, port: int, transaction_uid: str, objects: Objects, **changes: Any) -> int | None:
        """Ask the AE on a port; answers its status, None when it has no such service. See `request_commitment`."""
        return request_commitment(port, action_information(transaction_uid, objects), ae_title=self.ae_title, **changes)

    def report_of(self, transaction_uid: str) -> Report:
        """The first report of a transaction, waited for."""
        wait_until(lambda: any(one.transaction_uid == transaction_uid for one in self.reports), what="a report")
        return next(one for one in self.reports if one.transaction_uid == transaction_uid)


@contextmanager
def modality(
    *, ae_title: str = "CT1", port: int | None = None, answers: Callable[[int], int] = lambda _number: 0x0000
) -> Iterator[Modality]:
    """Run it until the end of the block. answers: its status to the nth report (from 1)."""
    seen = Modality(ae_title=ae_title, port=port or free_port())

    def hear(event: evt.Event) -> tuple[int, None]:
        information = event.event_information
        assert event.request.AffectedSOPInstanceUID == WELL_KNOWN_INSTANCE
        seen.reports.append(
            Report(
                transaction_uid=str(information.TransactionUID),
                event_type=event.event_type,
                committed=tuple(
                    str(one.ReferencedSOPInstanceUID) for one in information.get("ReferencedSOPSequence", [])
                ),
                failed={
                    str(one.ReferencedSOPInstanceUID): int(one.FailureReason)
                    for one in information.get("FailedSOPSequence", [])
                },
            )
        )
        return answers(len(seen.reports)), None

    ae = AE(ae_title=ae_title)
    ae.require_called_aet = True
    # only as an SCU that takes reports: who does not propose itself as SCP is not taken
    ae.add_supported_context(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
    server = ae.start_server(("127.0.0.1", seen.port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)])
    try:
        yield seen
    finally:
        server.shutdown()


def request_commitment(
    port: int,
    information: Dataset,
    *,
    ae_title: str = "CT1",
    called: str = "VIGIE",
    action_type: int = REQUEST,
    instance: str = WELL_KNOWN_INSTANCE,
    scu_role: bool | None = None,
) -> int | None:
    """N-ACTION on an association of its own; answers the status, None when the context is rejected.

    scu_role: proposes the role SCU explicitly; by default no role is proposed, as most modalities do.
    """
    ae = AE(ae_title=ae_title)
    roles: list[Any] = [] if scu_role is None else [build_role(STORAGE_COMMITMENT, scu_role=scu_role)]
    association = ae.associate(
        "127.0.0.1", port, contexts=[build_context(STORAGE_COMMITMENT)], ae_title=called, ext_neg=roles
    )
    if not association.is_established:
        return None
    leave_answers_to_us(association)
    try:
        answer, _ = association.send_n_action(information, action_type, STORAGE_COMMITMENT, instance)
        return answer.get("Status")
    finally:
        association.release()
