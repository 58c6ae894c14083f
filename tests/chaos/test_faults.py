"""The faults of a campaign: the same for the same seed, none left out, none that undo each other."""

import random
from collections import Counter
from itertools import islice
from types import SimpleNamespace

from chaos.faults import EVERYTHING, Fault, Kind, deal

MEMBERS = ("rabbitmq", "postgresql", "triton", "pacs", "door", "dispatcher", "desk", "worker-1", "worker-2", "deliver")
THE_SET = SimpleNamespace(members=dict.fromkeys(MEMBERS), ports={"door": 1, "rabbitmq": 2})


def faults(rounds: int, seed: int) -> list[list[Fault]]:
    return list(islice(deal(THE_SET, random.Random(seed)), rounds))


def test_the_same_seed_deals_the_same_faults() -> None:
    assert faults(50, seed=1) == faults(50, seed=1)
    assert faults(50, seed=1) != faults(50, seed=2)


def test_a_hundred_rounds_kill_and_pause_every_member_several_times() -> None:
    dealt = Counter((fault.kind, fault.target) for some in faults(100, seed=1) for fault in some)
    for member in MEMBERS:
        assert dealt[Kind.KILL, member] >= 3
        assert dealt[Kind.PAUSE, member] >= 3
    assert dealt[Kind.KILL, EVERYTHING] >= 3


def test_no_target_has_two_faults_in_a_round_and_a_kill_of_everything_comes_alone() -> None:
    for some in faults(500, seed=1):
        targets = [fault.target for fault in some]
        assert targets
        assert len(set(targets)) == len(targets)
        assert EVERYTHING not in targets or len(targets) == 1
