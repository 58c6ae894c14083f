"""`vigie audit`: what is listed, shown, exported, verified and taken away, and that each use is in the trail."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lxml import etree
from typer.testing import CliRunner, Result

from services.backends.store import SqlStudyStore
from services.backends.store.audit import chained
from services.backends.store.audit_check import anchor_line
from services.cli import app
from services.triage.audit import AuditActor, AuditAnchor
from services.triage.audit_types import AuditType, audited
from tests.support.records import STUDY, image, sent
from tests.support.trails import new_store

LONG_AGO = datetime(2025, 1, 10, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqlStudyStore:
    monkeypatch.setenv("VIGIE_DATA", str(tmp_path))
    store = new_store(tmp_path)
    store.record(sent(image(1)), now=LONG_AGO)
    assert store.ask_completion(STUDY, actor="reader.one", now=LONG_AGO)
    for day in range(4):
        store.audit.record(
            audited(AuditType.SIGN_IN, AuditActor(name=f"reader.{day}")), now=LONG_AGO + timedelta(days=day)
        )
    return store


def vigie(*words: str) -> Result:
    return CliRunner().invoke(app, ["audit", *words])


def test_records_are_listed_and_shown_and_that_is_recorded(store: SqlStudyStore) -> None:
    listed = vigie("list", "--patient", "P1")
    assert listed.exit_code == 0, listed.output
    assert "completion_asked" in listed.output
    assert "sign_in" not in listed.output
    assert vigie("list", "--person", "nobody").exit_code == 1
    shown = json.loads(vigie("show", "1").stdout)
    assert (shown["type"], shown["objects"][0]["object_id"]) == ("completion_asked", STUDY)
    assert vigie("show", "99").exit_code == 1
    uses = [json.loads(one.document)["objects"][0] for one in store.audit.records(after=5)]
    assert [one["object_id"] for one in uses] == [f"vigie audit {word}" for word in ("list", "list", "show", "show")]
    assert "P1" not in str(uses)


def test_an_export_is_verified_without_the_database(store: SqlStudyStore, tmp_path: Path) -> None:
    assert vigie("export", "--output", str(tmp_path / "trail.jsonl")).exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "trail.jsonl").read_text().splitlines()]
    before = "0" * 64
    for line in lines:
        before = chained(before, line["document"])
        assert line["digest"] == before
    assert [line["sequence"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert vigie("export", "--xml", "--type", "sign_in", "-o", str(tmp_path / "x.xml")).exit_code == 0
    messages = [etree.fromstring(line.encode()) for line in (tmp_path / "x.xml").read_text().splitlines()]
    assert [one.tag for one in messages] == ["AuditMessage"] * 4


def test_verify_tells_by_its_exit_code_whether_the_trail_is_whole(store: SqlStudyStore, tmp_path: Path) -> None:
    head = store.audit.head()
    good = AuditAnchor(sequence=head.sequence, digest=head.digest, at=LONG_AGO)
    anchors = tmp_path / "anchors.jsonl"
    anchors.write_text(anchor_line(good))
    whole = vigie("verify", "--anchor", str(anchors))
    assert (whole.exit_code, whole.stdout.startswith("whole: 5 records (1 to 5")) == (0, True), whole.output
    anchors.write_text(anchor_line(AuditAnchor(sequence=40, digest="ab" * 32, at=LONG_AGO)))
    broken = vigie("verify", "--anchor", str(anchors))
    assert (broken.exit_code, "BROKEN at record 40" in broken.stdout) == (1, True)
    anchors.write_text("no anchor\n")
    assert vigie("verify", "--anchor", str(anchors)).exit_code == 2
    assert vigie("verify", "--since", "2025-01-12").stdout.startswith("whole: 4 records (4 to 7")


def test_only_what_is_older_than_six_months_is_taken_away(store: SqlStudyStore) -> None:
    yesterday = f"{datetime.now() - timedelta(days=1):%Y-%m-%d}"  # noqa: DTZ005 - as a person types it
    assert vigie("prune", "--before", yesterday, "--yes").exit_code == 2
    done = vigie("prune", "--before", "2025-01-12", "--yes")
    assert (done.exit_code, "up to record 3" in done.stdout) == (0, True), done.output
    assert vigie("verify").stdout.startswith("whole: 3 records (4 to 6")
    assert vigie("prune", "--before", "2025-01-12", "--yes").exit_code == 1
