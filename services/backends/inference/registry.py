"""Brings a bundle into the folder of models, as NAME@VERSION: looked over first, whole or not at all, once."""

import tempfile
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from services.backends.inference.catalogue import Catalogue
from services.backends.inference.registration import Registration, Trust, content_sha256, registration_of
from services.backends.inference.staging import install, staged
from services.backends.inference.survey import Survey, survey


class State(StrEnum):
    """What became of a bundle that was brought."""

    ADDED = "added"
    TRUSTED = "trusted"
    """it was there, and its code is trusted from now on"""
    THERE = "there"
    """the same bytes were there: nothing changed"""
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """place: its folder. refusals: all that is wrong with it, each with what to do."""

    state: State
    place: Path
    survey: Survey
    refusals: tuple[str, ...] = ()


def bring(
    source: Path,
    models: Path,
    *,
    by: str,
    now: datetime,
    name: str | None = None,
    trust: str | None = None,
    dry_run: bool = False,
) -> Brought:
    """Take a bundle from a folder or ZIP. trust: why its code is trusted, None where it is not.

    Doing it again changes nothing. With `dry_run` nothing is changed at all. Raises ModelRefused: no bundle at all.
    """
    if not dry_run:
        return _bring(source, models, models, by=by, now=now, name=name, trust=trust, dry_run=False)
    with tempfile.TemporaryDirectory() as elsewhere:
        return _bring(source, models, Path(elsewhere), by=by, now=now, name=name, trust=trust, dry_run=True)


def _bring(
    source: Path,
    models: Path,
    beside: Path,
    *,
    by: str,
    now: datetime,
    name: str | None,
    trust: str | None,
    dry_run: bool,
) -> Brought:
    with staged(source, beside) as bundle:
        told = survey(bundle, name=name)
        place = models / f"{told.name}@{told.version}"
        refusals = list(told.problems)
        if told.outside and trust is None:
            refusals.extend(f"it would run code: {each}" for each in told.outside)
            refusals.append("take that out, or, if you have read it and answer for it, add --trust --reason '...'")
        there = _there(models, told)
        if there is not None and content_sha256(there) != told.sha256:
            refusals.append(f"{there.name} has this version with other content: give it another version")
        if refusals:
            return Brought(state=State.REFUSED, place=place, survey=told, refusals=tuple(refusals))
        trusted = Trust(by=by, at=now.isoformat(), reason=trust) if trust is not None and told.outside else None
        if there is not None:
            return _again(there, told, trusted, dry_run=dry_run)
        if not dry_run:
            Registration(
                added_at=now.isoformat(),
                added_by=by,
                source=source.resolve().name,
                licence=told.licence,
                sha256=told.sha256,
                trusted=trusted,
            ).write(bundle)
            install(bundle, place)
        return Brought(state=State.ADDED, place=place, survey=told)


def _there(models: Path, told: Survey) -> Path | None:
    """The folder that has this version of this model."""
    found = (each for each in Catalogue(models).folders(told.name) if each.version == told.version)
    return next((each.bundle for each in found), None)


def _again(there: Path, told: Survey, trusted: Trust | None, *, dry_run: bool) -> Brought:
    known = registration_of(there)
    if trusted is None or known is None or (known.trusted and known.sha256 == told.sha256):
        return Brought(state=State.THERE, place=there, survey=told)
    if not dry_run:
        replace(known, sha256=told.sha256, trusted=trusted).write(there)
    return Brought(state=State.TRUSTED, place=there, survey=told)
