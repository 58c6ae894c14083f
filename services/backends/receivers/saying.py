"""The words that every kind of message has: the impression, what takes it back, and one lesion."""

from services import __version__
from services.triage.errors import DestinationRefused, Reason
from services.triage.finding import Finding, two_digits
from services.triage.identity import TWO_PATIENTS, two_patients
from services.triage.lesion import Lesion
from services.triage.notification import Notification
from services.triage.result import IDENTITY_CORRECTED
from services.triage.uncertainty import Uncertainty
from services.triage.wording import (
    NOT_A_DEVICE,
    cautions_text,
    organs_text,
    outcome_text,
    reason_text,
    score_text,
    uncertainty_text,
)

PRELIMINARY = "Preliminary result of an AI, for the radiologist."


def impression(notification: Notification) -> list[str]:
    """What the model says, who it is, and what it is not; a line each."""
    result = notification.result
    model, finding = result.model, result.finding
    why = [reason_text("Reason", finding.reason)] if finding.reason else []
    replaces = ["Replaces the earlier result of this model."] if notification.earlier else []
    by = f"Vigie {__version__}, model {model.name} {model.version}, weights SHA-256 {model.weights_sha256}."
    organs = organs_text(finding.organs, finding.outcome)
    told = [*why, *cautions_text(finding), *uncertainty_text(finding), *organs]
    return [PRELIMINARY, outcome_text(finding), *told, *replaces, by, NOT_A_DEVICE]


def withdrawal(reason: Reason) -> str:
    """What is said of a result that is taken back."""
    what = "The AI result is withdrawn"
    if reason.code == IDENTITY_CORRECTED.code:
        return f"{what} here: the images are filed under other patient or order data now."
    return f"{what}: {reason.text.rstrip('.')}. Read the study as usual."


def lesion_text(lesion: Lesion, *, calibrated: bool) -> str:
    """One lesion in a line."""
    size = f"{lesion.volume_ml:.2f} mL, axes {lesion.long_axis_mm:.0f} x {lesion.short_axis_mm:.0f} mm"
    return f"{lesion.label}: {score_text(lesion.score, calibrated=calibrated)}, {size}"


def told_uncertainty(finding: Finding) -> Uncertainty | None:
    """Of the study's score; None where nobody asked, and where there is no candidate whose score could vary."""
    return finding.uncertainty if finding.score else None


def percent(score: float) -> int:
    """A score as the number that people read beside it; only certainty is 100."""
    return round(float(two_digits(score)) * 100)


def require_one_patient(notification: Notification) -> None:
    """Raises DestinationRefused: whoever a message named, it would speak of the other's images too."""
    if two_patients(notification.instances) is not None:
        raise DestinationRefused(TWO_PATIENTS, "a message would name one patient and speak of the images of two")
