"""Which version looks at a study, and what a decision makes of the parts that versions have."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.triage.errors import RolloutRefused
from services.triage.rollout import (
    Canary,
    Decision,
    Rollout,
    Step,
    place_of,
    promoted,
    rolled_back,
    version_for,
    with_canary,
    with_shadow,
)
from services.triage.switch import EVERY

STANDING = "1.0"
LUNG = Rollout(model_name="lung")
UIDS = st.from_regex(r"2\.25\.[1-9][0-9]{5,30}", fullmatch=True)


def canary(share: float, *, active: str | None = None) -> Rollout:
    return Rollout(model_name="lung", active=active, canary=Canary(version="2.0", share=share))


def decided(*steps: tuple[Step, Rollout]) -> list[Decision]:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return [Decision(step=step, rollout=rollout, at=now, actor="Dr Lead", reason="why") for step, rollout in steps]


@given(uid=UIDS, share=st.floats(0.01, 0.98), more=st.floats(0, 0.01))
def test_raising_the_share_only_adds_studies(uid: str, share: float, more: float) -> None:
    if version_for(canary(share), uid) == "2.0":
        assert version_for(canary(share + more), uid) == "2.0"


def test_a_canary_has_its_share_of_studies_and_other_ones_for_each_model() -> None:
    uids = [f"1.2.826.0.1.{number}" for number in range(4000)]
    chosen = [uid for uid in uids if version_for(canary(0.1), uid) == "2.0"]
    assert 0.08 < len(chosen) / len(uids) < 0.12
    assert chosen == [uid for uid in uids if version_for(canary(0.1), uid) == "2.0"]
    of_liver = sum(place_of("liver", uid) < 0.1 for uid in chosen)
    assert of_liver < len(chosen) / 4


def test_without_a_decision_the_standing_version_looks() -> None:
    assert version_for(LUNG, "1.2.3") is None


def test_a_canary_that_is_switched_off_leaves_its_studies_to_the_active_version() -> None:
    everything = canary(0.999999, active="1.5")
    assert version_for(everything, "1.2.3") == "2.0"
    assert version_for(everything, "1.2.3", off={"2.0"}) == "1.5"
    assert version_for(everything, "1.2.3", off={EVERY}) == "1.5"
    assert version_for(everything, "1.2.3", off={"1.5"}) == "2.0"


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_canary_has_neither_no_study_nor_all(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        Canary(version="2.0", share=share)


def test_promoting_ends_the_canary_and_a_shadow_of_the_same_version() -> None:
    before = Rollout(model_name="lung", canary=Canary(version="2.0", share=0.1), shadow="3.0")
    assert promoted(before, "2.0", standing=STANDING) == Rollout(model_name="lung", active="2.0", shadow="3.0")
    assert promoted(before, "3.0", standing=STANDING) == Rollout(model_name="lung", active="3.0")


@pytest.mark.parametrize(
    "change",
    [
        lambda: promoted(LUNG, STANDING, standing=STANDING),
        lambda: with_canary(LUNG, Canary(version=STANDING, share=0.1), standing=STANDING),
        lambda: with_shadow(Rollout(model_name="lung", active="2.0"), "2.0", standing=STANDING),
    ],
)
def test_the_active_version_gets_no_other_part(change) -> None:
    with pytest.raises(RolloutRefused, match="already_active"):
        change()


def test_rolling_back_takes_back_one_change_after_the_other() -> None:
    second = Rollout(model_name="lung", active="2.0")
    third = Rollout(model_name="lung", active="3.0")
    trying = with_canary(third, Canary(version="4.0", share=0.1), standing=STANDING)
    history = decided((Step.PROMOTE, second), (Step.PROMOTE, third), (Step.CANARY, trying))
    for expected in (third, second, LUNG):
        back = rolled_back(history, standing=STANDING)
        assert back == expected
        history += decided((Step.ROLL_BACK, back))
    with pytest.raises(RolloutRefused, match="nothing_to_roll_back"):
        rolled_back(history, standing=STANDING)


def test_a_version_that_is_promoted_again_is_rolled_back_again() -> None:
    second = Rollout(model_name="lung", active="2.0")
    history = decided((Step.PROMOTE, second), (Step.ROLL_BACK, LUNG), (Step.PROMOTE, second))
    assert rolled_back(history, standing=STANDING) == LUNG


def test_rolling_back_to_the_shadow_ends_the_shadow() -> None:
    watched = Rollout(model_name="lung", active="2.0", shadow=STANDING)
    history = decided((Step.PROMOTE, watched))
    assert rolled_back(history, standing=STANDING) == LUNG


def test_nothing_is_rolled_back_where_nothing_was_decided() -> None:
    with pytest.raises(RolloutRefused, match="nothing_to_roll_back"):
        rolled_back([], standing=STANDING)
