"""The observatory's pages and its CSV."""

from functools import partial
from itertools import islice
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from services.gateway.desk import PAGE_SIZE, TheDesk
from services.gateway.language import translated as _
from services.gateway.observatory import plots, words
from services.gateway.observatory.choice import Choice, TheChoice, key_of
from services.gateway.observatory.listing import Part, behind
from services.gateway.observatory.looking import Lately
from services.gateway.observatory.sheet import csv_of
from services.gateway.people import ThePerson, only
from services.gateway.templates import pages
from services.observatory.agreement import Measure
from services.observatory.figures import ALPHA, Figures, co2_g
from services.observatory.history import Attribute

observers = Depends(only(lambda who: who.observes))
router = APIRouter(include_in_schema=False, dependencies=[observers])

pages.env.filters.update(
    percent=words.percent,
    significant=words.significant,
    p=words.p_words,
    feature_name=lambda feature: _(words.FEATURES[feature]),
)

AGREEMENT = (
    Measure.PPV,
    Measure.NPV,
    Measure.SENSITIVITY,
    Measure.SENSITIVITY_CORRECTED,
    Measure.SENSITIVITY_BLIND,
    Measure.SPECIFICITY,
    Measure.SPECIFICITY_CORRECTED,
    Measure.SPECIFICITY_BLIND,
    Measure.LESION_PPV,
)
BY_GROUP = (Measure.PPV, Measure.SENSITIVITY, Measure.SENSITIVITY_BLIND, Measure.ANALYSED)


def lately(request: Request) -> Lately:
    """What this process looked at lately."""
    return request.app.state.lately  # type: ignore[no-any-return]


TheLately = Annotated[Lately, Depends(lately)]


@router.get("/observatory")
def show_observatory(request: Request, desk: TheDesk, choice: TheChoice, lately: TheLately) -> Response:
    """How well a model version does in a window, and for whom."""
    figures = None
    if choice.model:
        figures = lately.look(choice.window, choice.model, choice.model_version, now=desk.clock())
    context = {
        "choice": choice,
        "key_of": key_of,
        "attributes": words.ATTRIBUTES,
        "out_of_scope": desk.store.observations.out_of_scope(choice.window.span),
        "oldest_queued_at": desk.store.observations.oldest_queued_at(),
        "now": desk.clock(),
        "link": partial(_link, choice),
        **(told(figures, choice.by, grid_g_per_kwh=desk.settings.grid_g_per_kwh) if figures else {"figures": None}),
    }
    return pages.TemplateResponse(request, "observatory/observatory.html", context)


def told(figures: Figures, by: Attribute, *, grid_g_per_kwh: float) -> dict[str, object]:
    """What the template of the figures needs, on the page and in the report."""
    grouping = next(one for one in figures.groupings if one.attribute is by)
    features = [(_(words.FEATURES[one.feature]), one) for one in figures.drifts]
    chart = figures.flag_chart
    return {
        "figures": figures,
        "alpha": ALPHA,
        "words": words,
        "agreement": AGREEMENT,
        "coverage": [one for one in Measure if one not in AGREEMENT],
        "grouping": grouping,
        "by_group": BY_GROUP,
        "forest": plots.forest([(_(words.MEASURES[one].name), figures.measures[one]) for one in AGREEMENT]),
        "group_forests": {
            measure: plots.forest(
                [(words.label(by, one.label), one.measures[measure]) for one in grouping.groups],
                figures.measures[measure],
            )
            for measure in BY_GROUP
        },
        "froc": plots.froc_curve(figures.froc, _("False lesions per study")),
        "reliability": plots.reliability(figures.calibration.bins, _("Mean score")),
        "flag_rate": plots.flag_rate(chart, _("sum upwards"), _("sum downwards")) if chart else None,
        "drift": plots.drift_bars(features),
        "features": features,
        "grid_g_per_kwh": grid_g_per_kwh,
        "co2_g": lambda joules: co2_g(joules, grid_g_per_kwh),
    }


def _link(choice: Choice, measure: Measure, part: str, group: str | None = None) -> str | None:
    """Where the studies behind a figure are listed; None: it was not counted from a list of studies."""
    if measure not in words.LINKED:
        return None
    of_group = "" if group is None else f"&{urlencode({'group': group})}"
    return f"/observatory/studies?{choice.query(measure=measure, part=part)}{of_group}"


@router.get("/observatory/studies")
def show_studies(
    request: Request,
    desk: TheDesk,
    choice: TheChoice,
    person: ThePerson,
    measure: Annotated[Measure, Query()] = Measure.ANALYSED,
    part: Annotated[Part, Query()] = Part.AMONG,
    group: Annotated[str | None, Query(max_length=200)] = None,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """The studies that a figure was counted from; identities only for those who see patients."""
    span = choice.window.span_of(choice.model, choice.model_version)
    attribute = None if group is None else choice.by
    found = behind(desk.store.observations.records(span), measure, part, attribute=attribute, label=group or "")
    rows = list(islice(found, offset, offset + PAGE_SIZE + 1))
    shown = rows[:PAGE_SIZE]
    whose = (
        desk.store.observations.attributes([one.study_instance_uid for one in shown]) if person.sees_patients else {}
    )
    context = {
        "choice": choice,
        "rows": shown,
        "whose": whose,
        "sees_patients": person.sees_patients,
        "measure": measure,
        "part": part,
        "group": group,
        "offset": offset,
        "limit": PAGE_SIZE,
        "more": len(rows) > PAGE_SIZE,
        "words": words,
    }
    return pages.TemplateResponse(request, "observatory/studies.html", context)


@router.get("/observatory.csv")
def download_csv(desk: TheDesk, choice: TheChoice, lately: TheLately) -> Response:
    """Every figure on a line of its own, of all studies and of each group."""
    figures = None
    if choice.model:
        figures = lately.look(choice.window, choice.model, choice.model_version, now=desk.clock())
    name = f"observatory_{choice.window.first}_{choice.window.last}.csv"
    return Response(
        csv_of(figures),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
