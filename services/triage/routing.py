"""Which models look at a study, and at which of its series.

Two questions, kept apart. A rule *claims* a study when one of its image series has the rule's modality and body part
(told by Body Part Examined or by words in the descriptions): someone expects an answer then. A series *suits* the rule
when the model can look at it (orientation, thickness, count, image type). A claimed study of which no series suits is
`not_analysed`, with a reason per series, and so is one whose images are of two patients (`identity.two_patients`); a
study that no rule claims is out of scope, and so is one whose headers do not tell the body part.

The body part of a series, from the strongest word to the weakest: its own descriptions; Body Part Examined; the
study's description, unless Body Part Examined is one of the rule's `other_body_parts`.

Of the series that suit, the best is chosen by, in this order: the series itself tells the body part, not only the
study; it covers at least 80 % of the length that the longest of these covers (phases at one place once); the headers
make one regular grid; axial; ORIGINAL; not SECONDARY; the thinnest slices (to 0.1 mm); the most slices; the lowest
series number; the lowest UID.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.triage.contrast import has_contrast
from services.triage.errors import Reason
from services.triage.identity import two_patients
from services.triage.job import JobPlan, OrderPriority, Plan, SeriesRefusal
from services.triage.study import Instance, Series
from services.triage.traits import Orientation, Traits, fold, traits_of

FULL_COVER = 0.8
Patterns = tuple[re.Pattern[str], ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule; models/routing.toml explains every field. Patterns are searched in folded text (`traits.fold`)."""

    name: str
    model_name: str
    modalities: frozenset[str]
    body_parts: frozenset[str] = frozenset()
    descriptions: Patterns = ()
    other_body_parts: frozenset[str] = frozenset()
    other_descriptions: Patterns = ()
    any_body_part: bool = False
    orientations: frozenset[Orientation] = frozenset(Orientation) - {Orientation.MIXED, Orientation.UNKNOWN}
    max_slice_thickness_mm: float | None = None
    min_slices: int = 3
    max_slices: int | None = None
    image_types: frozenset[str] = frozenset()
    contrast: bool | None = None
    manufacturers: Patterns = ()
    order_priority: OrderPriority | None = None


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """A series before a rule: `evidence` 2: the series itself tells the body part, 1: only the study, 0: neither."""

    traits: Traits
    evidence: int
    refusal: Reason | None = field(default=None)


def plan(series: Sequence[Series], rules: Sequence[Rule]) -> Plan:
    """Plan one job per model whose rule claims the study; the first claiming rule of a model speaks for it."""
    all_traits = [traits_of(one) for one in series]
    jobs: dict[str, JobPlan] = {}
    for rule in rules:
        judged = [_judge(traits, rule) for traits in all_traits]
        if any(one.evidence for one in judged) and rule.model_name not in jobs:
            jobs[rule.model_name] = _job(judged, rule)
    if jobs:
        return Plan(jobs=_of_one_patient(series, jobs.values()))
    kinds = ", ".join(sorted({one.header.modality or "none" for one in series})) or "none"
    text = f"no rule claims a study of {len(series)} series (modalities: {kinds}) with these body parts and words"
    return Plan(jobs=(), out_of_scope=Reason(code="no_rule", text=text))


def plan_for_model(series: Sequence[Series], model_name: str, modality: str) -> Plan:
    """Plan for a model that a person asked for: the best series of its modality, whatever the body part."""
    rule = Rule(name="asked for", model_name=model_name, modalities=frozenset({modality}), any_body_part=True)
    return Plan(jobs=_of_one_patient(series, [_job([_judge(traits_of(one), rule) for one in series], rule)]))


def order_priority(
    planned: Plan,
    rules: Sequence[Rule],
    instances: Sequence[Instance],
    of_senders: Mapping[str, OrderPriority] | None = None,
) -> tuple[OrderPriority, str]:
    """The most urgent of what the request says, the rules of the planned models, and who sent the study; and which.

    The request: Requested Procedure Priority (0040,1003) of any instance, of whose values (PS3.3 C.4.11) MEDIUM and LOW
    are routine here. of_senders: by calling AE title. Which: 'order', 'rule NAME', 'ae TITLE', '' where nothing raises
    it; of several the first.
    """
    models = {job.model_name for job in planned.jobs}
    asked = {instance.header.requested_procedure_priority.upper() for instance in instances}
    given = [(priority, "order") for priority in OrderPriority if priority.name in asked]
    given += [
        (rule.order_priority, f"rule {rule.name}")
        for rule in rules
        if rule.model_name in models and rule.order_priority is not None
    ]
    given += [(priority, f"ae {title}") for title, priority in sorted((of_senders or {}).items())]
    raised = [one for one in given if one[0] is not OrderPriority.ROUTINE]
    return min(raised, key=lambda one: one[0], default=(OrderPriority.ROUTINE, ""))


def best_of(traits: Sequence[Traits]) -> Traits:
    """The best of some series that all suit; at least one."""
    return _best([_Judged(traits=one, evidence=2) for one in traits]).traits


def _of_one_patient(series: Sequence[Series], jobs: Iterable[JobPlan]) -> tuple[JobPlan, ...]:
    """The jobs; each a refusal where the images are of two patients, for then no finding would be anybody's."""
    reason = two_patients(instance for one in series for instance in one.instances)
    if reason is None:
        return tuple(jobs)
    return tuple(JobPlan(model_name=job.model_name, series_instance_uid=None, refusal=reason) for job in jobs)


def _judge(traits: Traits, rule: Rule) -> _Judged:
    header = traits.series.header
    if header.modality not in rule.modalities or (traits.never is not None and traits.never.code == "not_an_image"):
        text = f"modality {header.modality[:16] or 'not told'}: no image of {', '.join(sorted(rule.modalities))}"
        return _Judged(traits=traits, evidence=0, refusal=Reason(code="wrong_modality", text=text))
    evidence = _evidence(traits, rule)
    if not evidence:
        text = "neither series nor study tell a body part of the rule"
        return _Judged(traits=traits, evidence=0, refusal=Reason(code="other_body_part", text=text))
    return _Judged(traits=traits, evidence=evidence, refusal=_unsuitable(traits, rule))


def _evidence(traits: Traits, rule: Rule) -> int:
    if rule.any_body_part:
        return 2
    header = traits.series.header
    if _matches(rule.descriptions, traits.words):
        return 2
    if _matches(rule.other_descriptions, traits.words):
        return 0
    body_part = fold(header.body_part_examined).upper()
    if body_part in rule.body_parts:
        return 2
    study_words = fold(traits.series.instances[0].study.study_description)
    return int(body_part not in rule.other_body_parts and _matches(rule.descriptions, study_words))


def _matches(patterns: Patterns, text: str) -> bool:
    return any(pattern.search(text) for pattern in patterns)


def _unsuitable(traits: Traits, rule: Rule) -> Reason | None:
    """The first reason why a series does not suit, None when it does."""
    header, thickness = traits.series.header, traits.thickness_mm
    types = {part.upper() for part in header.image_type}
    limit, most = rule.max_slice_thickness_mm, rule.max_slices
    checks: tuple[tuple[bool, str, Callable[[], str]], ...] = (
        (
            traits.orientation not in rule.orientations,
            "wrong_orientation",
            lambda: f"slices lie {traits.orientation}, not {' or '.join(sorted(rule.orientations))}",
        ),
        (traits.slices < rule.min_slices, "too_few_slices", lambda: f"{traits.slices} of {rule.min_slices} slices"),
        (most is not None and traits.slices > most, "too_many_slices", lambda: f"{traits.slices} slices, over {most}"),
        (
            limit is not None and thickness is not None and thickness > limit,
            "too_thick",
            lambda: f"slices of {thickness:.1f} mm, over {limit:.1f} mm",
        ),
        (not rule.image_types <= types, "wrong_image_type", lambda: f"wanted {', '.join(sorted(rule.image_types))}"),
        (
            rule.contrast not in (None, has_contrast(header)),
            "wrong_contrast",
            lambda: "contrast agent wanted" if rule.contrast else "no contrast agent wanted",
        ),
        (
            bool(rule.manufacturers) and not _matches(rule.manufacturers, fold(header.manufacturer)),
            "wrong_manufacturer",
            lambda: "not of a manufacturer of the rule",
        ),
    )
    if traits.never is not None:
        return traits.never
    return next((Reason(code=code, text=text()) for failed, code, text in checks if failed), None)


def _job(judged: Sequence[_Judged], rule: Rule) -> JobPlan:
    refused = tuple(
        SeriesRefusal(series_instance_uid=one.traits.series.series_instance_uid, reason=one.refusal)
        for one in judged
        if one.refusal is not None
    )
    suitable = [one for one in judged if one.refusal is None]
    if suitable:
        chosen = _best(suitable).traits.series.series_instance_uid
        return JobPlan(model_name=rule.model_name, series_instance_uid=chosen, refused_series=refused)
    told = "; ".join(_told(one) for one in judged if one.refusal)
    text = f"none of {len(judged)} series suits {rule.model_name}: {told or 'the study has no series'}"
    return JobPlan(
        model_name=rule.model_name,
        series_instance_uid=None,
        refusal=Reason(code="no_suitable_series", text=text),
        refused_series=refused,
    )


def _told(one: _Judged) -> str:
    number = one.traits.series.header.series_number
    return f"series {'without number' if number is None else number}: {one.refusal.text if one.refusal else ''}"


def _best(suitable: Sequence[_Judged]) -> _Judged:
    strongest = max(one.evidence for one in suitable)
    longest = max(one.traits.extent_mm for one in suitable if one.evidence == strongest)

    def rank(one: _Judged) -> tuple[bool | int | float | str, ...]:
        traits, number = one.traits, one.traits.series.header.series_number
        return (
            -one.evidence,
            traits.extent_mm < FULL_COVER * longest,
            not traits.regular,
            traits.orientation is not Orientation.AXIAL,
            not traits.original,
            not traits.primary,
            round(traits.thickness_mm or float("inf"), 1),
            -traits.slices,
            float("inf") if number is None else number,
            traits.series.series_instance_uid,
        )

    return min(suitable, key=rank)
