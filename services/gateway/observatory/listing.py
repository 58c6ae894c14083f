"""The studies behind a figure."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice

from services.observatory.agreement import Measure, shares
from services.observatory.history import Attribute, history_of
from services.observatory.record import Record

_BATCH = 1000


class Part(StrEnum):
    """Which of a share's studies: those that count, those that do not, or both."""

    COUNT = "count"
    REST = "rest"
    AMONG = "among"


def behind(
    records: Iterable[Record], measure: Measure, part: Part, *, attribute: Attribute | None = None, label: str = ""
) -> Iterator[Record]:
    """Those records that a figure was counted from, of one group or of all. Raises KeyError: it is no share."""
    left = iter(records)
    while batch := list(islice(left, _BATCH)):
        history = history_of(batch)
        events, among = shares(history)[measure]
        chosen = {Part.COUNT: events & among, Part.REST: ~events & among, Part.AMONG: among}[part]
        if attribute is not None:
            chosen = chosen & history.in_group(attribute, label)
        yield from (one for one, wanted in zip(batch, chosen, strict=True) if wanted)
