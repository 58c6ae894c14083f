"""The language of a request's pages: its cookie, else what the browser asks for, else English.

English texts stand in the code and in the templates; `locale/*.po` hold the others, read once at the start.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path

from babel import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import Translations
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

LOCALE = Path(__file__).parent / "locale"
COOKIE = "vigie_language"
ENGLISH = "en"


def _read(path: Path) -> NullTranslations:
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=path.stem))
    compiled.seek(0)
    return Translations(compiled)


_TRANSLATIONS: dict[str, NullTranslations] = {
    ENGLISH: NullTranslations(),
    **{path.stem: _read(path) for path in sorted(LOCALE.glob("*.po"))},
}
LANGUAGES = tuple(_TRANSLATIONS)
"""Codes (ISO 639-1) of the languages that there are, English first."""

_current: ContextVar[str] = ContextVar("language", default=ENGLISH)


def current_language() -> str:
    """The code of the language that this request is answered in."""
    return _current.get()


def translated(text: str) -> str:
    """A text in the language of this request; import it as `_`."""
    return _TRANSLATIONS[_current.get()].gettext(text)


def translated_plural(one: str, many: str, count: int) -> str:
    """The form of a text that goes with a count, in the language of this request."""
    return _TRANSLATIONS[_current.get()].ngettext(one, many, count)


def decimal(value: float, digits: int = 2) -> str:
    """A number in the language of this request."""
    return format_decimal(value, "#,##0" + ("." + "0" * digits if digits else ""), locale=_current.get())


def noted(text: str) -> str:
    """Marks a text of a table for translation; `translated` is called where it is shown."""
    return text


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Texts are in this language meanwhile. Raises ValueError: there is none of this code."""
    if language not in _TRANSLATIONS:
        raise ValueError(f"'{language}' is none of {', '.join(LANGUAGES)}")
    token = _current.set(language)
    try:
        yield
    finally:
        _current.reset(token)


class PageLanguage:
    """ASGI middleware: finds the language of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with speaking(_of(Headers(scope=scope))):
            await self.app(scope, receive, send)


def _of(headers: Headers) -> str:
    chosen = cookie_parser(headers.get("cookie", "")).get(COOKIE)
    if chosen in _TRANSLATIONS:
        return chosen
    return negotiate_locale(_preferred(headers.get("accept-language", "")), LANGUAGES, sep="-") or ENGLISH


def _preferred(accept_language: str) -> Sequence[str]:
    """Language ranges by falling weight (RFC 9110 12.5.4)."""
    ranges = []
    for each in accept_language.split(","):
        tag, _, weight = each.strip().partition(";q=")
        try:
            ranges.append((-float(weight or 1), tag))
        except ValueError:
            continue
    return [tag for _, tag in sorted(ranges, key=lambda one: one[0]) if tag]
