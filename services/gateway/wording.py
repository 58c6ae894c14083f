"""The words and numbers of the pages: what a person reads for a state, a score, a name, an age."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydicom.valuerep import PersonName

from services.backends.store.board import AiSays, ResultRow, ShownState, StudyRow, ai_says
from services.gateway.language import decimal, noted, translated_plural
from services.gateway.language import translated as _
from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome, two_digits
from services.triage.job import OrderPriority
from services.triage.organ import organs_only
from services.triage.reading import ReadAgain, ReadingState
from services.triage.uncertainty import Spread
from services.triage.workitem import ProcedureStepState

_Key = TypeVar("_Key")


class Words(Mapping[_Key, str]):
    """Words by what they stand for, each in the language of the request that looks it up."""

    def __init__(self, words: Mapping[_Key, str]) -> None:
        self._words = words

    def __getitem__(self, key: _Key) -> str:
        return _(self._words[key])

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)


_READ_AS_USUAL = noted("Read as usual.")

STATE_WORDS = Words(
    {
        ShownState.RECEIVING: noted("Receiving"),
        ShownState.QUEUED: noted("Queued"),
        ShownState.ANALYSING: noted("Analysing"),
        ShownState.ANALYSED: noted("Analysed"),
        ShownState.NOT_ANALYSED: noted("Not analysed"),
        ShownState.FAILED: noted("Failed"),
        ShownState.OUT_OF_SCOPE: noted("Out of scope"),
    }
)

PRIORITY_WORDS = Words(
    {OrderPriority.STAT: noted("STAT"), OrderPriority.HIGH: noted("High"), OrderPriority.ROUTINE: noted("Routine")}
)

AI_WORDS = Words(
    {
        AiSays.URGENT: noted("Urgent"),
        AiSays.ELEVATED: noted("Elevated"),
        AiSays.FOUND: noted("Found, below the flags"),
        AiSays.EQUIVOCAL: noted("Equivocal"),
        AiSays.NOTHING: noted("Nothing found"),
        AiSays.ORGANS: noted("AI measured organs only"),
        AiSays.UNSEEN: noted("AI did not look"),
        AiSays.WAITING: noted("No AI result yet"),
        AiSays.WITHHELD: noted("AI result withheld"),
    }
)

READING_WORDS = Words(
    {ReadingState.UNREAD: noted("Unread"), ReadingState.TAKEN: noted("Taken"), ReadingState.READ: noted("Read")}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Saying:
    """What the AI has to say, for a person.

    kind: the CSS class and the sign before the title. Those of a model that looked (urgent, elevated, found,
    equivocal, nothing), of one that looked for no lesions (organs) and of one that did not look (unseen, waiting) share
    no colour, no sign and no title.
    """

    kind: AiSays
    title: str
    note: str


_LOOKED = {
    AiSays.URGENT: (noted("Urgent"), noted("Lesions found.")),
    AiSays.ELEVATED: (noted("Elevated"), noted("Lesions found.")),
    AiSays.FOUND: (noted("Found"), noted("Lesions found, score below the flags.")),
    AiSays.EQUIVOCAL: (noted("Equivocal"), noted("Candidates between the model's thresholds.")),
    AiSays.NOTHING: (noted("Nothing found"), noted("The model looked. It can miss lesions.")),
    AiSays.ORGANS: (noted("AI measured organs only"), noted("It did not look for tumours. Read as usual.")),
}

_UNSEEN = {
    Outcome.NOT_ANALYSED: (noted("AI did not look"), _READ_AS_USUAL),
    Outcome.FAILED: (noted("AI failed"), _READ_AS_USUAL),
}

_WITHOUT_RESULT = {
    ShownState.RECEIVING: (noted("No AI result yet"), noted("Images still arrive.")),
    ShownState.QUEUED: (noted("No AI result yet"), noted("Waits for its analysis.")),
    ShownState.ANALYSING: (noted("No AI result yet"), noted("The model is looking now.")),
    ShownState.OUT_OF_SCOPE: (noted("Not for the AI"), _READ_AS_USUAL),
}

_WITHHELD = (
    noted("AI result withheld"),
    noted("Shown once you have read the study and given your own assessment."),
)
_RECALLED = (noted("AI result recalled"), _READ_AS_USUAL)
_SWITCHED_OFF = (noted("Model switched off"), _READ_AS_USUAL)
_NO_RESULT = (noted("No AI result"), _READ_AS_USUAL)


def read_as_usual() -> str:
    """What is said wherever the AI says nothing."""
    return _(_READ_AS_USUAL)


def _saying(kind: AiSays, words: tuple[str, str]) -> Saying:
    return Saying(kind=kind, title=_(words[0]), note=_(words[1]))


def saying_of_row(row: ResultRow) -> Saying:
    """What a study's page says of one result: first that it counts no more, where that is so."""
    if not row.counts_no_more:
        return saying_of_result(row.outcome, row.flag, row.reason)
    return _saying(AiSays.UNSEEN, _SWITCHED_OFF if row.kept_back and row.switched_off else _RECALLED)


def saying_of_result(outcome: Outcome, flag: Flag, reason: Reason | None) -> Saying:
    """What one result said when it was frozen. reason: why no model looked for lesions, where none did."""
    kind = ai_says(ShownState.ANALYSED, outcome, flag, reason, recalled=False)
    return _saying(kind, _LOOKED[kind] if kind in _LOOKED else _UNSEEN[outcome])


def saying(row: StudyRow) -> Saying:
    """What the work list says for the AI of one study."""
    if row.withheld_until is not None:
        return _saying(row.ai_says, _WITHHELD)
    if row.recalled:
        return _saying(row.ai_says, _RECALLED)
    if row.outcome is None or row.flag is None:
        return _saying(row.ai_says, _WITHOUT_RESULT.get(row.state, _NO_RESULT))
    said = saying_of_result(row.outcome, row.flag, row.result_reason)
    # another word: it was said by a model that is switched off
    return said if said.kind is row.ai_says else _saying(row.ai_says, _SWITCHED_OFF)


def had_said(outcome: Outcome, flag: Flag) -> str:
    """What a result said that counts no more."""
    return _("It had said: {title}. That does not count.").format(title=saying_of_result(outcome, flag, None).title)


def caveats(row: StudyRow) -> list[str]:
    """What the leading result alone would hide."""
    found = []
    if row.result_version is not None and row.result_version < row.version:
        found.append(_("Of version {number}: what came since is not in it.").format(number=row.result_version))
    if row.switched_off and row.outcome is not None and row.outcome.analysed:
        found.append(had_said(row.outcome, row.flag or Flag.ROUTINE))
    if row.already_reported:
        found.append(_("Reported before: the study keeps the place that its first result gave it."))
    if row.review is ProcedureStepState.IN_PROGRESS:
        found.append(_("Another system has claimed its review."))
    if row.review is ProcedureStepState.COMPLETED:
        found.append(_("Another system has completed its review."))
    return found + _of_another_model(row)


def _of_another_model(row: StudyRow) -> list[str]:
    """That beside the leading result another model failed, refused the study, or looks for no lesions."""
    if row.outcome is None or not row.outcome.analysed or row.state not in (ShownState.FAILED, ShownState.NOT_ANALYSED):
        return []
    if organs_only(row.reason):
        return [_("Another model measured organs only.")]
    return [_("Another model gave no result: see the state.")]


_AGAIN = {
    ReadAgain.NEW_IMAGES: noted("Read before; images came since."),
    ReadAgain.FLAGGED: noted("Read before; the AI flagged it since."),
}


def again_words(again: ReadAgain) -> str:
    """Why a study is to be read again."""
    return _(_AGAIN[again])


def priority_from_words(told: str) -> str:
    """What gave the priority (`triage.routing.order_priority`), '' where nothing raised it."""
    kind, _space, name = told.partition(" ")
    words = {
        "order": noted("by the order"),
        "rule": noted("by rule {name}"),
        "ae": noted("by sender {name}"),
        "asked": noted("as was asked"),
    }
    return _(words[kind]).format(name=name) if kind in words else ""


def two_digits_words(score: float) -> str:
    """A score in the language of the page."""
    return decimal(float(two_digits(score)))


def score_words(score: float | None, *, calibrated: bool) -> str:
    """A score with its meaning, e.g. 'score 0.93 (not calibrated on patients)'; never called a probability."""
    if score is None:
        return _("no score")
    meaning = (noted("score {score} (calibrated on patients)"), noted("score {score} (not calibrated on patients)"))
    return _(meaning[not calibrated]).format(score=two_digits_words(score))


def spread_words(spread: Spread) -> str:
    """How a score varies, e.g. '0.86 to 0.94 over 4 runs, SD 0.03'."""
    return _("{lowest} to {highest} over {runs} runs, SD {sd}").format(
        lowest=two_digits_words(spread.lowest),
        highest=two_digits_words(spread.highest),
        runs=spread.runs,
        sd=decimal(spread.sd),
    )


def count_words(row: StudyRow) -> str:
    """How many lesions (found) or candidates (equivocal) there are."""
    count = row.lesion_count
    if row.outcome is Outcome.EQUIVOCAL:
        return translated_plural("{count} candidate", "{count} candidates", count).format(count=count)
    return translated_plural("{count} lesion", "{count} lesions", count).format(count=count)


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
    return _("{days} d {hours} h").format(days=days, hours=hours % 24)


def duration_words(seconds: float) -> str:
    """A time that is counted to the second: '0:42', '12:07', '1:02:30'."""
    minutes, left = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def person_words(value: str) -> str:
    """A name (VR PN, PS3.5 6.2.1) as 'FAMILY, Given', with its ideographic and phonetic forms behind it."""
    groups = [PersonName(group).family_comma_given().strip(" ,") for group in value.split("=") if group.strip("^ ")]
    return " · ".join(groups) or _("(no name)")


def date_words(value: str) -> str:
    """A date (VR DA) as YYYY-MM-DD; whatever else came, as it came."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value


def time_words(value: str) -> str:
    """A time (VR TM) as HH:MM; whatever else came, as it came."""
    return f"{value[:2]}:{value[2:4]}" if len(value) >= 4 and value[:4].isdigit() else value


_AGE_UNITS = {"D": noted("{count} d"), "W": noted("{count} w"), "M": noted("{count} m")}


def years_words(value: str) -> str:
    """An age (VR AS) such as 063Y as '63 y'."""
    if len(value) != 4 or not value[:3].isdigit():
        return value
    count, unit = int(value[:3]), value[3].upper()
    if unit == "Y":  # French tells one year from more
        return translated_plural("{count} y", "{count} y", count).format(count=count)
    return _(_AGE_UNITS[unit]).format(count=count) if unit in _AGE_UNITS else value


def size_words(size_bytes: int) -> str:
    """A size in SI units: '15.8 kB', '1.2 MB'."""
    if size_bytes < 1_000_000:
        return _("{size} kB").format(size=decimal(size_bytes / 1000, 1))
    return _("{size} MB").format(size=decimal(size_bytes / 1_000_000, 1))


def moment_words(moment: datetime) -> str:
    """A moment in the server's own time zone, to the second."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def clock_words(moment: datetime) -> str:
    """The time of day of a moment in the server's own time zone."""
    return f"{moment.astimezone():%H:%M:%S}"


def time_of_day_words(moment: datetime) -> str:
    """The same to the minute."""
    return f"{moment.astimezone():%H:%M}"
