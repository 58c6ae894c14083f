"""What a model expects: limits and patterns, what is refused, what is analysed with a caution."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.triage.errors import NotAnalysed
from services.triage.expectation import UNEXPECTED_CODES, Attribute, InRange, Measure, Observed, OneOf, judge

LUNG = InRange(of=Measure.LUNG_PERCENT, refuse=(2.5, None), caution=(4.0, 65.0))
AIR = InRange(of=Measure.LOW_INTENSITY, refuse=(None, -500.0))
KERNEL = OneOf(of=Attribute.CONVOLUTION_KERNEL, caution=("B3*", "STANDARD"))


def observed(lung: float | None = 20.0, low: float = -1000.0, kernel: str = "") -> Observed:
    numbers = {Measure.LOW_INTENSITY: low} | ({Measure.LUNG_PERCENT: lung} if lung is not None else {})
    return Observed(numbers=numbers, words={Attribute.CONVOLUTION_KERNEL: kernel})


def cautions(*expects, **values: object) -> list[str]:
    return [one.code for one in judge(expects, observed(**values), model_name="lung")]


def test_what_is_as_expected_is_told_nothing_of() -> None:
    assert cautions(LUNG, AIR, KERNEL, kernel="B30f") == []


@pytest.mark.parametrize("lung", [3.9, 65.1])
def test_what_is_at_the_rim_gets_a_caution_that_says_what_and_how_far(lung: float) -> None:
    (caution,) = judge([LUNG], observed(lung=lung), model_name="lung")
    assert caution.code == "unexpected_lung_percent"
    assert f"aerated lung {lung:g} % of the body, expected at" in caution.text
    assert caution.code in UNEXPECTED_CODES


def test_what_is_far_off_is_not_analysed_and_all_reasons_are_told() -> None:
    with pytest.raises(NotAnalysed) as refusal:
        judge([AIR, LUNG], observed(lung=0.3, low=0), model_name="lung")
    assert refusal.value.reason.code == "unexpected_low_intensity"
    assert "lung was made for" in refusal.value.reason.text
    assert "lowest intensity 0, expected at most -500; aerated lung 0.3 % of the body" in refusal.value.reason.text


def test_what_could_not_be_measured_and_what_no_header_says_is_not_judged() -> None:
    assert cautions(LUNG, KERNEL, lung=None) == []


@pytest.mark.parametrize(
    ("kernel", "codes"),
    [("B35s", []), ("b31f", []), ("standard", []), ("Br38f\\3", ["unexpected_convolution_kernel"]), ("I30\\B30", [])],
)
def test_one_of_an_attributes_values_must_match_a_pattern_in_any_case(kernel: str, codes: list[str]) -> None:
    assert cautions(KERNEL, kernel=kernel) == codes


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_value_is_unexpected_exactly_outside_of_its_limits(value: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    told = cautions(InRange(of=Measure.LOW_INTENSITY, caution=(low, high)), low=value)
    assert bool(told) == (not low <= value <= high)
