"""What is fetched, and what ends the fetching, of a PACS whose answers are scripted.

With a real PACS: tests/system/test_asking_the_pacs.py.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from services.backends.files import FolderStudyFiles
from services.backends.pacs import RETRIEVE_REFUSED, Retrieved
from services.backends.routing_file import load_rules
from services.backends.store import open_store
from services.gateway import reconciliation
from services.gateway.intake import Intake
from services.gateway.reconciliation import Fate, Reconciliation
from services.settings import Settings
from services.triage.errors import DestinationRefused, DestinationUnavailable, VigieError
from services.triage.pacs import SeriesAtPacs, StudyAtPacs
from tests.support.pacs import one_pacs

DAY = date(2026, 3, 14)
REFUSED = DestinationRefused(RETRIEVE_REFUSED, "PACS@host:104 answered status 0xC000 to a retrieval")
UNKNOWN = DestinationRefused("move_destination_unknown", "PACS@host:104 does not know the AE title VIGIE")
NO_CONTEXT = DestinationRefused("context_rejected", "PACS@host:104 does not accept C-MOVE")
AWAY = DestinationUnavailable("PACS@host:104 cannot be reached")


class Asked:
    """A PACS that has so many studies of one image."""

    def __init__(self, studies: int) -> None:
        self.uids = [f"1.2.{number}" for number in range(studies)]

    def studies(self, _day: date, modality: str) -> list[StudyAtPacs]:
        return [StudyAtPacs(study_instance_uid=uid, modalities=("CT",)) for uid in self.uids if modality == "CT"]

    def series(self, study_instance_uid: str) -> list[SeriesAtPacs]:
        return [SeriesAtPacs(series_instance_uid=f"{study_instance_uid}.1", modality="CT", instances=1)]


@pytest.mark.parametrize(
    ("answers", "fates"),
    [
        ([REFUSED, None, None], "failed fetched fetched"),
        ([REFUSED, REFUSED, None, REFUSED, REFUSED, None], "failed failed fetched failed failed fetched"),
        ([None, REFUSED, REFUSED, REFUSED, None], "fetched failed failed failed found"),
        ([UNKNOWN, None], "failed found"),
        ([NO_CONTEXT, None], "failed found"),
        ([AWAY, None], "failed found"),
    ],
)
def test_a_study_that_the_pacs_cannot_retrieve_keeps_no_other_from_being_fetched(
    answers: list[VigieError | None], fates: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = iter(answers)

    def move(*_: object, **__: object) -> Retrieved:
        if (error := next(script)) is not None:
            raise error
        return Retrieved(completed=1, failed=0)

    @contextmanager
    def questions(*_: object) -> Iterator[Asked]:
        yield Asked(len(answers))

    monkeypatch.setattr(reconciliation, "move", move)
    monkeypatch.setattr(reconciliation, "questions", questions)
    settings = Settings(data=tmp_path)
    work = Reconciliation(
        store=open_store(settings.store_url()),
        settings=settings,
        rules=load_rules(settings.routing),
        intake=Intake(files=FolderStudyFiles(tmp_path), max_instance_bytes=1),
        stop=threading.Event(),
    )
    report = work.run(one_pacs(tmp_path / "pacs.toml", "PACS@host:104", fetch="move"), [DAY])
    named = {Fate.FETCH_FAILED: "failed"}
    assert [named.get(one.fate, one.fate.value) for one in report.shortfalls] == fates.split()
    assert [one.reason for one in report.shortfalls] == [
        str(answer or "") if fate == "failed" else "" for answer, fate in zip(answers, fates.split(), strict=True)
    ]
