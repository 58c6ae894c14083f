"""The HTML templates, autoescaped, with the words of the pages as filters."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.templating import Jinja2Templates

from services import __version__
from services.gateway import wording
from services.gateway.access.caller import person_of
from services.gateway.history_words import cause_words, what_words
from services.gateway.language import LANGUAGES, current_language, decimal, translated, translated_plural
from services.gateway.navigation import home_of, nav_items
from services.gateway.preferences import preferences
from services.gateway.reason_words import code_words, reason_words

TEMPLATES = Path(__file__).parent / "templates"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(translated, translated_plural, newstyle=True)  # type: ignore[attr-defined]
    environment.filters.update(
        age=wording.age_words,
        again=wording.again_words,
        cause=cause_words,
        caveats=wording.caveats,
        clock=wording.clock_words,
        decimal=decimal,
        counted=wording.count_words,
        da=wording.date_words,
        duration=wording.duration_words,
        meaning=code_words,
        moment=wording.moment_words,
        person=wording.person_words,
        priority_from=wording.priority_from_words,
        reason=reason_words,
        saying=wording.saying,
        score=wording.score_words,
        size=wording.size_words,
        spread=wording.spread_words,
        time_of_day=wording.time_of_day_words,
        tm=wording.time_words,
        what=what_words,
        two_digits=wording.two_digits_words,
        years=wording.years_words,
        zip=zip,
    )
    environment.globals.update(
        version=__version__,
        language=current_language,
        languages=LANGUAGES,
        state_words=wording.STATE_WORDS,
        languages_by_name={"en": "English", "fr": "Français"},
        home_of=home_of,
        nav_items=nav_items,
        priority_words=wording.PRIORITY_WORDS,
        ai_words=wording.AI_WORDS,
        reading_words=wording.READING_WORDS,
        saying_of_row=wording.saying_of_row,
        had_said=wording.had_said,
        read_as_usual=wording.read_as_usual,
    )
    return environment


def _asked_by(request: Request) -> dict[str, Any]:
    """person: who is signed in, if anybody is."""
    return {"person": person_of(request), "sign_in_is_set_up": request.app.state.sign_in is not None}


pages = Jinja2Templates(env=_environment(), context_processors=[preferences, _asked_by])
