"""Blind-first mode: of which studies the reader's own assessment comes before the AI's result is shown."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.triage.finding import Outcome
from services.triage.job import OrderPriority
from services.triage.tenant import NO_TENANT

MAX_HOLD = timedelta(minutes=30)
"""How long a result is withheld at most, unless a rule says otherwise."""

_PERSON = b"vigie-blind"  # sets this choice apart from any other that is made of the same UIDs with the same key


class HoldEnd(StrEnum):
    """What ended a hold: a reader's own assessment, its time, or that blind-first mode is off."""

    READ = "read"
    EXPIRED = "expired"
    SWITCHED_OFF = "switched_off"


@dataclass(frozen=True, kw_only=True, slots=True)
class BlindRule:
    """Which results are withheld: of a tenant, of a model, of a share of studies. None: any.

    share: 0 to 1. stat: STAT orders too.
    """

    share: float
    tenant: str | None = None
    model_name: str | None = None
    max_hold: timedelta = MAX_HOLD
    stat: bool = False

    def is_about(self, *, tenant: str, model_name: str) -> bool:
        """Whether the rule speaks of such a result."""
        return self.tenant in (None, tenant) and self.model_name in (None, model_name)


@dataclass(frozen=True, kw_only=True, slots=True)
class BlindPolicy:
    """The rules in force, the first that is about a result decides; none: nothing is withheld.

    key: of the choice; with another one, other studies are chosen.
    """

    rules: tuple[BlindRule, ...] = ()
    key: str = ""

    def __bool__(self) -> bool:
        return bool(self.rules)

    def hold_for(
        self,
        study_instance_uid: str,
        *,
        tenant: str = NO_TENANT,
        model_name: str,
        priority: OrderPriority,
        outcome: Outcome,
    ) -> timedelta | None:
        """How long a result is withheld at most; None: it is not. What was not analysed is told at once."""
        rule = next((one for one in self.rules if one.is_about(tenant=tenant, model_name=model_name)), None)
        if rule is None or not outcome.analysed or (priority is OrderPriority.STAT and not rule.stat):
            return None
        return rule.max_hold if place(study_instance_uid, self.key) < rule.share else None


NOT_BLIND = BlindPolicy()


def place(study_instance_uid: str, key: str) -> float:
    """Where a study lies in [0, 1): the same for the same key, and evenly over studies (keyed BLAKE2b, RFC 7693).

    A study that a smaller share takes is taken by every larger one, too.
    """
    secret = hashlib.blake2b(key.encode(), digest_size=32).digest()
    digest = hashlib.blake2b(study_instance_uid.encode(), key=secret, person=_PERSON, digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """A result that was withheld. ended_at: when a reader or a person ended it; at `until` it ends by itself.

    ended_by: the reader's name; '' where nobody did.
    """

    result_id: str
    study_instance_uid: str
    since: datetime
    until: datetime
    ended_at: datetime | None = None
    end: HoldEnd | None = None
    ended_by: str = ""

    def is_running(self, now: datetime) -> bool:
        """Whether nothing of the result may be seen."""
        return self.ended_at is None and now < self.until


def running(holds: Sequence[Hold], now: datetime) -> dict[str, Hold]:
    """Those that withhold now, by result."""
    return {one.result_id: one for one in holds if one.is_running(now)}
