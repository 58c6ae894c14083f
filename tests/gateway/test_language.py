"""Pages in the reader's language: every text has its translation, and each request finds its own."""

from pathlib import Path

import pytest

from deploy.texts import catalogue, texts
from services.gateway.language import LANGUAGES, LOCALE
from tests.support.worklist import Ward


@pytest.mark.parametrize("path", sorted(LOCALE.glob("*.po")), ids=lambda path: path.stem)
def test_every_text_of_the_pages_is_translated_and_no_translation_is_left_over(path: Path) -> None:
    wanted = {message.id for message in texts() if message.id}
    told = {message.id for message in catalogue(path) if message.id and message.string and not message.fuzzy}
    assert len(wanted) > 3
    assert (sorted(map(str, wanted - told)), sorted(map(str, told - wanted))) == ([], [])


@pytest.mark.parametrize("path", sorted(LOCALE.glob("*.po")), ids=lambda path: path.stem)
def test_a_translation_has_the_placeholders_of_its_text(path: Path) -> None:
    assert [str(error) for message in catalogue(path) for error in message.check()] == []


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "en"),
        ({"Accept-Language": "fr-FR,fr;q=0.9,en;q=0.8"}, "fr"),
        ({"Accept-Language": "de, fr;q=0.2, en;q=0.7"}, "en"),
        ({"Accept-Language": "fr;q=nonsense"}, "en"),
        ({"Accept-Language": "en", "Cookie": "vigie_language=fr"}, "fr"),
        ({"Accept-Language": "fr", "Cookie": "vigie_language=../../etc/passwd"}, "fr"),
    ],
)
def test_a_page_is_in_the_language_that_was_chosen_or_else_asked_for(
    tmp_path: Path, headers: dict[str, str], language: str
) -> None:
    assert language in LANGUAGES
    page = Ward(tmp_path).client().get("/", headers=headers).text
    assert f'<html lang="{language}"' in page
    assert ("Skip to content" in page) == (language == "en")
