"""What a result says in words. No patient data; a score is called a score."""

from collections.abc import Sequence

from services import __version__
from services.triage.errors import Reason
from services.triage.finding import Finding, Outcome, two_digits
from services.triage.job import SeriesRefusal
from services.triage.lesion import Lesion
from services.triage.model import Model

NOT_A_DEVICE = "Demonstration software, not a medical device, not for diagnosis. A person must read every study."

REPLACES = "This report replaces an earlier one of the same study, which it names as its predecessor."
REISSUED = (
    "Written again under corrected patient or order data; the images and what was found in them are those of the "
    "report that this one replaces."
)


def score_text(score: float, *, calibrated: bool) -> str:
    """`score 0.93`, and that it is not calibrated as long as it is not."""
    told = f"score {two_digits(score)}"
    return told if calibrated else f"{told} (not calibrated on patients)"


def segment_label(lesion: Lesion, *, calibrated: bool) -> str:
    """What a viewer's side panel shows; at most 64 characters (LO)."""
    label = f"{lesion.label} (score {two_digits(lesion.score)})"
    return label if calibrated else f"{label} not calibrated on patients"


def key_objects_text(finding: Finding, model: Model) -> str:
    """Why these images were selected."""
    labels = "; ".join(segment_label(lesion, calibrated=finding.calibrated) for lesion in finding.lesions)
    return f"Key images of {_lesions(finding)}: {labels}. {_by_whom(model)}. {NOT_A_DEVICE}"


def picture_caption(lesion: Lesion, finding: Finding, where: str) -> tuple[str, ...]:
    """What stands above the picture of a lesion; `where` names the source image."""
    doubt = ("Equivocal: below the detection threshold",) if finding.outcome is Outcome.EQUIVOCAL else ()
    size = f"{lesion.volume_ml:.2f} mL, axes {lesion.long_axis_mm:.0f} x {lesion.short_axis_mm:.0f} mm"
    return (segment_label(lesion, calibrated=finding.calibrated), *doubt, f"{where}: {size}")


def picture_footer(model: Model, shown: str) -> tuple[str, ...]:
    """What stands below the picture of a lesion; `shown` names the window."""
    return (f"{_by_whom(model)}. {shown}", "NOT FOR DIAGNOSIS. Not a medical device.")


def comment(finding: Finding, model: Model, refused_series: Sequence[SeriesRefusal], *, replaces: bool = False) -> str:
    """The comment of a report: the outcome first, then who says so, what it is good for, and what it is not."""
    identity = model.identity
    lines = [_outcome(finding)]
    if finding.reason is not None:
        lines.append(_reason("Reason", finding.reason))
    lines.extend(_reason(f"Series {refusal.series_instance_uid}", refusal.reason) for refusal in refused_series)
    if replaces:
        lines.append(REPLACES)
    lines.append(
        f"Vigie {__version__}, model {identity.name} {identity.version}, weights SHA-256 {identity.weights_sha256}."
    )
    if finding.outcome.analysed:
        lines.extend(text for text in (model.scope_statement, model.sensitivity_statement) if text)
    lines.append(NOT_A_DEVICE)
    return "\n".join(lines)


def _outcome(finding: Finding) -> str:
    count = _lesions(finding)
    match finding.outcome:
        case Outcome.FOUND:
            return f"{count} found; study {_study_score(finding)}; flag {finding.flag}."
        case Outcome.EQUIVOCAL:
            return f"Equivocal: {count} below the detection threshold; study {_study_score(finding)}."
        case Outcome.NOTHING_FOUND:
            return f"Nothing found; best candidate: {_study_score(finding)}. This does not rule out a lesion."
        case Outcome.NOT_ANALYSED:
            return "NOT ANALYSED: the model has not looked at these images."
        case Outcome.FAILED:
            return "ANALYSIS FAILED: nothing can be said about these images."


def _lesions(finding: Finding) -> str:
    return f"{len(finding.lesions)} lesion{'s' if len(finding.lesions) != 1 else ''}"


def _by_whom(model: Model) -> str:
    return f"Vigie {__version__}, model {model.identity.name} {model.identity.version}"


def _study_score(finding: Finding) -> str:
    return score_text(finding.score or 0.0, calibrated=finding.calibrated)


def _reason(what: str, reason: Reason) -> str:
    return f"{what}: {reason.text} [{reason.code}]"
