"""The words and numbers of the pages: what a person reads for a state, a score, a name, an age."""

from dataclasses import dataclass, replace
from datetime import datetime

from pydicom.valuerep import PersonName

from services.backends.store.board import ShownState, StudyRow
from services.gateway.language import noted
from services.gateway.language import translated as _
from services.triage.finding import Flag, Outcome, two_digits
from services.triage.job import OrderPriority
from services.triage.workitem import ProcedureStepState

READ_AS_USUAL = "Read as usual."

STATE_WORDS = {
    ShownState.RECEIVING: "Receiving",
    ShownState.QUEUED: "Queued",
    ShownState.ANALYSING: "Analysing",
    ShownState.ANALYSED: "Analysed",
    ShownState.NOT_ANALYSED: "Not analysed",
    ShownState.FAILED: "Failed",
    ShownState.OUT_OF_SCOPE: "Out of scope",
}

PRIORITY_WORDS = {OrderPriority.STAT: "STAT", OrderPriority.HIGH: "High", OrderPriority.ROUTINE: "Routine"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the AI has to say, for a person.

    kind: the CSS class and the sign before the title. Those of a model that looked (urgent, elevated, found,
    equivocal, nothing) and of one that did not (unseen, waiting) share no colour, no sign and no word.
    """

    kind: str
    title: str
    note: str


_LOOKED = {
    Outcome.EQUIVOCAL: Verdict(kind="equivocal", title="Equivocal", note="Candidates between the model's thresholds."),
    Outcome.NOTHING_FOUND: Verdict(
        kind="nothing", title="Nothing found", note="The model looked. It can miss lesions."
    ),
}

_FOUND = {
    Flag.URGENT: Verdict(kind="urgent", title="Urgent", note="Lesions found."),
    Flag.ELEVATED: Verdict(kind="elevated", title="Elevated", note="Lesions found."),
    Flag.ROUTINE: Verdict(kind="found", title="Found", note="Lesions found, score below the flags."),
}

_UNSEEN = {
    Outcome.NOT_ANALYSED: Verdict(kind="unseen", title="AI did not look", note=READ_AS_USUAL),
    Outcome.FAILED: Verdict(kind="unseen", title="AI failed", note=READ_AS_USUAL),
}

_WITHOUT_RESULT = {
    ShownState.RECEIVING: Verdict(kind="waiting", title="No AI result yet", note="Images still arrive."),
    ShownState.QUEUED: Verdict(kind="waiting", title="No AI result yet", note="Waits for its analysis."),
    ShownState.ANALYSING: Verdict(kind="waiting", title="No AI result yet", note="The model is looking now."),
    ShownState.OUT_OF_SCOPE: Verdict(kind="unseen", title="Not for the AI", note=READ_AS_USUAL),
}

_RECALLED = Verdict(kind="unseen", title="AI result recalled", note=READ_AS_USUAL)
_SWITCHED_OFF = Verdict(kind="unseen", title=noted("Model switched off"), note=READ_AS_USUAL)
_NO_RESULT = Verdict(kind="unseen", title="No AI result", note=READ_AS_USUAL)


def verdict_of_result(outcome: Outcome, flag: Flag) -> Verdict:
    """What one result says."""
    if outcome is Outcome.FOUND:
        return _FOUND[flag]
    return _LOOKED[outcome] if outcome.analysed else _UNSEEN[outcome]


def verdict(row: StudyRow) -> Verdict:
    """What the work list says for the AI of one study."""
    if row.recalled:
        return _RECALLED
    if row.outcome is None or row.flag is None:
        return _WITHOUT_RESULT.get(row.state, _NO_RESULT)
    if row.switched_off and row.outcome.analysed:
        return replace(_SWITCHED_OFF, title=_(_SWITCHED_OFF.title))
    return verdict_of_result(row.outcome, row.flag)


def caveats(row: StudyRow) -> list[str]:
    """What the leading result alone would hide."""
    found = []
    if row.result_version is not None and row.result_version < row.version:
        found.append(f"Of version {row.result_version}: what came since is not in it.")
    if row.switched_off and row.outcome is not None and row.outcome.analysed:
        title = verdict_of_result(row.outcome, row.flag or Flag.ROUTINE).title
        found.append(_("It had said: %(title)s. That does not count.") % {"title": title})
    if row.already_reported:
        found.append("Reported before: the study keeps the place that its first result gave it.")
    if row.review is ProcedureStepState.IN_PROGRESS:
        found.append("A reader has claimed its review.")
    if row.review is ProcedureStepState.COMPLETED:
        found.append("Its review is completed.")
    if row.outcome is not None and row.outcome.analysed and row.state in (ShownState.FAILED, ShownState.NOT_ANALYSED):
        found.append("Another model gave no result: see the state.")
    return found


def score_words(score: float | None, *, calibrated: bool) -> str:
    """A score with its meaning, e.g. 'score 0.93 (not calibrated on patients)'; never called a probability."""
    if score is None:
        return "no score"
    return f"score {two_digits(score)} ({'calibrated on patients' if calibrated else 'not calibrated on patients'})"


def count_words(row: StudyRow) -> str:
    """How many lesions (found) or candidates (equivocal) there are."""
    noun = "candidate" if row.outcome is Outcome.EQUIVOCAL else "lesion"
    return f"{row.lesion_count} {noun}{'' if row.lesion_count == 1 else 's'}"


def age_words(since: datetime, now: datetime) -> str:
    """Time since, in the largest unit that still says enough: '40 s', '12 min', '3 h 05 min', '2 d 4 h'."""
    seconds = max(0, int((now - since).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 1:
        return f"{seconds} s"
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60:02} min"
    return f"{days} d {hours % 24} h"


def person_words(value: str) -> str:
    """A name (VR PN, PS3.5 6.2.1) as 'FAMILY, Given', with its ideographic and phonetic forms behind it."""
    groups = [PersonName(group).family_comma_given().strip(" ,") for group in value.split("=") if group.strip("^ ")]
    return " · ".join(groups) or "(no name)"


def date_words(value: str) -> str:
    """A date (VR DA) as YYYY-MM-DD; whatever else came, as it came."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value


def time_words(value: str) -> str:
    """A time (VR TM) as HH:MM; whatever else came, as it came."""
    return f"{value[:2]}:{value[2:4]}" if len(value) >= 4 and value[:4].isdigit() else value


def years_words(value: str) -> str:
    """An age (VR AS) such as 063Y as '63 y'."""
    return f"{int(value[:3])} {value[3].lower()}" if len(value) == 4 and value[:3].isdigit() else value


def moment_words(moment: datetime) -> str:
    """A moment in the server's own time zone, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
