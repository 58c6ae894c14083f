"""The words and numbers of the observatory's pages."""

from dataclasses import dataclass
from math import floor, log10

from babel import Locale
from babel.numbers import format_percent

from services.gateway.language import current_language, decimal, noted, translated
from services.observatory.agreement import Measure
from services.observatory.drift import Feature
from services.observatory.figures import Alarm
from services.observatory.history import NOT_TOLD, Attribute
from services.triage.finding import Outcome
from services.triage.verdict import Truth


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A figure's name, and what it is in one sentence; English, for `translated`."""

    name: str
    meaning: str


MEASURES = {
    Measure.ANALYSED: Told(
        name=noted("Analysed"), meaning=noted("Of the studies that a rule claims: the model looked at them.")
    ),
    Measure.FOUND: Told(name=noted("Found"), meaning=noted("Of the analysed studies: the AI says there is a lesion.")),
    Measure.FLAGGED: Told(name=noted("Flag rate"), meaning=noted("Of the analysed studies: the AI moved them up.")),
    Measure.ANSWERED: Told(
        name=noted("Answered"), meaning=noted("Of the analysed studies: readers said whether there is a lesion.")
    ),
    Measure.ANSWERED_FOUND: Told(
        name=noted("Answered, of found"), meaning=noted("The same, of the studies in which the AI found something.")
    ),
    Measure.ANSWERED_NOT_FOUND: Told(
        name=noted("Answered, of not found"),
        meaning=noted("The same, of the others. If this is much lower, readers answer by what the AI says."),
    ),
    Measure.PPV: Told(
        name=noted("PPV"), meaning=noted("Of the answered studies in which the AI found something: there is a lesion.")
    ),
    Measure.NPV: Told(
        name=noted("NPV"), meaning=noted("Of the answered studies in which it found nothing: there is no lesion.")
    ),
    Measure.SENSITIVITY: Told(
        name=noted("Sensitivity, answered"),
        meaning=noted("Of the answered studies with a lesion: the AI found it. Too high where misses go unanswered."),
    ),
    Measure.SPECIFICITY: Told(
        name=noted("Specificity, answered"),
        meaning=noted("Of the answered studies without a lesion: the AI found none. Too low for the same reason."),
    ),
    Measure.SENSITIVITY_CORRECTED: Told(
        name=noted("Sensitivity, corrected"),
        meaning=noted("In all analysed studies, if readers choose what they answer by the AI's outcome alone."),
    ),
    Measure.SPECIFICITY_CORRECTED: Told(
        name=noted("Specificity, corrected"),
        meaning=noted("In all analysed studies, under the same assumption (Begg and Greenes)."),
    ),
    Measure.SENSITIVITY_BLIND: Told(
        name=noted("Sensitivity, blind reads"),
        meaning=noted(
            "Of the studies in which a reader saw a lesion before the AI's result was shown: the AI found it."
        ),
    ),
    Measure.SPECIFICITY_BLIND: Told(
        name=noted("Specificity, blind reads"),
        meaning=noted("Of the studies in which a reader saw none before the AI's result was shown: the AI found none."),
    ),
    Measure.CHANGED: Told(
        name=noted("Readers changed their mind"),
        meaning=noted(
            "Of the studies that one reader read blind and answered: the answer differs from their blind read."
        ),
    ),
    Measure.LESION_PPV: Told(
        name=noted("PPV per lesion"), meaning=noted("Of the lesions of the AI that were judged: they are lesions.")
    ),
}

LINKED = frozenset(Measure) - {Measure.SENSITIVITY_CORRECTED, Measure.SPECIFICITY_CORRECTED, Measure.LESION_PPV}
"""Those that are shares of studies, which can be listed."""

ATTRIBUTES = {
    Attribute.SEX: noted("Sex"),
    Attribute.AGE: noted("Age (years)"),
    Attribute.DEVICE: noted("Scanner"),
    Attribute.KERNEL: noted("Kernel"),
    Attribute.THICKNESS: noted("Slice thickness (mm)"),
    Attribute.SITE: noted("Site"),
    Attribute.HELD: noted("Blind first"),
}

FEATURES = {
    Feature.AGE: noted("Age"),
    Feature.SEX: noted("Sex"),
    Feature.SITE: noted("Site"),
    Feature.DEVICE: noted("Scanner"),
    Feature.KERNEL: noted("Kernel"),
    Feature.THICKNESS: noted("Slice thickness"),
    Feature.SCORE: noted("Score"),
    Feature.LESIONS: noted("Lesions per study"),
    Feature.OUTCOME: noted("Outcome"),
}

ALARMS = {
    Alarm.FLAG_RATE: noted("The flag rate has changed."),
    Alarm.DRIFT: noted("Inputs or outputs have drifted."),
    Alarm.DISPARITY: noted("The AI does not serve all groups alike."),
}

_LABELS = {
    (Attribute.SEX, "F"): noted("female"),
    (Attribute.SEX, "M"): noted("male"),
    (Attribute.SEX, "O"): noted("other"),
    (Attribute.HELD, "held"): noted("read blind first"),
    (Attribute.HELD, "shown"): noted("shown at once"),
}

OUTCOMES = {
    Outcome.FOUND: noted("found"),
    Outcome.NOTHING_FOUND: noted("nothing found"),
    Outcome.EQUIVOCAL: noted("equivocal"),
    Outcome.NOT_ANALYSED: noted("not analysed"),
    Outcome.FAILED: noted("failed"),
}

TRUTHS = {Truth.PRESENT: noted("lesion"), Truth.ABSENT: noted("no lesion"), Truth.UNKNOWN: noted("not known")}


def label(attribute: Attribute, told: str) -> str:
    """A group's name."""
    if told == NOT_TOLD:
        return translated("not told")
    words = _LABELS.get((attribute, told))
    return translated(words) if words else told


def percent(value: float, digits: int = 1) -> str:
    """A share in the language of the page."""
    locale = Locale.parse(current_language())
    usual = str(locale.percent_formats[None].pattern)
    return format_percent(value, usual.replace("0", "0." + "0" * digits) if digits else usual, locale=locale)


def significant(value: float) -> str:
    """A number with three digits that mean something."""
    return decimal(value, 0 if value == 0 else max(0, 2 - floor(log10(abs(value)))))


def p_words(value: float) -> str:
    """A p-value; the smallest as less than."""
    return f"< {decimal(0.0001, 4)}" if value < 0.0001 else decimal(value, 4) if value < 0.9999 else "1"
