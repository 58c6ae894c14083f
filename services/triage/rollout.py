"""Which version of a model looks at a study: the active one, or a canary at a share of them; and a shadow beside it."""

import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.triage.errors import RolloutRefused
from services.triage.switch import is_off


class Step(StrEnum):
    """What a person decided."""

    PROMOTE = "promote"
    CANARY = "canary"
    END_CANARY = "end_canary"
    SHADOW = "shadow"
    END_SHADOW = "end_shadow"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, kw_only=True, slots=True)
class Canary:
    """A version that looks at a share of studies, in place of the active one; 0 < share < 1."""

    version: str
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError("the share of a canary lies between 0 and 1, both excluded")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """The parts that the versions of a model have. active: None is the catalogue's standing version.

    shadow: looks at every study too; what it says is kept for comparison, and goes nowhere.
    """

    model_name: str
    active: str | None = None
    canary: Canary | None = None
    shadow: str | None = None

    def needed(self, standing: str) -> frozenset[str]:
        """The versions that have a part. standing: the catalogue's standing version."""
        parts = (self.active or standing, self.canary and self.canary.version, self.shadow)
        return frozenset(version for version in parts if version)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """That a person changed the parts: how, when, who and why. rollout: as it is from then on."""

    step: Step
    rollout: Rollout
    at: datetime
    actor: str
    reason: str


def place_of(model_name: str, study_instance_uid: str) -> float:
    """Where a study stands in [0, 1) for a model: uniform over studies, always the same, another for each model."""
    digest = hmac.digest(model_name.encode(), study_instance_uid.encode(), "sha256")
    return int.from_bytes(digest[:6]) / 2**48  # 48 bits: no rounding of a float reaches 1


def version_for(rollout: Rollout, study_instance_uid: str, *, off: Collection[str] = ()) -> str | None:
    """The version that looks at a study; None: the catalogue's standing one.

    Raising the share only adds studies. off: the versions that are switched off (`triage.switch`). A canary that is
    leaves its studies to the active version; an active one that is stays the answer, and nobody looks in its place.
    """
    canary = rollout.canary
    if canary is None or is_off(canary.version, off):
        return rollout.active
    chosen = place_of(rollout.model_name, study_instance_uid) < canary.share
    return canary.version if chosen else rollout.active


def promoted(rollout: Rollout, version: str, *, standing: str) -> Rollout:
    """With another active version; a canary ends with it. Raises RolloutRefused."""
    _require_other(rollout, version, standing)
    return _active(rollout, version, standing)


def with_canary(rollout: Rollout, canary: Canary, *, standing: str) -> Rollout:
    """With this canary in place of any other. Raises RolloutRefused."""
    _require_other(rollout, canary.version, standing)
    return replace(rollout, canary=canary)


def with_shadow(rollout: Rollout, version: str, *, standing: str) -> Rollout:
    """With this shadow in place of any other. Raises RolloutRefused."""
    _require_other(rollout, version, standing)
    return replace(rollout, shadow=version)


def rolled_back(decisions: Sequence[Decision], *, standing: str) -> Rollout:
    """Without the newest change of who answers: the canary where there is one, else the last promotion.

    decisions: all of the model, oldest first. Raises RolloutRefused: there is no such change.
    """
    rollout = decisions[-1].rollout if decisions else None
    if rollout is not None and rollout.canary is not None:
        return replace(rollout, canary=None)
    actives: list[str | None] = [None]
    for each in decisions:
        if each.step is Step.PROMOTE:
            actives.append(each.rollout.active)
        elif each.step is Step.ROLL_BACK and each.rollout.active != actives[-1]:
            actives.pop()
    if rollout is None or len(actives) == 1:
        raise RolloutRefused("nothing_to_roll_back", "there is no canary, and no version was promoted before this one")
    return _active(rollout, actives[-2], standing)


def _active(rollout: Rollout, version: str | None, standing: str) -> Rollout:
    shadow = None if rollout.shadow == (version or standing) else rollout.shadow
    return Rollout(model_name=rollout.model_name, active=version, shadow=shadow)


def _require_other(rollout: Rollout, version: str, standing: str) -> None:
    if version == (rollout.active or standing):
        raise RolloutRefused("already_active", f"version {version} is the active one already")
