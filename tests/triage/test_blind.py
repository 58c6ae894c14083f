"""Which studies are read blind: the same for the same key, evenly, and never what was not analysed."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.triage.blind import NOT_BLIND, BlindPolicy, BlindRule, place
from services.triage.finding import Outcome
from services.triage.job import OrderPriority

UIDS = [f"1.2.840.{number}" for number in range(4000)]


def hold(policy: BlindPolicy, uid: str = "1.2.3", **told: object) -> timedelta | None:
    about = {"model_name": "lung", "priority": OrderPriority.ROUTINE, "outcome": Outcome.FOUND} | told
    return policy.hold_for(uid, **about)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_a_share_of_the_studies_is_taken(share: float) -> None:
    taken = sum(place(uid, "some key") < share for uid in UIDS)
    assert taken / len(UIDS) == pytest.approx(share, abs=4 * (share * (1 - share) / len(UIDS)) ** 0.5)


def test_the_choice_is_the_keys_and_a_larger_share_takes_what_a_smaller_does() -> None:
    one, other = ([place(uid, key) for uid in UIDS] for key in ("one key", "another key"))
    assert [place(uid, "one key") for uid in UIDS] == one
    both = sum(a < 0.3 and b < 0.3 for a, b in zip(one, other, strict=True))
    assert both / len(UIDS) == pytest.approx(0.09, abs=0.02)
    small = BlindPolicy(rules=(BlindRule(share=0.1),), key="one key")
    large = BlindPolicy(rules=(BlindRule(share=0.5),), key="one key")
    assert all(hold(large, uid) for uid in UIDS if hold(small, uid))


@given(st.text(max_size=64), st.text(max_size=200))
def test_every_study_has_a_place(uid: str, key: str) -> None:
    assert 0 <= place(uid, key) < 1


def test_the_first_rule_that_is_about_a_result_decides() -> None:
    policy = BlindPolicy(
        rules=(
            BlindRule(share=0, tenant="south"),
            BlindRule(share=1, model_name="brain", max_hold=timedelta(minutes=5), stat=True),
            BlindRule(share=1, tenant="north"),
        ),
        key="k",
    )
    assert hold(policy) is None
    assert hold(policy, tenant="north") == timedelta(minutes=30)
    assert hold(policy, tenant="south", model_name="brain") is None
    assert hold(policy, model_name="brain", priority=OrderPriority.STAT) == timedelta(minutes=5)
    assert hold(policy, tenant="north", priority=OrderPriority.STAT) is None
    assert hold(NOT_BLIND, tenant="north") is None


@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_was_not_analysed_is_said_at_once(outcome: Outcome) -> None:
    assert bool(hold(BlindPolicy(rules=(BlindRule(share=1),), key="k"), outcome=outcome)) == outcome.analysed
