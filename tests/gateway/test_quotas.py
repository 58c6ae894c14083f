"""Places and rates, as the processes of associations share them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.gateway.quotas import Places, Rates
from services.triage.peer import Peer, Quota

HOLD = """
import sys
from pathlib import Path
from services.gateway.quotas import Places
print(Places(folder=Path(sys.argv[1])).take("CT1", 2), flush=True)
sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_place_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    ours = Places(folder=tmp_path)
    with holder(tmp_path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert ours.take("CT1", 2)
        assert ours.take("CT1", 2), "one process takes one place"
        assert not Places(folder=tmp_path).take("CT2", 0)
        ours.give_back("CT1")
        assert not ours.take("CT1", 1)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert ours.take("CT1", 1)


def peer(**quota: int) -> Peer:
    return Peer(name="CT1", titles=frozenset({"CT1"}), quota=Quota(**quota))


def test_instances_beyond_a_minutes_worth_wait_until_some_of_it_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("services.gateway.quotas.time.monotonic", lambda: now)
    rates, ct = Rates(folder=tmp_path), peer(instances_per_minute=60)
    assert [rates.spend(ct, 1) for _ in range(61)] == [True] * 60 + [False]
    now += 1
    assert [rates.spend(ct, 1) for _ in range(2)] == [True, False]
    now += 3600
    assert [rates.spend(ct, 1) for _ in range(61)].count(True) == 60, "an hour's silence saves up a minute's worth"


def test_an_instance_larger_than_a_minutes_worth_comes_through_and_the_next_ones_make_up_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("services.gateway.quotas.time.monotonic", lambda: now)
    rates, ct = Rates(folder=tmp_path), peer(mb_per_minute=10)
    assert rates.spend(ct, 30_000_000)
    assert not rates.spend(ct, 1)
    now += 119
    assert not rates.spend(ct, 1)
    now += 2
    assert rates.spend(ct, 1)


def test_a_quota_that_is_raised_counts_at_once_and_none_is_no_limit(tmp_path: Path) -> None:
    rates = Rates(folder=tmp_path)
    assert [rates.spend(peer(instances_per_minute=1), 1) for _ in range(2)] == [True, False]
    assert rates.spend(peer(), 1 << 40)
