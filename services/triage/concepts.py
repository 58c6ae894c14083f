"""Coded concepts (PS3.16) of which reports and messages speak alike, each said once."""

from services.triage.finding import Outcome
from services.triage.model import Code


def _dcm(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="DCM", meaning=meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="SCT", meaning=meaning)


def _ucum(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="UCUM", meaning=meaning)


REPORT = _dcm("126000", "Imaging Measurement Report")
ARTIFICIAL_INTELLIGENCE = _dcm("123110", "Artificial Intelligence")
# not Neoplasm: nobody has proven it
LESION = _sct("52988006", "Lesion")

VOLUME = _sct("118565006", "Volume")
LONG_AXIS = _sct("103339001", "Long axis")
SHORT_AXIS = _sct("103340004", "Short axis")
CERTAINTY = _dcm("111012", "Certainty of Finding")
MM = _ucum("mm", "millimeter")
MM3 = _ucum("mm3", "cubic millimeter")
PERCENT = _ucum("%", "Percent")

FINDINGS_SUMMARY = _dcm("111017", "CAD Processing and Findings Summary")
PRIORITY = _sct("260870009", "Priority")
URGENT = _sct("103391001", "Urgent Procedure")
ROUTINE = _sct("373113001", "Routine procedure")

_WITH_FINDINGS = _dcm("111242", "All algorithms succeeded; with findings")
_WITHOUT_FINDINGS = _dcm("111241", "All algorithms succeeded; without findings")
_NONE_SUCCEEDED = _dcm("111245", "No algorithms succeeded; without findings")
FINDINGS_SUMMARIES = {
    Outcome.FOUND: _WITH_FINDINGS,
    Outcome.EQUIVOCAL: _WITH_FINDINGS,
    Outcome.NOTHING_FOUND: _WITHOUT_FINDINGS,
    Outcome.FAILED: _NONE_SUCCEEDED,
    Outcome.NOT_ANALYSED: _NONE_SUCCEEDED,
}
