"""Whether the audit trail is whole: no record changed, taken out, put in, or missing at its end."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from services.backends.store.audit import (
    BEFORE_THE_FIRST,
    SEARCHED,
    Audit,
    AuditQuery,
    chained,
    event_of,
    search_columns,
)
from services.backends.store.audit_pruning import SHORTEST
from services.triage.audit import AuditAnchor, AuditObjectKind, AuditRecord
from services.triage.audit_types import AuditType

_AT_ONCE = 500
_CLOCKS = timedelta(hours=1)
"""Times are those of many machines, and a record's is that from before its transaction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """Where the trail is not what it should be, and how."""

    sequence: int
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """first, last: of the records that were read, 0 where there were none. head: the digest of the last."""

    records: int
    first: int
    last: int
    head: str
    breaks: tuple[Break, ...]


def check(
    trail: Audit,
    *,
    anchors: Sequence[AuditAnchor] = (),
    since: datetime | None = None,
    at_least: int = 0,
    at_most: int = 20,
) -> Checked:
    """Read the whole trail, or from the first record of a time on, whose predecessor is then taken as it stands.

    anchors: as they were kept elsewhere; one that lies before what is read only says whether what was taken away was
    old enough to be. at_least: how far a receiver has it. at_most: breaks that are told. Raises StoreUnavailable.
    """
    gone = trail.pruned()
    start = _start(trail, gone, since)
    breaks = list(_of_prune(trail, gone, anchors)) if gone else []
    before, count = start, 0
    known = {one.sequence: one for one in anchors if one.sequence > start.sequence}
    first = start.sequence + 1
    records = trail.records(after=start.sequence)
    while batch := list(islice(records, _AT_ONCE)):
        searched = trail.searched_by([one.sequence for one in batch])
        for record in batch:
            breaks += _of_record(record, before, searched.get(record.sequence), known.pop(record.sequence, None))
            before = AuditAnchor(sequence=record.sequence, digest=record.digest, at=record.recorded_at)
            count += 1
        if len(breaks) >= at_most:
            break
    else:
        breaks += [
            Break(sequence=one.sequence, what=f"an anchor of {one.at.isoformat()} tells of it, but it is not there")
            for one in known.values()
        ]
        if before.sequence < at_least:
            breaks.append(
                Break(sequence=before.sequence + 1, what=f"missing at the end: {at_least} was sent on before")
            )
    return Checked(
        records=count,
        first=first if count else 0,
        last=before.sequence if count else 0,
        head=before.digest,
        breaks=tuple(breaks[:at_most]),
    )


def read_anchors(lines: Iterable[str]) -> list[AuditAnchor]:
    """Of a file of anchors: a JSON object a line. Raises ValueError (it is none)."""
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            at = datetime.fromisoformat(told["at"]).astimezone(UTC)
            found.append(AuditAnchor(sequence=int(told["sequence"]), digest=str(told["digest"]), at=at))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} is no anchor") from error
    return found


def anchor_line(anchor: AuditAnchor) -> str:
    """An anchor as it stands in a file."""
    return json.dumps({"sequence": anchor.sequence, "digest": anchor.digest, "at": anchor.at.isoformat()}) + "\n"


def _start(trail: Audit, gone: AuditAnchor | None, since: datetime | None) -> AuditAnchor:
    """The record before the first that is read."""
    start = gone or AuditAnchor(sequence=0, digest=BEFORE_THE_FIRST, at=datetime.min.replace(tzinfo=UTC))
    if since is None:
        return start
    previous = trail.last_before(since)
    if previous is None or previous.sequence <= start.sequence:
        return start
    return AuditAnchor(sequence=previous.sequence, digest=previous.digest, at=previous.recorded_at)


def _of_prune(trail: Audit, gone: AuditAnchor, anchors: Sequence[AuditAnchor]) -> Iterator[Break]:
    """Triggers let go what a row of audit_pruned covers: a prune leaves more than that row, and takes nothing young."""
    later = trail.found(AuditQuery(type=AuditType.TRAIL_PRUNED), after=gone.sequence)
    told = next((record for record in later if _tells_of(record, gone)), None)
    if told is None:
        yield Break(
            sequence=gone.sequence,
            what="audit_pruned says that it and all before were taken away, but no later trail_pruned has its digest: "
            "it was not `vigie audit prune`; look for them in a backup, an export or at the syslog server",
        )
    for one in anchors:
        if one.sequence == gone.sequence and one.digest != gone.digest:
            yield Break(sequence=one.sequence, what=f"taken away, and {_another_digest(one)}")
    # whoever forges the record may date it ahead, but not the anchors that came after it
    known = [one.at for one in anchors if told is not None and one.sequence >= told.sequence]
    taken_at = min([told.recorded_at if told else gone.at, *known])
    # what follows an anchor is younger than it; the record of the anchor itself may be much older
    young = [one for one in anchors if one.sequence < gone.sequence and taken_at - one.at < SHORTEST - _CLOCKS]
    if young:
        first = min(young, key=lambda one: one.sequence)
        yield Break(
            sequence=first.sequence + 1,
            what=f"taken away within {SHORTEST.days} days, for it came after the anchor of {first.at.isoformat()}: "
            "look for it in a backup, an export or at the syslog server",
        )


def _tells_of(record: AuditRecord, gone: AuditAnchor) -> bool:
    try:
        event = event_of(record.document)
    except ValueError:
        return False
    return event.type == AuditType.TRAIL_PRUNED and any(
        (one.kind, one.object_id, one.details.get("digest"))
        == (AuditObjectKind.RECORD, str(gone.sequence), gone.digest)
        for one in event.objects
    )


def _another_digest(anchor: AuditAnchor) -> str:
    return f"an anchor of {anchor.at.isoformat()} has another digest of it"


def _of_record(
    record: AuditRecord, before: AuditAnchor, searched: tuple[str | None, ...] | None, anchor: AuditAnchor | None
) -> Iterator[Break]:
    number = record.sequence
    if number != before.sequence + 1:
        missing = f"{before.sequence + 1} to {number - 1}" if number > before.sequence + 2 else f"{number - 1}"
        yield Break(sequence=before.sequence + 1, what=f"missing: {missing}")
    elif record.digest != chained(before.digest, record.document):
        yield Break(sequence=number, what="its digest is not that of the record before and of its text")
    if anchor is not None and anchor.digest != record.digest:
        yield Break(sequence=number, what=_another_digest(anchor))
    yield from _of_text(record, searched)


def _of_text(record: AuditRecord, searched: tuple[str | None, ...] | None) -> Iterator[Break]:
    """What stands beside the text must say the same: records are shown and found by it."""
    try:
        told = json.loads(record.document)
        columns = search_columns(record.document)
        is_its_own = told["sequence"] == record.sequence
        is_of_its_time = datetime.fromisoformat(told["recorded_at"]) == record.recorded_at
    except (ValueError, KeyError, TypeError):
        yield Break(sequence=record.sequence, what="its text is no event")
        return
    if not is_its_own:
        yield Break(sequence=record.sequence, what="its text is that of another record")
    if not is_of_its_time:
        yield Break(sequence=record.sequence, what="its time is another than in its text")
    if searched is None or searched == columns:
        return
    if not any(searched):
        # nothing wrote into the trail before revision 0022, which brought these columns
        yield Break(
            sequence=record.sequence,
            what="no search finds it, nor does a restore if it tells of an erasure: its search columns were emptied; "
            f"let the table's owner fill them from its text (`vigie audit show {record.sequence}`, docs/audit.md)",
        )
        return
    wrong = [name for name, one, other in zip(SEARCHED, searched, columns, strict=True) if one != other]
    yield Break(sequence=record.sequence, what=f"it is found by another {', '.join(wrong)} than its text tells")
