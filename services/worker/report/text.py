"""What a result says in words. No patient data; a score is called a score."""

from collections.abc import Sequence

from services import __version__
from services.triage.finding import Finding, Outcome, two_digits
from services.triage.job import SeriesRefusal
from services.triage.lesion import Lesion
from services.triage.model import Model
from services.triage.wording import (
    NOT_A_DEVICE,
    cautions_text,
    lesions_text,
    organs_text,
    outcome_text,
    reason_text,
    uncertainty_text,
)

REPLACES = "This report replaces an earlier one of the same study, which it names as its predecessor."
REISSUED = (
    "Written again under corrected patient or order data; the images and what was found in them are those of the "
    "report that this one replaces."
)


def segment_label(lesion: Lesion, *, calibrated: bool) -> str:
    """What a viewer's side panel shows; at most 64 characters (LO)."""
    label = f"{lesion.label} (score {two_digits(lesion.score)})"
    return label if calibrated else f"{label} not calibrated on patients"


def key_objects_text(finding: Finding, model: Model) -> str:
    """Why these images were selected."""
    labels = "; ".join(segment_label(lesion, calibrated=finding.calibrated) for lesion in finding.lesions)
    return f"Key images of {lesions_text(finding)}: {labels}. {_by_whom(model)}. {NOT_A_DEVICE}"


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
    lines = [outcome_text(finding)]
    if finding.reason is not None:
        lines.append(reason_text("Reason", finding.reason))
    lines.extend(cautions_text(finding))
    lines.extend(uncertainty_text(finding))
    lines.extend(organs_text(finding.organs, finding.outcome))
    lines.extend(reason_text(f"Series {refusal.series_instance_uid}", refusal.reason) for refusal in refused_series)
    if replaces:
        lines.append(REPLACES)
    lines.append(
        f"Vigie {__version__}, model {identity.name} {identity.version}, weights SHA-256 {identity.weights_sha256}."
    )
    if finding.outcome.analysed or finding.organs:
        lines.extend(text for text in (model.scope_statement, model.sensitivity_statement) if text)
    lines.append(NOT_A_DEVICE)
    return "\n".join(lines)


def _by_whom(model: Model) -> str:
    return f"Vigie {__version__}, model {model.identity.name} {model.identity.version}"
