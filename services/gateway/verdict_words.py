"""The words of verdicts, in the language of the page."""

from typing import Any

from services.gateway.language import current_language, decimal, noted
from services.gateway.language import translated as _
from services.triage.verdict import OWN_ASSESSMENTS, Answer, MarkedLesion, RejectReason, Verdict

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

ANSWERS = {
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

NEWER_IMAGES = noted("Images came that this result is not of: an answer for the whole study does not mark it as read.")


def answer_words(answer: Answer) -> str:
    """What was answered."""
    return _(ANSWERS[answer])


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
        told.append(f"{decimal(lesion.long_axis_mm, 1)} mm")
    if lesion.volume_ml is not None:
        told.append(f"{decimal(lesion.volume_ml)} mL")
    return told


def viewer_texts() -> dict[str, Any]:
    """The texts of the bar in the viewer (static/viewer-bar.js)."""
    return {
        "language": current_language(),
        "answers": {answer: answer_words(answer) for answer in Answer if answer not in OWN_ASSESSMENTS},
        "reasons": {reason: _(words) for reason, words in REASONS.items()},
        "findings": {finding: _(words) for finding, words in FINDINGS.items()},
        "keys": [
            ("q", _("List")),
            ("k", _("Previous")),
            ("j", _("Next")),
            ("0", _("Whole study")),
            ("a", _("Accept")),
            ("r", _("Reject")),
            ("m", _("Modify")),
            ("d", _("Missed")),
            ("n", _("Not my question")),
            ("u", _("Undo")),
            ("f", _("Finished")),
        ],
        "colon": _(":"),
        "bar": _("Your answer to the AI"),
        "study": _("Whole study"),
        "you": _("You"),
        "added": _("Added lesion"),
        "not_answered": _("Not answered yet"),
        "nothing": _("That cannot be answered here"),
        "nothing_to_undo": _("No answer of yours to this stands: there is nothing to undo"),
        "nothing_asked": _("No AI result is asked about"),
        "newer_images": _(NEWER_IMAGES),
        "newer": _("A newer AI result has come: open the study again"),
        "done": _("Finished"),
        "finished": _("your answers become a DICOM document"),
        "saving": _("Not finished yet, your answers are still being saved"),
        "unfinished": _("Not finished: press f again once your answers are saved"),
        "away": _("Vigie does not answer: nothing can be saved now"),
        "back": _("Vigie answers again"),
        "unsent": _("Not saved yet, will be sent again"),
        "sign_in": _("Sign in again, in another tab"),
        "leave": _("Not all of your answers are saved yet. Leave all the same, and lose them?"),
        "refused": _("Not saved"),
        "saved_object": _("Saved in the viewer"),
        "use_it": _("m modifies the lesion by it, d adds it as a missed one."),
        "unusable": _("What was saved in the viewer cannot be used"),
        "finding": _("It is a"),
        "long_axis": _("Long axis (mm)"),
        "volume": _("Volume (mL)"),
        "save_modify": _("Accept as modified"),
        "save_add": _("Add this lesion"),
    }
