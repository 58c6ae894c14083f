"""A signal that comes at the worst moment."""

import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services import lifetime
from services.gateway.asking import run_asking
from services.gateway.dispatcher import run_dispatcher
from services.gateway.observatory.observing import run_observing
from services.gateway.retention import run_retention
from services.keeping import keeping
from services.lifetime import beside, stop_on_signals
from services.settings import Settings
from services.triage.tenant import Tenant, Tenants


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


class Begun(Exception):
    """From here on a signal sets an event that somebody must look at."""


@pytest.mark.parametrize(
    ("part", "waits_for"),
    [
        (run_asking, ["database"]),
        (run_dispatcher, ["database", "queue", "database"]),
        (run_observing, ["database"]),
        (run_retention, ["database"]),
    ],
)
def test_a_part_that_still_waits_for_its_servers_ends_at_once_on_a_signal(
    part: Callable[[Settings], None], waits_for: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []

    def wait_for(what: str, opened: Callable[[], object]) -> object:
        waited.append(what)
        return opened()

    def begins() -> None:
        raise Begun

    module = sys.modules[part.__module__]
    monkeypatch.setattr(module, "wait_for", wait_for)
    monkeypatch.setattr(module, "stop_on_signals", begins)
    # who has what came before there were tenants is waited for, too
    heirs = Tenants(tenants=(Tenant(name="north"),), earlier="north")
    monkeypatch.setattr(module, "tenants_in_force", lambda _settings: heirs, raising=False)
    with pytest.raises(Begun):
        part(Settings(data=tmp_path))
    assert waited == waits_for


class Broke(RuntimeError):
    """Nobody foresaw it."""


def breaks() -> None:
    raise Broke


@pytest.mark.timeout(20)
def test_a_thread_that_breaks_ends_what_it_stands_beside_once_the_others_have_done_what_is_in_hand() -> None:
    stop, done = threading.Event(), []

    def works() -> None:
        stop.wait()
        time.sleep(0.1)
        done.append("in hand")

    with pytest.raises(Broke), beside(works, breaks, stop=stop):
        stop.wait()
    assert done == ["in hand"]


@pytest.mark.timeout(20)
def test_a_thread_that_hangs_does_not_keep_a_process_whose_other_thread_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetime, "_PATIENCE_S", 0.1)
    stop, never = threading.Event(), threading.Event()
    with pytest.raises(Broke), beside(never.wait, breaks, stop=stop):
        stop.wait()
    never.set()


@pytest.mark.timeout(20)
def test_what_the_block_raises_stops_the_threads_beside_it() -> None:
    stop = threading.Event()
    with pytest.raises(Broke), beside(stop.wait, stop=stop):
        breaks()
    assert stop.is_set()


@pytest.mark.timeout(20)
def test_a_claim_whose_renewal_broke_is_not_kept_in_silence() -> None:
    renewed = threading.Event()

    def renew() -> None:
        renewed.set()
        raise Broke

    with pytest.raises(Broke), keeping(renew, claim_s=0.03, what="a study"):
        assert renewed.wait(10)
