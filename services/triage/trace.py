"""The place of a piece of work in a trace, as others are told of it (W3C Trace Context, Recommendation 2021)."""

import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)  # section 3.2
_SAMPLED = 0x01


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceContext:
    """trace_id: 32 hex digits, one for each study version. span_id: 16, of this piece. sampled: it is exported."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @classmethod
    def parse(cls, traceparent: str | None) -> "TraceContext | None":
        """None for what is none (section 4.3: it is then ignored)."""
        found = _TRACEPARENT.fullmatch(traceparent or "")
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            return None
        return cls(trace_id=found[1], span_id=found[2], sampled=bool(int(found[3], 16) & _SAMPLED))

    @property
    def traceparent(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionTrace:
    """Traceparents of a study version and of the one before it; None: not told, or there is none."""

    own: str | None = None
    earlier: str | None = None
