"""What is said of a finding, in reports and messages alike. No patient data; a score is called a score."""

from collections.abc import Sequence

from services.triage.errors import Reason
from services.triage.finding import Finding, Outcome, two_digits
from services.triage.organ import Organ, organs_only
from services.triage.uncertainty import Spread

NOT_A_DEVICE = "Demonstration software, not a medical device, not for diagnosis. A person must read every study."


def score_text(score: float, *, calibrated: bool) -> str:
    """`score 0.93`, and that it is not calibrated as long as it is not."""
    told = f"score {two_digits(score)}"
    return told if calibrated else f"{told} (not calibrated on patients)"


def outcome_text(finding: Finding) -> str:
    """What the model says of the study, or that it says nothing."""
    count = lesions_text(finding)
    match finding.outcome:
        case Outcome.FOUND:
            return f"{count} found; study {_study_score(finding)}; flag {finding.flag}."
        case Outcome.EQUIVOCAL:
            return f"Equivocal: {count} below the detection threshold; study {_study_score(finding)}."
        case Outcome.NOTHING_FOUND:
            return f"Nothing found; best candidate: {_study_score(finding)}. This does not rule out a lesion."
        case Outcome.NOT_ANALYSED if organs_only(finding.reason):
            return "NOT ANALYSED FOR LESIONS: the model looks for none."
        case Outcome.NOT_ANALYSED:
            return "NOT ANALYSED: the model has not looked at these images."
        case Outcome.FAILED:
            return "ANALYSIS FAILED: nothing can be said about these images."


def lesions_text(finding: Finding) -> str:
    """How many lesions there are."""
    return f"{len(finding.lesions)} lesion{'s' if len(finding.lesions) != 1 else ''}"


def reason_text(what: str, reason: Reason) -> str:
    """A coded reason, and of what it is one."""
    return f"{what}: {reason.text} [{reason.code}]"


def cautions_text(finding: Finding) -> list[str]:
    """A line for each caution."""
    told = "CAUTION, unlike the images that the model was made for"
    return [reason_text(told, caution) for caution in finding.cautions]


def uncertainty_text(finding: Finding) -> list[str]:
    """How the study's score varies over mirrored runs, or why that is not known; nothing where it was not asked for."""
    uncertainty = finding.uncertainty
    if uncertainty is None or not finding.score:  # without a candidate there is no score to vary
        return []
    if uncertainty.reason is not None:
        return [unknown_text(uncertainty.reason)]
    spread = uncertainty.spread
    if spread is None:
        return []
    between = f"{two_digits(spread.lowest)} to {two_digits(spread.highest)}"
    return [f"Study score over {spread.runs} runs, mirrored ones included: {between}; no interval of confidence."]


def organs_text(organs: Sequence[Organ], outcome: Outcome) -> list[str]:
    """How large the organs are, and which were not found; nothing of a model without organ classes.

    Where lesions were looked for it says that their voxels are not the organ's.
    """
    found = [f"{one.label} {_ml(one.volume_ml)}{_cut_off(one)}" for one in organs if one.volume_ml is not None]
    missing = [one.label for one in organs if one.volume_ml is None]
    what = "mL, tumour voxels not included" if outcome.analysed else "mL"
    told = [f"Organs segmented ({what}): {', '.join(found)}."] if found else []
    return told + ([f"Organs not found: {', '.join(missing)}."] if missing else [])


def unknown_text(reason: Reason) -> str:
    """Why it is not known how a score varies."""
    return reason_text("Uncertainty of the score not known", reason)


def spread_text(spread: Spread) -> str:
    """A score over its runs: what the numbers are, and what they are not."""
    between = f"{two_digits(spread.lowest)} to {two_digits(spread.highest)}"
    runs = f"over {spread.runs} runs, mirrored ones included"
    return f"score {between} {runs}, standard deviation {spread.sd:.2f}; no interval of confidence"


def _ml(volume_ml: float) -> str:
    """As fine as it is worth; what is there never reads as 0."""
    if volume_ml < 0.1:
        return "under 0.1"
    return f"{volume_ml:.1f}" if volume_ml < 10 else f"{volume_ml:.0f}"


def _cut_off(organ: Organ) -> str:
    return " (cut off by the image)" if organ.cut_off else ""


def _study_score(finding: Finding) -> str:
    return score_text(finding.score or 0.0, calibrated=finding.calibrated)
