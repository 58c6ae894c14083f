"""The words of verdicts, in the language of the page."""

from services.gateway.language import noted
from services.gateway.language import translated as _
from services.triage.verdict import Answer, MarkedLesion, RejectReason, Verdict

REASONS = {
    RejectReason.VESSEL: noted("Vessel"),
    RejectReason.NORMAL_ANATOMY: noted("Normal anatomy"),
    RejectReason.BENIGN: noted("Benign"),
    RejectReason.ARTEFACT: noted("Artefact"),
    RejectReason.DUPLICATE: noted("Duplicate"),
    RejectReason.OUTSIDE_SCOPE: noted("Outside the scope of the model"),
    RejectReason.MISSED: noted("A lesion was missed"),
    RejectReason.OTHER: noted("Other reason"),
}
"""In the order of their keys, 1 to 8."""

FINDINGS = {
    "lesion": noted("Lesion"),
    "nodule": noted("Nodule"),
    "mass": noted("Mass"),
    "cyst": noted("Cyst"),
    "lymph_node": noted("Lymph node"),
    "metastasis": noted("Metastasis"),
}

_ANSWERS = {
    Answer.ACCEPT: noted("Accepted"),
    Answer.REJECT: noted("Rejected"),
    Answer.MODIFY: noted("Modified"),
    Answer.ADD: noted("Added, missed by the AI"),
    Answer.NOT_MY_QUESTION: noted("Not my question"),
    Answer.PRESENT: noted("Lesion present, before the AI was shown"),
    Answer.ABSENT: noted("No lesion, before the AI was shown"),
    Answer.UNSURE: noted("Unsure, before the AI was shown"),
    Answer.UNDO: noted("Taken back"),
}


def answer_words(answer: Answer) -> str:
    """What was answered."""
    return _(_ANSWERS[answer])


def verdict_words(verdict: Verdict) -> str:
    """An answer with its reason, and the lesion as the reader has it."""
    told = answer_words(verdict.answer)
    more = [_(REASONS[verdict.reason])] if verdict.reason else []
    more += lesion_words(verdict.lesion) if verdict.lesion else []
    return f"{told} ({', '.join(more)})" if more else told


def lesion_words(lesion: MarkedLesion) -> list[str]:
    """What a reader said a lesion to be."""
    told = []
    if lesion.finding:
        told.append(_(FINDINGS[lesion.finding]) if lesion.finding in FINDINGS else lesion.finding)
    if lesion.long_axis_mm is not None:
        told.append(f"{lesion.long_axis_mm:.1f} mm")
    if lesion.volume_ml is not None:
        told.append(f"{lesion.volume_ml:.2f} mL")
    return told
