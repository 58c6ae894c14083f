"""Reasons and histories in the language of the page: what has a code is translated, and what has none says so."""

import ast
import re
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.gateway.history_words import WHAT, cause_words
from services.gateway.language import COOKIE, speaking
from services.gateway.reason_words import REASON_WORDS, Told, reason_words
from services.triage import errors, identity, result, retention, switch, uncertainty
from services.triage.errors import Reason
from services.triage.expectation import UNEXPECTED_CODES
from services.triage.finding import Flag, Outcome, without_analysis
from services.triage.job import JobState
from services.triage.result import DeliveryState
from services.triage.study import Event, StudyState
from services.triage.verdict import Answer
from tests.support.worklist import NOW, Ward, found, not_analysed

SERVICES = Path(errors.__file__).parents[1]
OF_STUDIES = ("triage/routing.py", "triage/traits.py", "triage/inputs.py", "triage/geometry.py", "worker/load/*.py")
OF_NO_STUDY = {"staging.py", "served.py"}
"""Of `backends/inference`: a bundle is refused when it is added, or when Triton starts."""
FIXED = (
    switch.MODEL_SWITCHED_OFF,
    retention.IMAGES_GONE,
    identity.NOT_AGREED,
    result.IDENTITY_CORRECTED,
    result.RECALLED,
    result.OVERTAKEN,
    result.MOVED,
    uncertainty.NO_CANDIDATE,
    uncertainty.NOT_ON_GRID,
    uncertainty.NOT_SERVED,
)


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    ward = Ward(tmp_path)
    ward.analysed(1, found(Flag.URGENT, (0.93, 17.2)))
    ward.arrive(2)
    ward.complete(2)
    ward.freeze(2, not_analysed())
    ward.arrive(3)
    ward.complete(3, out_of_scope=Reason(code="no_rule", text="no rule claims a study of 1 series"))
    return ward


@pytest.fixture
def french(ward: Ward) -> TestClient:
    client = ward.client()
    client.cookies.set(COOKIE, "fr")
    return client


def codes(source: str) -> set[str]:
    """Of the reasons that it gives, where they stand in it as words."""
    called = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    errors = {"NotAnalysed", "AnalysisFailed", "ModelRefused"}
    of_errors = [one.args[0] for one in called if getattr(one.func, "id", "") in errors and one.args]
    of_reasons = [key.value for one in called if getattr(one.func, "id", "") == "Reason" for key in one.keywords[:1]]
    words = [one.value for one in (*of_errors, *of_reasons) if isinstance(one, ast.Constant)]
    return {word for word in words if isinstance(word, str)}


def test_every_code_that_a_study_is_not_analysed_for_has_words() -> None:
    sources = [path for pattern in OF_STUDIES for path in SERVICES.glob(pattern)]
    given = {code for path in sources for code in codes(path.read_text())} | UNEXPECTED_CODES
    assert len(given) > 40
    assert given <= REASON_WORDS.keys()


def test_every_code_of_a_broken_bundle_that_a_study_fails_for_has_words() -> None:
    sources = [one for one in SERVICES.glob("backends/inference/*.py") if one.name not in OF_NO_STUDY]
    given = {code for path in sources for code in codes(path.read_text())}
    assert len(given) > 20
    assert given <= REASON_WORDS.keys()


def test_a_study_that_failed_for_a_broken_bundle_says_so_in_the_language_of_the_page(
    ward: Ward, french: TestClient
) -> None:
    ward.arrive(5)
    ward.complete(5)
    text = "bundle 'ct_lung_lesion' has no models/model.pt"
    ward.freeze(5, without_analysis(Outcome.FAILED, Reason(code="no_weights", text=text)))
    words = "le bundle du modèle n'a pas de fichier de poids, ou en a plusieurs"
    page = unescape(french.get(f"/studies/{Ward.uid(5)}").text)
    assert f'{words} <span lang="en">({text})</span> <code>no_weights</code>' in page
    assert f"{words}</div>" in unescape(french.get("/").text)


@pytest.mark.parametrize("reason", FIXED, ids=lambda reason: reason.code)
def test_a_reason_whose_text_is_fixed_is_told_in_one_language(reason: Reason) -> None:
    assert reason_words(reason) == Told(english=reason.text)
    with speaking("fr"):
        told = reason_words(reason)
    assert told.words
    assert not told.english


def test_what_a_text_tells_more_closely_stands_beside_it_in_english(french: TestClient) -> None:
    page = french.get(f"/studies/{Ward.uid(2)}").text
    assert (
        'trop peu de coupes <span lang="en">(9 slices; the model needs 16)</span> <code>too_few_slices</code>' in page
    )
    assert "trop peu de coupes</div>" in french.get("/").text
    assert 'aucune règle ne concerne cet examen <span lang="en">' in french.get(f"/studies/{Ward.uid(3)}").text


def test_an_unknown_reason_stays_as_it_is_and_says_in_what_language(ward: Ward, french: TestClient) -> None:
    ward.arrive(4)
    ward.complete(4)
    ward.freeze(4, not_analysed("of_tomorrow", "a reason of a newer worker"))
    told = '<span lang="en">a reason of a newer worker</span> <code>of_tomorrow</code>'
    assert told in french.get(f"/studies/{Ward.uid(4)}").text


def test_a_history_is_in_french_but_for_names(french: TestClient) -> None:
    page = french.get(f"/studies/{Ward.uid(1)}").text
    lines = re.findall(r"<tr><td class=\"number\">.*?</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", page)
    assert lines == [
        ("En attente", "gateway", "ct_lung_lesion"),
        ("Analyse en cours", "worker-1", "essai 1"),
        ("Figée", "worker-1", "détection"),
        ("À envoyer", "worker-1", "PACS"),
        ("Des images arrivent", "CT1", "une image est arrivée"),
        ("Complet", "gateway", "instances\N{NO-BREAK SPACE}: 3"),
    ]


def test_every_state_and_answer_has_words_in_a_history() -> None:
    assert {*JobState, *DeliveryState, *StudyState, *(f"verdict_{answer}" for answer in Answer)} <= WHAT.keys()


@pytest.mark.parametrize(
    ("what", "cause", "told"),
    [
        (
            "try_failed",
            "PACS answered nothing [destination_unavailable]",
            Told(
                words="la destination ne répond pas, ou refuse l'association",
                english="PACS answered nothing",
            ),
        ),
        ("verdict_reject", "vessel", Told(words="Vaisseau")),
        ("complete", "no_rule", Told(words="aucune règle ne concerne cet examen")),
        ("queued", "found", Told(words="found")),
        ("recalled", "it marks the diaphragm", Told(english="it marks the diaphragm")),
    ],
)
def test_a_cause_is_told_by_its_code_its_pattern_or_as_it_is(what: str, cause: str, told: Told) -> None:
    with speaking("fr"):
        assert cause_words(Event(time=NOW, actor="x", what=what, cause=cause)) == told
