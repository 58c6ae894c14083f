"""The month's report for the board that oversees the AI: one HTML file that needs nothing beside it and prints well."""

from calendar import monthrange
from collections.abc import Sequence
from datetime import date, datetime

from markupsafe import Markup

from services.gateway.language import speaking
from services.gateway.observatory.looking import Window
from services.gateway.observatory.pages import told
from services.gateway.observatory.words import ATTRIBUTES
from services.gateway.templates import TEMPLATES, pages
from services.observatory.figures import Figures
from services.observatory.history import Attribute

OTHERS = tuple(one for one in Attribute if one is not Attribute.SEX)
STATIC = TEMPLATES.parent / "static"


def month(text: str) -> Window:
    """The window of a month, written YYYY-MM. Raises ValueError."""
    first = datetime.strptime(text, "%Y-%m").date()  # noqa: DTZ007 - a month has no zone; its days are those of UTC
    return Window(first=first, last=date(first.year, first.month, monthrange(first.year, first.month)[1]))


def write_report(
    found: Sequence[Figures],
    window: Window,
    *,
    out_of_scope: dict[str, int],
    language: str,
    grid_g_per_kwh: float,
    now: datetime,
) -> str:
    """HTML, a chapter per model version, by sex, age and scanner. Raises ValueError: no such language."""
    grid = {"grid_g_per_kwh": grid_g_per_kwh}
    with speaking(language):
        chapters = [
            {
                "figures": figures,
                "html": _html(
                    "figures", told(figures, by=Attribute.SEX, **grid), link=_no_link, out_of_scope=out_of_scope
                ),
                "others": [
                    (ATTRIBUTES[by], _html("groups", told(figures, by=by, **grid), link=_no_link)) for by in OTHERS
                ],
            }
            for figures in found
        ]
        style = "".join((STATIC / name).read_text() for name in ("vigie.css", "observatory.css"))
        return pages.env.get_template("observatory/report.html").render(
            chapters=chapters, window=window, style=style, now=now
        )


def _html(part: str, context: dict[str, object], **more: object) -> Markup:
    return Markup(pages.env.get_template(f"observatory/{part}.html").render({**context, **more}))  # noqa: S704 - ours


def _no_link(*_: object) -> None:
    """A file has no studies behind it."""
