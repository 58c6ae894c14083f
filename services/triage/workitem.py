"""A workitem: the task to review a result, as a Unified Procedure Step (PS3.4 annex CC)."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from services.triage.errors import WorkitemRefused
from services.triage.finding import Outcome


class ProcedureStepState(StrEnum):
    """(0074,1000), the one axis of a workitem (PS3.4 table CC.1.1-1)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        """Whether nothing changes any more."""
        return self in (ProcedureStepState.COMPLETED, ProcedureStepState.CANCELED)


def asks_for_review(outcome: Outcome) -> bool:
    """Whether a result of this outcome is a task of its own: all but nothing found, whose study is read in its turn."""
    return outcome is not Outcome.NOTHING_FOUND


def next_state(
    current: ProcedureStepState, wanted: ProcedureStepState, *, given: str, held: str | None
) -> ProcedureStepState:
    """The state after a request to change it; `current` where it was final already, as wanted (PS3.4 table CC.1.1-2).

    given: the Transaction UID of the request, '' without one. held: that of the claim, None before there is one.
    Raises WorkitemRefused.
    """
    if wanted is ProcedureStepState.SCHEDULED:
        raise WorkitemRefused("may_not_be_scheduled", "a workitem becomes SCHEDULED only by being created (C303)")
    if not given:
        raise WorkitemRefused("transaction_uid_missing", "the request has no Transaction UID (0008,1195) (C301)")
    if wanted is ProcedureStepState.IN_PROGRESS:
        if current is ProcedureStepState.IN_PROGRESS:
            raise WorkitemRefused("already_in_progress", "the workitem is IN PROGRESS: somebody claimed it (C302)")
        if current.is_final:
            raise _no_longer(current)
        return wanted
    if current is ProcedureStepState.SCHEDULED:
        raise WorkitemRefused("not_in_progress", "the workitem is not IN PROGRESS: claim it first (C310)")
    # what was canceled before anybody claimed it has no owner
    if held is not None:
        require_owner(given, held)
    if current.is_final and current is not wanted:
        raise _no_longer(current)
    return wanted


def require_owner(given: str, held: str | None) -> None:
    """Raises WorkitemRefused where the Transaction UID is not that of the claim."""
    if not given:
        raise WorkitemRefused("transaction_uid_missing", "the request has no Transaction UID (0008,1195) (C301)")
    if given != held:
        raise WorkitemRefused("transaction_uid_incorrect", "the Transaction UID is not that of the claim (C301)")


def require_open(current: ProcedureStepState) -> None:
    """Raises WorkitemRefused where the state is final."""
    if current.is_final:
        raise _no_longer(current)


def _no_longer(current: ProcedureStepState) -> WorkitemRefused:
    return WorkitemRefused("no_longer_updated", f"the workitem is {current}: it may no longer be updated (C300)")


PERFORMED = "00741216"
"""Unified Procedure Step Performed Procedure Sequence."""

PROGRESS = "00741002"
"""Procedure Step Progress Information Sequence."""

# PS3.4 CC.2.5.1.1 and table CC.2.5-3: final states P and X of what a performer sets; all else is there from the
# beginning. (0040,4052) is set where it is missing, (0040,4033) may be without items.
_REQUIRED: dict[ProcedureStepState, tuple[str, tuple[str, ...]]] = {
    ProcedureStepState.COMPLETED: (PERFORMED, ("00404028", "00404050", "00404019", "00404051")),
    ProcedureStepState.CANCELED: (PROGRESS, ("0074100E",)),
}
_MAY_BE_EMPTY: dict[ProcedureStepState, tuple[str, ...]] = {ProcedureStepState.COMPLETED: ("00404033",)}


def require_final_state(wanted: ProcedureStepState, told: Mapping[str, Any]) -> None:
    """Whether what was told of a workitem (DICOM JSON Model) is enough for a final state.

    Raises WorkitemRefused, which names the attributes that are missing.
    """
    if missing := list(_missing(wanted, told)):
        named = ", ".join(f"({tag[:4]},{tag[4:]})" for tag in missing)
        raise WorkitemRefused("final_state_requirements", f"before {wanted} it must be given a value: {named} (C304)")


def _missing(wanted: ProcedureStepState, told: Mapping[str, Any]) -> Iterator[str]:
    sequence, required = _REQUIRED.get(wanted, ("", ()))
    if not sequence:
        return
    items: Sequence[Mapping[str, Any]] = told.get(sequence, {}).get("Value", [])
    if not items:
        yield sequence
        return
    item = items[0]
    yield from (tag for tag in required if not item.get(tag, {}).get("Value"))
    yield from (tag for tag in _MAY_BE_EMPTY.get(wanted, ()) if tag not in item)
