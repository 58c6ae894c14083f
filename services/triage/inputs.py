"""Which series of a study are the inputs of a model that looks at several at once (T1c, T1, T2 and FLAIR).

An input tells its modality and patterns; one of these is found in a series' words (its descriptions, folded, and the
word 'contrastagent' where `contrast.has_contrast`). Inputs of the usual names of brain MR need no patterns. Of several
series, the one that routing would choose (`routing.best_of`) among those in the frame of reference of the primary. The
primary is the series that routing chose, where it is one of them, else the first input's.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from services.triage.contrast import has_contrast, says_without
from services.triage.errors import Reason
from services.triage.job import JobPlan
from services.triage.model import ModelInput
from services.triage.routing import best_of
from services.triage.study import Series
from services.triage.traits import Traits, fold, traits_of

_T1 = r"(?=.*(\bt1|mp ?rage|\bbravo\b|\bspgr\b|\bvibe\b))"
_BEFORE = r"\b(pre|without|w ?o|non|no|sans|ohne|nativ\w*|plain|unenhanced)\b"
_AFTER = r"(\bt1 ?(c|ce|gd|km)\b|\b(post|gd|gad\w*|dotarem|contrast|enhanced|ce|km|kontrast\w*|inject\w*|injizie\w*)\b)"
# of a whole protocol, and not of one of its series
_WITH_AND_WITHOUT = r"\b(w|with|avec|mit) ((and|et|und) )?(w ?o|without|sans|ohne)\b"
USUAL_PATTERNS = {
    "t1c": (rf"^(?!.*{_BEFORE}){_T1}(?=.*({_AFTER}|contrastagent))",),
    "t1": (rf"^(?!.*contrastagent)(?!.*{_AFTER}){_T1}", rf"^(?=.*{_BEFORE}){_T1}"),
    "t2": (r"^(?!.*(flair|dark ?fluid|t2 ?star|\bt2 s\b|\bt1))(?=.*\bt2)",),
    "flair": (r"^(?!.*\bt1)(?=.*(flair|dark ?fluid))",),
}
"""By the input's name, folded, without 'w' and 'e' at its end: T1w and T1 are one."""

MISSING_INPUT, OTHER_FRAME = "missing_input", "other_frame_of_reference"


def with_inputs(plan: JobPlan, series: Sequence[Series], inputs: Sequence[ModelInput]) -> JobPlan:
    """The plan with the series of each input; a refusal where one is missing, or lies in another frame of reference.

    A plan for a model without inputs of its own, and one that is a refusal already, stays as it is.
    """
    if not inputs or plan.refusal is not None:
        return plan
    traits = [traits_of(one) for one in series]
    fitting = [_fitting(traits, wanted) for wanted in inputs]
    primary = _primary(plan, fitting)
    frame = primary.series.header.frame_of_reference_uid if primary else ""
    chosen: list[Traits | None] = []
    for candidates in fitting:
        if primary in candidates and primary not in chosen:
            chosen.append(primary)
            continue
        free = [one for one in candidates if one not in (primary, *chosen)]
        here = [one for one in free if one.series.header.frame_of_reference_uid == frame]
        chosen.append(best_of(here or free) if free else None)
    found = [one.series.header for one in chosen if one is not None]
    if len(found) < len(inputs):
        missing = [wanted.name for wanted, one in zip(inputs, chosen, strict=True) if one is None]
        return _refused(plan, MISSING_INPUT, f"missing {', '.join(missing)}")
    frames = [header.frame_of_reference_uid for header in found]
    apart = [wanted.name for wanted, told in zip(inputs, frames, strict=True) if not told or told != frame]
    if apart:
        return _refused(plan, OTHER_FRAME, f"not in the frame of reference of the other series: {', '.join(apart)}")
    uids = tuple(header.series_instance_uid for header in found)
    return replace(plan, series_instance_uid=_uid(primary), input_series=uids)


def _fitting(traits: Sequence[Traits], wanted: ModelInput) -> list[Traits]:
    patterns = wanted.patterns or USUAL_PATTERNS.get(re.sub(r"[we]$", "", fold(wanted.name)), ())
    return [
        one
        for one in traits
        if one.never is None
        and one.series.header.modality == wanted.modality
        and any(re.search(pattern, _words(one)) for pattern in patterns)
    ]


def _words(traits: Traits) -> str:
    """Folded, but for the star of T2*, which is another contrast, and the minus of C-."""
    header = traits.series.header
    told = (header.series_description, header.protocol_name)
    words = fold(*(says_without(text).replace("*", " star ") for text in told))
    words = re.sub(_WITH_AND_WITHOUT, "", words)
    return f"{words} contrastagent" if has_contrast(header) else words


def _primary(plan: JobPlan, fitting: Sequence[Sequence[Traits]]) -> Traits | None:
    """The planned series where it is an input, else the best of the first input."""
    planned = (one for some in fitting for one in some if _uid(one) == plan.series_instance_uid)
    return next(planned, best_of(fitting[0]) if fitting[0] else None)


def _uid(traits: Traits | None) -> str | None:
    return traits.series.series_instance_uid if traits is not None else None


def _refused(plan: JobPlan, code: str, text: str) -> JobPlan:
    return replace(plan, series_instance_uid=None, refusal=Reason(code=code, text=text))
