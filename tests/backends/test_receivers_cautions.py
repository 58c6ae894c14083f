"""What receivers are told of images that a model was not made for: people its words, programs its codes."""

import json
from dataclasses import replace

import hl7
import pytest

from services.backends.receivers.fhir_r4b import transaction
from services.backends.receivers.hl7_oru import oru_message
from services.backends.receivers.sample import sample
from services.backends.receivers.webhook import payload
from services.triage.errors import NotAnalysed
from services.triage.expectation import Attribute, InRange, Measure, Observed, OneOf, judge
from services.triage.finding import Flag, Outcome
from services.triage.notification import Notification
from tests.support.telling import fhir_table, hl7_table, value_of, webhook_table, with_finding

EXPECTS = (
    InRange(of=Measure.LUNG_PERCENT, refuse=(2.5, None), caution=(4, 65)),
    OneOf(of=Attribute.CONVOLUTION_KERNEL, caution=("B3*", "STANDARD")),
)
LUNG = "CAUTION, unlike the images that the model was made for: aerated lung 3.1 % of the body, expected at least 4"
KERNEL = (
    "CAUTION, unlike the images that the model was made for: Convolution Kernel is 'B70|F^1', expected B3*, STANDARD"
)
LINES = (f"{LUNG} [unexpected_lung_percent]", f"{KERNEL} [unexpected_convolution_kernel]")


def observed(lung_percent: float) -> Observed:
    """With a kernel that holds delimiters of HL7."""
    return Observed(
        numbers={Measure.LUNG_PERCENT: lung_percent}, words={Attribute.CONVOLUTION_KERNEL: "b70|f^1\\sharp"}
    )


@pytest.fixture
def at_the_rim() -> Notification:
    return with_finding(sample(), cautions=judge(EXPECTS, observed(3.1), model_name="ct_lung_lesion"))


@pytest.fixture
def far_off() -> Notification:
    with pytest.raises(NotAnalysed) as refused:
        judge(EXPECTS, observed(0.4), model_name="ct_lung_lesion")
    told = {"outcome": Outcome.NOT_ANALYSED, "score": None, "flag": Flag.ROUTINE, "lesions": ()}
    return with_finding(sample(), **told, reason=refused.value.reason)


def message_of(notification: Notification) -> tuple[hl7.Message, hl7.Segment]:
    """The message and, of its observations, the impression."""
    parsed = hl7.parse(oru_message(notification, value_of(notification), hl7_table()))
    (told,) = (obx for obx in parsed.segments("OBX") if str(obx[3][0][0]) == "19005-8")
    return parsed, told


def hl7_impression(notification: Notification) -> list[str]:
    """As a receiver reads it, line by line."""
    parsed, told = message_of(notification)
    return [parsed.unescape(str(line)) for line in told[5]]


def fhir_conclusion(notification: Notification) -> list[str]:
    bundle = json.loads(transaction(notification, value_of(notification), fhir_table("http://127.0.0.1")))
    (report,) = (one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "DiagnosticReport")
    return report["conclusion"].splitlines()


@pytest.mark.parametrize("told", [hl7_impression, fhir_conclusion])
def test_a_caution_stands_in_the_impression_after_what_was_found_a_line_each(told, at_the_rim: Notification) -> None:
    lines = told(at_the_rim)
    at = lines.index("1 lesion found; study score 0.93 (not calibrated on patients); flag urgent.")
    assert tuple(lines[at + 1 : at + 3]) == LINES
    assert sum("CAUTION" in line for line in lines) == 2
    assert told(sample()) == [line for line in lines if "CAUTION" not in line], "and nothing else is said otherwise"


@pytest.mark.parametrize("told", [hl7_impression, fhir_conclusion])
def test_images_that_are_far_off_are_said_not_to_have_been_looked_at_and_why(told, far_off: Notification) -> None:
    lines = told(far_off)
    at = lines.index("NOT ANALYSED: the model has not looked at these images.")
    assert lines[at + 1] == (
        "Reason: these are not images that ct_lung_lesion was made for: aerated lung 0.4 % of the body, expected at "
        "least 2.5 [unexpected_lung_percent]"
    )
    assert not any("CAUTION" in line for line in lines)


def test_a_webhook_has_the_codes_in_the_models_order_and_never_the_words(
    at_the_rim: Notification, far_off: Notification
) -> None:
    site = webhook_table("http://127.0.0.1", include=["findings"])
    rim, off, plain = (payload(one, site) for one in (at_the_rim, far_off, sample()))
    assert rim["data"]["caution_codes"] == ["unexpected_lung_percent", "unexpected_convolution_kernel"]
    assert (rim["data"]["outcome"], rim["data"]["reason_code"]) == ("found", None)
    assert (off["data"]["outcome"], off["data"]["reason_code"]) == ("not_analysed", "unexpected_lung_percent")
    assert off["data"]["caution_codes"] == plain["data"]["caution_codes"] == []
    for words in ("B70", "b70", "aerated", "CAUTION"):  # what a header says is not for every receiver
        assert words not in json.dumps([rim, off])


def test_of_a_result_that_is_taken_back_the_cautions_are_no_more(at_the_rim: Notification) -> None:
    back = replace(at_the_rim, withdrawn=sample(withdrawn=True).withdrawn)
    assert not any("CAUTION" in line for line in fhir_conclusion(back))
    _, told = message_of(back)
    assert (str(told[11]), "CAUTION" in str(told[5])) == ("W", True), "HL7 repeats what was wrong, as wrong"
