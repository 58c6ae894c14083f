"""A signal that comes at the worst moment."""

import signal

import pytest

from services.lifetime import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.timeout(20)
def test_a_signal_while_the_event_is_being_set_or_waited_for_stops_all_the_same(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = stop_on_signals()
        with stop._cond:  # as in the middle of set() or wait()
            signal.raise_signal(number)
        assert stop.wait(10)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
