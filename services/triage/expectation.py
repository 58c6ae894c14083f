"""What a model expects of the images that it is shown, and what becomes of those that are something else.

A score means something only on images like those that a model was made on. What is far from them is not analysed; what
is at their rim is, with a caution that stands wherever the result does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from services.triage.errors import NotAnalysed, Reason

Limits = tuple[float | None, float | None]
"""Lowest and highest value that is expected; None: any."""


class Measure(StrEnum):
    """What is measured of a volume (`worker.measure`), the most telling first.

    The intensities are the 0.5th and 99.5th percentile, rescaled (HU for CT). The four of content are of CT alone.
    """

    LOW_INTENSITY = "low_intensity"
    HIGH_INTENSITY = "high_intensity"
    LUNG_PERCENT = "lung_percent"
    LUNG_ML = "lung_ml"
    BONE_PERCENT = "bone_percent"
    BODY_AREA_CM2 = "body_area_cm2"
    EXTENT_MM = "extent_mm"
    FIELD_OF_VIEW_MM = "field_of_view_mm"
    SLICE_SPACING_MM = "slice_spacing_mm"
    SLICE_THICKNESS_MM = "slice_thickness_mm"
    PIXEL_SPACING_MM = "pixel_spacing_mm"


class Attribute(StrEnum):
    """What the header says, by its DICOM keyword in snake_case."""

    BODY_PART_EXAMINED = "body_part_examined"
    CONVOLUTION_KERNEL = "convolution_kernel"


_NAMES = {
    Measure.LOW_INTENSITY: ("lowest intensity", ""),
    Measure.HIGH_INTENSITY: ("highest intensity", ""),
    Measure.LUNG_PERCENT: ("aerated lung", " % of the body"),
    Measure.LUNG_ML: ("aerated lung", " mL"),
    Measure.BONE_PERCENT: ("bone", " % of the body"),
    Measure.BODY_AREA_CM2: ("cross-section of the body", " cm2"),
    Measure.EXTENT_MM: ("length covered", " mm"),
    Measure.FIELD_OF_VIEW_MM: ("field of view", " mm"),
    Measure.SLICE_SPACING_MM: ("distance between slices", " mm"),
    Measure.SLICE_THICKNESS_MM: ("slice thickness", " mm"),
    Measure.PIXEL_SPACING_MM: ("pixel spacing", " mm"),
}
_KEYWORDS = {
    Attribute.BODY_PART_EXAMINED: "Body Part Examined",
    Attribute.CONVOLUTION_KERNEL: "Convolution Kernel",
}


UNEXPECTED_CODES = frozenset(f"unexpected_{one}" for one in (*Measure, *Attribute))
"""The codes of cautions and of what is not analysed because of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InRange:
    """A measure and where it should lie. Beyond `refuse` nothing is analysed, beyond `caution` a caution is given."""

    of: Measure
    refuse: Limits = (None, None)
    caution: Limits = (None, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class OneOf:
    """An attribute and the values that it should have, as shell patterns (`B3*`) in any case; none: any value."""

    of: Attribute
    refuse: tuple[str, ...] = ()
    caution: tuple[str, ...] = ()


Expectation = InRange | OneOf


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What was measured, and what the header says. What is missing is not judged."""

    numbers: Mapping[Measure, float]
    words: Mapping[Attribute, str]


def judge(expects: Sequence[Expectation], observed: Observed, *, model_name: str) -> tuple[Reason, ...]:
    """The cautions. Raises NotAnalysed where anything is beyond what is refused; its code is that of the first."""
    refused = list(_unexpected(expects, observed, "refuse"))
    if refused:
        told = "; ".join(one.text for one in refused)
        raise NotAnalysed(refused[0].code, f"these are not images that {model_name} was made for: {told}")
    return tuple(_unexpected(expects, observed, "caution"))


def _unexpected(expects: Sequence[Expectation], observed: Observed, level: str) -> Iterator[Reason]:
    for one in expects:
        accepted = getattr(one, level)
        text = _out_of(one.of, observed, accepted) if isinstance(one, InRange) else _other(one.of, observed, accepted)
        if text is not None:
            yield Reason(code=f"unexpected_{one.of}", text=text)


def _out_of(measure: Measure, observed: Observed, limits: Limits) -> str | None:
    value, (low, high) = observed.numbers.get(measure), limits
    if value is None:
        return None
    name, unit = _NAMES[measure]
    if low is not None and value < low:
        return f"{name} {round(value, 2):g}{unit}, expected at least {low:g}"
    if high is not None and value > high:
        return f"{name} {round(value, 2):g}{unit}, expected at most {high:g}"
    return None


def _other(attribute: Attribute, observed: Observed, patterns: Sequence[str]) -> str | None:
    """Of several values (PS3.5 6.4) one that is expected is enough."""
    values = [value.strip().upper() for value in observed.words.get(attribute, "").split("\\") if value.strip()]
    if not values or not patterns or any(fnmatchcase(value, each.upper()) for value in values for each in patterns):
        return None
    return f"{_KEYWORDS[attribute]} is {values[0][:16]!r}, expected {', '.join(patterns)}"
