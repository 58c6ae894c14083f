"""The `expects` section of a bundle's triage metadata: what images the model was made for (docs/models.md)."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.triage.expectation import Attribute, Expectation, InRange, Limits, Measure, OneOf


def _ordered(limits: Limits) -> Limits:
    low, high = limits
    if low is not None and high is not None and low > high:
        raise ValueError(f"the lowest value {low:g} is above the highest {high:g}")
    return limits


_Limits = Annotated[Limits, AfterValidator(_ordered)]
_Patterns = Annotated[tuple[str, ...], Field(min_length=1)]


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)  # a limit that is misspelt would guard nothing


class _InRange(_Told):
    refuse: _Limits = (None, None)
    caution: _Limits = (None, None)


class _OneOf(_Told):
    refuse: _Patterns = ()
    caution: _Patterns = ()


class Expects(_Told):
    """Each key is optional: a measure with limits, or an attribute with patterns."""

    low_intensity: _InRange | None = None
    high_intensity: _InRange | None = None
    lung_percent: _InRange | None = None
    lung_ml: _InRange | None = None
    bone_percent: _InRange | None = None
    body_area_cm2: _InRange | None = None
    extent_mm: _InRange | None = None
    field_of_view_mm: _InRange | None = None
    slice_spacing_mm: _InRange | None = None
    slice_thickness_mm: _InRange | None = None
    pixel_spacing_mm: _InRange | None = None
    body_part_examined: _OneOf | None = None
    convolution_kernel: _OneOf | None = None

    def expectations(self) -> tuple[Expectation, ...]:
        """Those that are told, in the order of `Measure` and `Attribute`."""
        told: Mapping[str, _InRange | _OneOf | None] = dict(self)
        ranges = [
            InRange(of=measure, refuse=one.refuse, caution=one.caution)
            for measure in Measure
            if isinstance(one := told[measure], _InRange)
        ]
        words = [
            OneOf(of=attribute, refuse=one.refuse, caution=one.caution)
            for attribute in Attribute
            if isinstance(one := told[attribute], _OneOf)
        ]
        return (*ranges, *words)
