"""Switching a model off, at a site or at all, and on again; and taking back what it said in a period."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.triage.errors import Reason

EVERY = "*"
"""Every version of a model, or every tenant; no version and no tenant has this name."""

MODEL_SWITCHED_OFF = Reason(
    code="model_switched_off",
    text="the model is switched off here: nobody but a person looks at this study",
)
"""Why a study that a rule claims was not analysed, and why a result is kept and not sent."""


class Kept(StrEnum):
    """What becomes of the results that were kept back, once their model is switched on again."""

    SEND = "send"
    RECALL = "recall"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelScope:
    """A model, or one version of it, at one tenant or at all of them."""

    model_name: str
    version: str = EVERY
    tenant: str = EVERY

    def holds(self, model_name: str, version: str, tenant: str) -> bool:
        """Whether a result of this version of a model, of a study of this tenant, is in it."""
        of_tenant = self.tenant in (EVERY, tenant)
        return self.model_name == model_name and self.version in (EVERY, version) and of_tenant


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """That a person switched a model off or on: when, who and why. kept: what they chose on switching on."""

    scope: ModelScope
    on: bool
    at: datetime
    actor: str
    reason: str
    kept: Kept | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """Results frozen from the one moment (None: ever) until before the other.

    kept: also those frozen earlier of which something still waits to be sent.
    """

    until: datetime
    since: datetime | None = None
    kept: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Campaign:
    """The recall of all results of a period in which the model looked. recalled, left: how far it is.

    trouble: what the last try to go on met, '' when nothing.
    """

    campaign_id: str
    scope: ModelScope
    period: Period
    actor: str
    reason: str
    asked_at: datetime
    finished_at: datetime | None = None
    recalled: int = 0
    left: int = 0
    trouble: str = ""


def is_off(version: str, off: Collection[str]) -> bool:
    """Whether a version of a model is switched off, of which these are: versions, or EVERY."""
    return EVERY in off or version in off
