"""What receivers are told of organs: people a line of the impression, programs what `vigie process --json` says."""

import json

import hl7
import pytest

from services.backends.receivers.fhir_r4b import transaction
from services.backends.receivers.hl7_oru import oru_message
from services.backends.receivers.sample import sample
from services.backends.receivers.webhook import payload
from services.triage.finding import Flag, Outcome
from services.triage.notification import Notification
from services.triage.organ import NO_TUMOUR_CLASS, Organ
from tests.support.telling import fhir_table, hl7_table, value_of, webhook_table, with_finding

ORGANS = (
    Organ(label="liver", volume_ml=1409.87, cut_off=True),
    Organ(label="left|right kidney", volume_ml=None, cut_off=False),
)
LINES = [
    "Organs segmented (mL, tumour voxels not included): liver 1410 (cut off by the image).",
    "Organs not found: left|right kidney.",
]


def hl7_impression(notification: Notification) -> list[str]:
    parsed = hl7.parse(oru_message(notification, value_of(notification), hl7_table()))
    (told,) = (obx for obx in parsed.segments("OBX") if str(obx[3][0][0]) == "19005-8")
    return [parsed.unescape(str(line)) for line in told[5]]


def fhir_conclusion(notification: Notification) -> list[str]:
    bundle = json.loads(transaction(notification, value_of(notification), fhir_table("http://127.0.0.1")))
    (report,) = (one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "DiagnosticReport")
    return report["conclusion"].splitlines()


@pytest.mark.parametrize("told", [hl7_impression, fhir_conclusion])
def test_organs_stand_in_the_impression_after_what_was_found(told) -> None:
    lines = told(with_finding(sample(), organs=ORGANS))
    at = lines.index("1 lesion found; study score 0.93 (not calibrated on patients); flag urgent.")
    assert lines[at + 1 : at + 3] == LINES
    assert told(sample()) == [line for line in lines if line not in LINES], "and nothing else is said otherwise"


@pytest.mark.parametrize("told", [hl7_impression, fhir_conclusion])
def test_a_model_that_looks_for_no_lesions_is_not_said_to_have_found_none(told) -> None:
    said = {"outcome": Outcome.NOT_ANALYSED, "score": None, "flag": Flag.ROUTINE, "lesions": ()}
    lines = told(with_finding(sample(), **said, reason=NO_TUMOUR_CLASS, organs=ORGANS))
    at = lines.index("NOT ANALYSED FOR LESIONS: the model looks for none.")
    assert lines[at + 2] == "Organs segmented (mL): liver 1410 (cut off by the image)."
    assert not any("othing found" in line for line in lines)


def test_a_webhook_has_the_organs_among_the_findings() -> None:
    told = with_finding(sample(), organs=ORGANS)
    with_findings, without = (payload(told, webhook_table(include=choice))["data"] for choice in (["findings"], []))
    assert with_findings["organs"] == [
        {"label": "liver", "volume_ml": 1409.87, "cut_off": True},
        {"label": "left|right kidney", "volume_ml": None, "cut_off": False},
    ]
    assert "organs" not in without
