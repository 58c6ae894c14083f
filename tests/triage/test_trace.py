"""W3C trace contexts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.triage.trace import TraceContext

HEX = st.sampled_from("0123456789abcdef")
TRACED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def some_id(length: int) -> st.SearchStrategy[str]:
    return st.text(HEX, min_size=length, max_size=length).filter(lambda text: int(text, 16) > 0)


@given(some_id(32), some_id(16), st.booleans())
def test_what_is_written_is_read_again(trace_id: str, span_id: str, sampled: bool) -> None:
    context = TraceContext(trace_id=trace_id, span_id=span_id, sampled=sampled)
    assert TraceContext.parse(context.traceparent) == context


@pytest.mark.parametrize(
    "told",
    [
        None,
        "",
        "Wörlitzsch^Anne",
        TRACED.upper(),
        TRACED[:-1],
        TRACED + "-00",
        "ff" + TRACED[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
    ],
)
def test_what_is_no_trace_context_is_ignored(told: str | None) -> None:
    assert TraceContext.parse(told) is None


def test_only_the_sampled_flag_counts() -> None:
    told = TraceContext.parse(TRACED[:-2] + "03")
    assert told is not None
    assert told.sampled
    assert told.traceparent == TRACED
