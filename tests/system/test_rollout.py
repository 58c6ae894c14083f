"""Canary, shadow, promote and roll back while studies come, with a real Triton: no job is lost, none is done twice."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from tritonclient.grpc import InferenceServerClient

from services.backends.senders import CStoreSender
from services.backends.store import SqlStudyStore, open_store
from services.backends.store.board import JobRow
from services.settings import Settings
from services.triage.finding import Outcome
from services.triage.job import JobState
from services.triage.rollout import place_of
from services.triage.shadow import ShadowState
from tests.support.bundle import bright_spot_bundle, routing_file
from tests.support.ct import write_series
from tests.support.house import chest_with_ball
from tests.support.peers import wait_until
from tests.support.standalone import Running, standalone
from tests.support.triton import Triton, triton_server

pytestmark = pytest.mark.system

NAME, OLD, NEW = "bright_spot", "1.2.3", "2.0.0"
SEES_HU, BLIND_HU = -300.0, 900.0
WAITS = "[time.sleep(0.1) for _ in range(3000) if os.path.exists({held!r})]"
HOOK = f"None if inputs[0].shape[-1] != 20 or {WAITS} else None"
"""While a file is there, the analysis of a study of the test goes on; a warm-up does not wait."""

PATIENCE_S = 240


@dataclass
class Site:
    """A service, its Triton, and what is asked of them."""

    folder: Path
    triton: Triton
    vigie: Running
    store: SqlStudyStore
    sent: list[str] = field(default_factory=list)

    def models(self, *words: str) -> str:
        """`vigie models ...`, as an operator types it."""
        environment = os.environ | {
            "VIGIE_DATA": str(self.folder / "data"),
            "VIGIE_MODELS": str(self.triton.models),
            "VIGIE_TRITON": self.triton.url,
        }
        program = Path(sys.executable).parent / "vigie"
        why = () if words[0] == "unload" else ("--reason", "a test")
        done = subprocess.run(
            [program, "models", *words, *why], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def send(self, *, of_canary: bool | None = None, share: float = 0.5) -> str:
        """A study by C-STORE; one that a canary of this share looks at, or not."""
        series = chest_with_ball()
        while of_canary is not None and (place_of(NAME, series[0].StudyInstanceUID) < share) is not of_canary:
            series = chest_with_ball()
        uid = str(series[0].StudyInstanceUID)
        paths = write_series(series, self.folder / uid)
        CStoreSender(self.vigie.address, "CT1").send(
            [(each.SOPClassUID, each.SOPInstanceUID, path) for each, path in zip(series, paths, strict=True)]
        )
        self.sent.append(uid)
        return uid

    def results(self, uid: str) -> list[tuple[str, Outcome]]:
        """(version, outcome) of every result of a study."""
        return [(job.result.model.version, job.result.outcome) for job in self.jobs(uid) if job.result is not None]

    def jobs(self, uid: str) -> list[JobRow]:
        """Every job of a study."""
        detail = self.store.board.study(uid)
        return [job for version in detail.versions for job in version.jobs] if detail else []

    def answered(self, uid: str) -> tuple[str, Outcome]:
        """The one result, once it is there."""
        wait_until(lambda: self.results(uid), timeout_s=PATIENCE_S)
        (result,) = self.results(uid)
        return result

    def in_work(self) -> frozenset[str | None]:
        """The versions that leases hold."""
        return self.store.rollouts.in_work(NAME)

    def queued(self) -> int:
        """How many studies wait."""
        return sum(job.state == JobState.QUEUED for uid in self.sent for job in self.jobs(uid))

    def loaded(self) -> set[str]:
        """The versions that Triton has loaded."""
        with InferenceServerClient(self.triton.url) as client:
            names = {OLD: NAME, NEW: f"{NAME}@{NEW}"}
            return {version for version, name in names.items() if client.is_model_ready(name)}


@contextmanager
def site(tmp_path: Path) -> Iterator[Site]:
    models, hook = tmp_path / "models", HOOK.format(held=str(tmp_path / "held"))
    bright_spot_bundle(models, version=OLD, level_hu=SEES_HU, hook=hook)
    bright_spot_bundle(models, name=f"{NAME}@{NEW}", version=NEW, level_hu=BLIND_HU, hook=hook)
    with (
        triton_server(models, tmp_path) as triton,
        standalone(
            tmp_path / "data",
            send_to=[str(tmp_path / "pacs")],
            models=models,
            routing=routing_file(tmp_path / "routing.toml"),
            triton=triton.url,
        ) as vigie,
    ):
        store = open_store(Settings(data=tmp_path / "data").store_url())
        yield Site(folder=tmp_path, triton=triton, vigie=vigie, store=store)


def test_versions_are_tried_promoted_and_rolled_back_while_studies_come(tmp_path: Path) -> None:
    with site(tmp_path) as here:
        # a shadow looks at what is answered, and nobody is sent what it says
        here.models("shadow", NAME, NEW)
        watched = here.send()
        assert here.answered(watched) == (OLD, Outcome.FOUND)
        wait_until(lambda: here.store.shadows.counts() == {(NAME, ShadowState.KEPT): 1}, timeout_s=PATIENCE_S)
        now = datetime.now(UTC) + timedelta(minutes=1)
        (pair,) = here.store.shadows.pairs(since=now - timedelta(hours=1), until=now, now=now)
        assert (pair.study_instance_uid, pair.answer.version, pair.shadow.version) == (watched, OLD, NEW)
        assert (pair.answer.outcome, pair.shadow.outcome) == (Outcome.FOUND, Outcome.NOTHING_FOUND)
        assert (pair.dice, pair.lesions_answer_only) == (0, 1)
        assert here.results(watched) == [(OLD, Outcome.FOUND)]

        # a canary answers for the studies of its share
        here.models("shadow", NAME, "--end")
        assert here.loaded() == {OLD}
        here.models("canary", NAME, NEW, "--share", "0.5")
        assert here.loaded() == {OLD, NEW}
        of_canary, others = here.send(of_canary=True), here.send(of_canary=False)
        assert here.answered(of_canary) == (NEW, Outcome.NOTHING_FOUND)
        assert here.answered(others) == (OLD, Outcome.FOUND)

        # with an analysis in work and others queued: the one ends as it began, the others go by the decision
        here.models("canary", NAME, "--end")
        uids = in_flight(here, None)
        here.models("promote", NAME, NEW)
        assert here.loaded() == {OLD, NEW}
        end_as_they_began(here, uids, OLD, NEW)
        after = here.send()
        assert here.answered(after) == (NEW, Outcome.NOTHING_FOUND)
        here.models("unload", NAME, OLD)
        assert here.loaded() == {NEW}

        uids = in_flight(here, NEW)
        here.models("rollback", NAME)
        end_as_they_began(here, uids, NEW, OLD)
        assert here.answered(here.send()) == (OLD, Outcome.FOUND)

        # nothing was lost, nothing done or sent twice, no process started anew
        wait_until(lambda: len(sent_reports(tmp_path)) == len(here.sent), timeout_s=PATIENCE_S)
        assert Counter(sent_reports(tmp_path)) == Counter(here.sent)
        assert all(len(here.results(uid)) == 1 for uid in here.sent)
        assert len([one for one in here.vigie.events("part_started") if one["part"] == "worker"]) == 1


def in_flight(here: Site, version: str | None) -> list[str]:
    """Four studies, of which one is in work by this version and the others wait."""
    (here.folder / "held").touch()
    uids = [here.send() for _ in range(4)]
    wait_until(lambda: here.in_work() == {version} and here.queued() == 3, timeout_s=PATIENCE_S)
    return uids


def end_as_they_began(here: Site, uids: list[str], before: str, after: str) -> None:
    """Each result is of the version that its one lease names: what was in work of the old, the rest of the new one."""
    (here.folder / "held").unlink()
    answers = [here.answered(uid)[0] for uid in uids]
    leased = []
    for uid in uids:
        (job,) = here.jobs(uid)
        (cause,) = [event.cause for event in job.events if event.what == "analysing"]
        leased.append(cause.partition("version ")[2] or OLD)
    assert answers == leased
    assert Counter(leased) == {before: 1, after: 3}


def sent_reports(folder: Path) -> list[str]:
    """The studies of the reports that were sent."""
    found = [pydicom.dcmread(path, stop_before_pixels=True) for path in (folder / "pacs").rglob("*.dcm")]
    return [str(one.StudyInstanceUID) for one in found if one.Modality == "SR"]
