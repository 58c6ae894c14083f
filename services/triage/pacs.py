"""What a PACS says that it has, held against what is here. Numbers only: neither knows the other's instances."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from services.triage.routing import Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyAtPacs:
    """A study, as an answer of STUDY level tells it. instances: None where the PACS does not count them."""

    study_instance_uid: str
    modalities: tuple[str, ...] = ()
    instances: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesAtPacs:
    """A series, as an answer of SERIES level tells it; its instances, where it does not count them, were counted."""

    series_instance_uid: str
    modality: str
    instances: int


def missing_here(there: Iterable[SeriesAtPacs], here: Mapping[str, int], modalities: Collection[str]) -> dict[str, int]:
    """Series Instance UID -> how many instances the PACS has of it that are not here, where there are any.

    Only series of these modalities count, and those whose modality is not told: a PACS has reports, key objects,
    presentation states and our own results besides, which need never come here. here: instances by series.
    """
    counted = {
        one.series_instance_uid: one.instances - here.get(one.series_instance_uid, 0)
        for one in there
        if not one.modality or one.modality in modalities
    }
    return {uid: count for uid, count in counted.items() if count > 0}


def claimable(rules: Iterable[Rule]) -> frozenset[str]:
    """The modalities of which some rule claims studies."""
    return frozenset(modality for rule in rules for modality in rule.modalities)
