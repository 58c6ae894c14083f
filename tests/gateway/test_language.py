"""Pages in the reader's language: every text has its translation, and each request finds its own."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.texts import catalogue, texts
from services.gateway.language import LANGUAGES, LOCALE, speaking
from services.gateway.verdict_words import lesion_words, viewer_texts
from services.gateway.wording import size_words, years_words
from services.triage.finding import Flag
from services.triage.verdict import MarkedLesion
from tests.support.worklist import Ward, found


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


def test_a_mark_of_french_stands_behind_a_space_that_no_line_ends_at() -> None:
    told = [words for message in catalogue(LOCALE / "fr.po") if message.id for words in _forms(message.string)]
    told = [words.replace("Authorization: Bearer", "") for words in told]  # HTTP, not French
    assert [words for words in told if re.search(r" [:;!?»]|« |\w[;!?](\s|$)|\w:(\s|$)", words)] == []


def _forms(string: str | tuple[str, ...]) -> tuple[str, ...]:
    return (string,) if isinstance(string, str) else tuple(string)


@pytest.mark.parametrize("path", ["/studies/{uid}", "/observatory", "/models"])
def test_a_page_in_french_sets_no_colon_on_a_word(tmp_path: Path, path: str) -> None:
    ward = Ward(tmp_path)
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    ward.now += timedelta(days=1)  # the observatory's window ends with yesterday
    page = ward.client().get(path.format(uid=Ward.uid(1)), headers={"Accept-Language": "fr"}).text
    shown = re.sub(r"(?s)<(style|script).*?</\1>|<[^>]*>", "", page)
    assert "\u00a0:" in shown
    assert re.findall(r"[^\W\d]+: ", shown) == []


def test_numbers_that_readers_gave_ages_and_sizes_are_written_as_the_language_does() -> None:
    lesion = MarkedLesion(long_axis_mm=12.5, volume_ml=1.25)
    told = {}
    for language in ("en", "fr"):
        with speaking(language):
            told[language] = [*lesion_words(lesion), years_words("001Y"), years_words("063Y"), size_words(15_800)]
            assert (viewer_texts()["colon"] == ":") == (language == "en")
    assert told == {
        "en": ["12.5 mm", "1.25 mL", "1 y", "63 y", "15.8 kB"],
        "fr": ["12,5 mm", "1,25 mL", "1 an", "63 ans", "15,8\u00a0ko"],
    }


def test_a_page_that_is_not_there_says_so_in_the_language_of_the_reader(tmp_path: Path) -> None:
    client = Ward(tmp_path).client()
    page = client.get("/nowhere", headers={"Accept": "text/html", "Accept-Language": "fr"})
    assert page.status_code == 404
    assert "Rien à cette adresse" in page.text
    assert client.get("/api/nowhere").json()["code"] == "http_error"
