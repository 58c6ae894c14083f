"""Blind-first mode in force, from the TOML file that VIGIE_BLIND names; deploy/blind.toml explains every key."""

import tomllib
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.triage.blind import NOT_BLIND, BlindPolicy, BlindRule
from services.triage.errors import BlindRefused
from services.triage.tenant import NO_TENANTS, Tenants

_LONGEST_MIN = 24 * 60


class _Rule(BaseModel):
    """One [[hold]] table."""

    model_config = ConfigDict(extra="forbid", strict=True)

    share: float = Field(ge=0, le=1)  # no default: how many studies it takes is never an oversight
    tenant: str | None = None
    model: str | None = Field(None, min_length=1)
    blind_max_hold_min: float | None = Field(None, gt=0, le=_LONGEST_MIN)
    stat: bool = False


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    key: str = Field(min_length=16)
    blind_max_hold_min: float = Field(30, gt=0, le=_LONGEST_MIN)
    hold: list[_Rule] = Field(min_length=1)


def load_blind(path: Path | None, tenants: Tenants = NO_TENANTS) -> BlindPolicy:
    """The rules of a file; without a file nothing is withheld. tenants: those in force, which a rule may name.

    Raises BlindRefused: unreadable_blind (no such file, not TOML), invalid_blind (the text names file, rule and field).
    """
    if path is None:
        return NOT_BLIND
    try:
        told = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        details = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False))
        raise BlindRefused("invalid_blind", f"{path}: {'; '.join(details)}") from error
    except (OSError, ValueError) as error:  # not TOML, not UTF-8
        raise BlindRefused("unreadable_blind", f"{path}: {error}") from error
    for number, rule in enumerate(told.hold):
        if rule.tenant is not None and tenants.named(rule.tenant) is None:
            there_are = ", ".join(sorted(one.name for one in tenants.tenants)) or "none"
            raise BlindRefused(
                "invalid_blind",
                f"{path}: hold.{number}.tenant: there is no tenant '{rule.tenant}'; there are {there_are}",
            )
    rules = (
        BlindRule(
            share=rule.share,
            tenant=rule.tenant,
            model_name=rule.model,
            max_hold=timedelta(minutes=rule.blind_max_hold_min or told.blind_max_hold_min),
            stat=rule.stat,
        )
        for rule in told.hold
    )
    return BlindPolicy(rules=tuple(rules), key=told.key)
