"""The texts of the pages, for translation.

`python -m deploy.texts` adds new ones to every catalogue, empty, and takes out those that are gone. A test fails while
one is empty.
"""

from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from services.gateway.language import LOCALE

GATEWAY = Path(__file__).parents[1] / "services" / "gateway"
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")]
KEYWORDS = {
    "_": None,
    "gettext": None,
    "translated": None,
    "noted": None,
    "ngettext": (1, 2),
    "translated_plural": (1, 2),
}
OPTIONS = {"templates/**.html": {"extensions": "jinja2.ext.i18n", "trimmed": "true", "silent": "false"}}


def texts() -> Catalog:
    """All that stand in the code and in the templates, with the files they are from."""
    found = Catalog(project="vigie", charset="utf-8")
    for name, _line, message, comments, context in extract_from_dir(
        GATEWAY, method_map=METHODS, options_map=OPTIONS, keywords=KEYWORDS
    ):
        found.add(message, locations=[(name, 0)], auto_comments=comments, context=context)
    return found


def catalogue(path: Path) -> Catalog:
    """One language's translations."""
    with path.open("rb") as file:
        return read_po(file, locale=path.stem)


def main() -> None:
    """Bring every catalogue up to date."""
    for path in sorted(LOCALE.glob("*.po")):
        told = catalogue(path)
        told.update(texts(), no_fuzzy_matching=True)
        told.obsolete.clear()
        with path.open("wb") as file:
            write_po(
                file, told, width=100, include_lineno=False, omit_header=True, sort_output=True, ignore_obsolete=True
            )
        missing = [message.id for message in told if message.id and not _is_told(message.string)]
        print(f"{path.name}: {len(told)} texts, {len(missing)} without a translation")  # noqa: T201
        for text in missing:
            print(f"  {text}")  # noqa: T201


def _is_told(string: object) -> bool:
    return all(string) if isinstance(string, tuple | list) else bool(string)


if __name__ == "__main__":
    main()
