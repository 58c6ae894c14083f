"""How a person wants the pages: language, light or dark, single-key shortcuts. Kept in cookies of this browser."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from services.gateway.language import COOKIE as LANGUAGE_COOKIE
from services.gateway.language import LANGUAGES

THEME_COOKIE, KEYS_COOKIE = "vigie_theme", "vigie_keys"
_A_YEAR_S = 365 * 86400

router = APIRouter(include_in_schema=False)


class Theme(StrEnum):
    """system: as the browser or the operating system has it."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class Keys(StrEnum):
    """Whether single keys are shortcuts (WCAG 2.1.4)."""

    ON = "on"
    OFF = "off"


def preferences(request: Request) -> dict[str, str]:
    """What every page is told of them."""
    theme, keys = request.cookies.get(THEME_COOKIE), request.cookies.get(KEYS_COOKIE)
    return {
        "theme": theme if theme in list(Theme) else Theme.SYSTEM,
        "keys": keys if keys in list(Keys) else Keys.ON,
    }


@router.post("/preferences")
def prefer(
    request: Request,
    language: Annotated[str | None, Form(pattern=f"^({'|'.join(LANGUAGES)})$")] = None,
    theme: Annotated[Theme | None, Form()] = None,
    keys: Annotated[Keys | None, Form()] = None,
    back: Annotated[str, Form(max_length=2000, pattern=r"^/([^/\\].*)?$")] = "/",
) -> Response:
    """Remember a choice, and go back to the page that it was made on."""
    answer = RedirectResponse(back, status_code=303)
    for name, value in ((LANGUAGE_COOKIE, language), (THEME_COOKIE, theme), (KEYS_COOKIE, keys)):
        if value is not None:
            secure = request.url.scheme == "https"
            answer.set_cookie(name, value, max_age=_A_YEAR_S, httponly=True, samesite="lax", secure=secure)
    return answer
