"""The figures of each group of studies, and whether any group differs from all the others."""

from dataclasses import dataclass, replace

import numpy as np
import scipy  # its `stats` takes a second to load: it does so when it is first asked for something

from services.observatory.agreement import Measure, measures, shares
from services.observatory.estimate import Estimate, share
from services.observatory.history import Attribute, Bools, History
from services.observatory.holm import holm

SERVED = tuple(attribute for attribute in Attribute if attribute is not Attribute.HELD)
"""Groups of patients and images. What is withheld is chosen among the analysed studies, and is no such group."""

COMPARED = (Measure.ANALYSED, Measure.PPV, Measure.SENSITIVITY, Measure.SPECIFICITY, Measure.SENSITIVITY_BLIND)
"""What the AI owes to every group alike. How much is found is not among them: diseases differ between groups."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """One group. label: '' where the attribute is not told."""

    attribute: Attribute
    label: str
    measures: dict[Measure, Estimate]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grouping:
    """The groups by one attribute, the largest first. small: how many groups are too small to be told of."""

    attribute: Attribute
    groups: tuple[Group, ...] = ()
    small: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Disparity:
    """A group against all other studies: Fisher's exact test; p_adjusted: by Holm over all groups and measures."""

    attribute: Attribute
    label: str
    measure: Measure
    group: Estimate
    others: Estimate
    p: float
    p_adjusted: float = 1.0
    alarm: bool = False


def grouping(history: History, attribute: Attribute, minimum: int) -> Grouping:
    """Groups by one attribute; none where all studies are of one."""
    sizes = {label: int(history.in_group(attribute, label).sum()) for label in history.labels[attribute]}
    sizes = {label: size for label, size in sizes.items() if size}
    told = sorted((label for label, size in sizes.items() if size >= minimum), key=lambda label: (-sizes[label], label))
    return Grouping(
        attribute=attribute,
        groups=tuple(
            Group(
                attribute=attribute,
                label=label,
                measures=measures(history.where(history.in_group(attribute, label)), minimum),
            )
            for label in told
        ),
        small=len(sizes) - len(told),
    )


def disparities(history: History, minimum: int, alpha: float) -> tuple[Disparity, ...]:
    """Every comparison that could be made, the least likely first; alarm: not by chance, at this family-wise rate.

    Two groups of an attribute are one comparison, not two.
    """
    found = []
    compared = {measure: pair for measure, pair in shares(history).items() if measure in COMPARED}
    for attribute in SERVED:
        labels = [label for label in history.labels[attribute] if history.in_group(attribute, label).any()]
        told = sorted(label for label in labels if label)
        for label in told[:1] if len(labels) == 2 and len(told) == 2 else told:
            inside = history.in_group(attribute, label)
            for measure, pair in compared.items():
                one = _compare(attribute, label, measure, pair, inside, minimum)
                if one is not None:
                    found.append(one)
    adjusted = holm([one.p for one in found])
    told_all = [replace(one, p_adjusted=p, alarm=p <= alpha) for one, p in zip(found, adjusted, strict=True)]
    return tuple(sorted(told_all, key=lambda one: (one.p_adjusted, one.p)))


def _compare(
    attribute: Attribute, label: str, measure: Measure, pair: tuple[Bools, Bools], inside: Bools, minimum: int
) -> Disparity | None:
    """None: one side is too small."""
    events, among = pair
    sides = [
        share(int((events & among & side).sum()), int((among & side).sum()), minimum) for side in (inside, ~inside)
    ]
    if any(one.n is None for one in sides):
        return None
    table = np.array([[one.count or 0, (one.n or 0) - (one.count or 0)] for one in sides])
    return Disparity(
        attribute=attribute,
        label=label,
        measure=measure,
        group=sides[0],
        others=sides[1],
        p=float(scipy.stats.fisher_exact(table).pvalue),
    )
