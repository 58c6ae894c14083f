"""A real Orthanc is asked by a running standalone: whether a study is complete, and for studies that never came."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE

from services.gateway.signals import MPPS
from tests.support.orthanc import Orthanc, orthanc
from tests.support.pacs import chest, empty, pacs_file, picture, push, upload
from tests.support.peers import free_port, listens, wait_until
from tests.support.standalone import Running, standalone
from tests.support.steps import begun, ended

QUIET_S = 0.7
PAUSE_S = 3.0  # of a slow scanner
FOR_EVER_S = 600.0

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("shared") / "pacs") as running:
        yield running


@pytest.fixture
def pacs(shared: Orthanc) -> Orthanc:
    empty(shared)
    return shared


@contextmanager
def vigie(folder: Path, archive: Orthanc | None = None, **settings: object) -> Iterator[Running]:
    """A standalone that is known to an Orthanc, and knows it where the file of PACS is among the settings."""
    chosen: dict[str, Any] = {"quiet_period_s": QUIET_S, "fake_segmenter_s": 0, **settings}
    with standalone(folder / "data", **chosen) as running:
        wait_until(lambda: listens(running.http_port), what="the desk listening")
        if archive is not None:
            archive.forward_to(running.dicom_port)
        yield running


def push_slowly(running: Running, series: Sequence[Dataset], folder: Path) -> None:
    """In three pieces, with pauses longer than the quiet period between them."""
    for start in range(0, 30, 10):
        push(running.address, series[start : start + 10], folder)
        time.sleep(PAUSE_S)


def detail(running: Running, study: str) -> dict[str, Any]:
    answer = httpx.get(f"http://127.0.0.1:{running.http_port}/api/studies/{study}", timeout=30)
    return dict(answer.json()) if answer.is_success else {"versions": [], "events": []}


def history(running: Running, study: str) -> list[str]:
    return [event["what"] for event in detail(running, study)["events"]]


def wait_complete(running: Running, study: str, *, versions: int = 1, timeout_s: float = 60) -> None:
    wait_until(
        lambda: [one["state"] for one in detail(running, study)["versions"]] == ["complete"] * versions,
        timeout_s=timeout_s,
        what=f"version {versions} of {study} complete",
    )


def metrics(running: Running) -> str:
    return httpx.get(f"http://127.0.0.1:{running.http_port}/metrics", timeout=30).text


def test_a_slow_push_opens_several_versions_where_nobody_is_asked(tmp_path: Path) -> None:
    series = chest(slices=30)
    with vigie(tmp_path) as running:
        push_slowly(running, series, tmp_path)
        wait_complete(running, series[0].StudyInstanceUID, versions=3)


@pytest.mark.parametrize("how", ["C-FIND", "QIDO-RS"])
def test_a_slow_push_opens_one_version_where_the_pacs_is_asked(pacs: Orthanc, how: str, tmp_path: Path) -> None:
    series = chest(slices=30)
    upload(pacs, series, tmp_path)
    upload(pacs, picture(series[0]), tmp_path)
    study = str(series[0].StudyInstanceUID)
    file = pacs_file(tmp_path / "pacs.toml", pacs.address if how == "C-FIND" else pacs.dicomweb)
    with vigie(tmp_path, pacs, pacs=file) as running:
        push_slowly(running, series, tmp_path)
        wait_complete(running, study)
        assert history(running, study)[-3:] == ["waits_for_pacs", "pacs_agrees", "complete"]
        assert 'vigie_completions_total{on="pacs_agrees"} 1.0' in metrics(running)


def test_a_study_that_stays_short_is_completed_in_the_end_and_it_is_said(pacs: Orthanc, tmp_path: Path) -> None:
    series = chest(slices=30)
    upload(pacs, series, tmp_path)
    study = str(series[0].StudyInstanceUID)
    file = pacs_file(tmp_path / "pacs.toml", pacs.address)
    with vigie(tmp_path, pacs, pacs=file, longest_wait_s=6) as running:
        push(running.address, series[:25], tmp_path)
        wait_until(lambda: "waits_for_pacs" in history(running, study), what="the study waiting")
        assert detail(running, study)["summary"]["state"] == "receiving"
        assert "vigie_studies_waiting_for_pacs 1.0" in metrics(running)
        wait_complete(running, study)
        *_, said, _ = detail(running, study)["events"]
        assert said["what"] == "pacs_has_more"
        assert said["cause"] == "archive has 5 images of 1 series that are not here"
        push(running.address, series[25:], tmp_path)
        wait_complete(running, study, versions=2)


def test_a_person_who_asks_for_completion_does_not_wait_for_the_pacs(pacs: Orthanc, tmp_path: Path) -> None:
    series = chest(slices=30)
    upload(pacs, series, tmp_path)
    study = str(series[0].StudyInstanceUID)
    with vigie(tmp_path, pacs, pacs=pacs_file(tmp_path / "pacs.toml", pacs.address)) as running:
        push(running.address, series[:25], tmp_path)
        wait_until(lambda: "waits_for_pacs" in history(running, study), what="the study waiting")
        api = f"http://127.0.0.1:{running.http_port}/api/studies/{study}/complete"
        httpx.post(api, json={}, timeout=30).raise_for_status()
        wait_complete(running, study, timeout_s=10)


def test_our_own_results_in_the_pacs_do_not_make_a_later_version_wait(pacs: Orthanc, tmp_path: Path) -> None:
    series = chest(slices=31)
    upload(pacs, series[:30], tmp_path)
    study = str(series[0].StudyInstanceUID)
    file = pacs_file(tmp_path / "pacs.toml", pacs.address)
    with vigie(tmp_path, pacs, pacs=file, send_to=[pacs.address]) as running:
        push(running.address, series[:30], tmp_path)
        wait_until(lambda: running.events("delivered"), what="the result at the PACS")
        assert pacs.instances() > 30
        upload(pacs, series[30:], tmp_path)
        push(running.address, series[30:], tmp_path)
        wait_complete(running, study, versions=2)
        assert history(running, study).count("pacs_agrees") == 2


@pytest.mark.parametrize("silent", [False, True], ids=["down", "hung"])
def test_a_pacs_that_is_away_delays_a_study_by_the_grace_alone_and_no_other_study(
    pacs: Orthanc, silent: bool, tmp_path: Path
) -> None:
    series, other = chest(slices=20), chest(slices=20, seed=1)
    upload(pacs, other, tmp_path)
    with _nobody(silent=silent) as port:
        file = pacs_file(tmp_path / "pacs.toml", f"AWAY@127.0.0.1:{port}", name="away", sent_by=["CT1"])
        content = file.read_text() + f'\n[archive]\naddress = "{pacs.address}"\n'
        file.write_text(content)
        with vigie(tmp_path, pacs, pacs=file, pacs_grace_s=3) as running:
            push(running.address, series, tmp_path)
            push(running.address, other, tmp_path, sender="CT2")
            wait_complete(running, str(other[0].StudyInstanceUID))
            wait_complete(running, str(series[0].StudyInstanceUID), timeout_s=20)
            assert "pacs_unreachable" in history(running, str(series[0].StudyInstanceUID))
            assert "pacs_agrees" in history(running, str(other[0].StudyInstanceUID))
            assert 'vigie_completions_total{on="pacs_unreachable"} 1.0' in metrics(running)


@contextmanager
def _nobody(*, silent: bool) -> Iterator[int]:
    """A port that nobody listens on, or where somebody accepts and says nothing."""
    if not silent:
        yield free_port()
        return
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(64)
        yield int(mute.getsockname()[1])


def test_who_asks_may_be_killed_while_a_study_waits(pacs: Orthanc, tmp_path: Path) -> None:
    series = chest(slices=30)
    upload(pacs, series, tmp_path)
    study = str(series[0].StudyInstanceUID)
    with vigie(tmp_path, pacs, pacs=pacs_file(tmp_path / "pacs.toml", pacs.address)) as running:
        push(running.address, series[:20], tmp_path)
        wait_until(lambda: "waits_for_pacs" in history(running, study), what="the study waiting")
        os.kill(running.pid_of("asking"), signal.SIGKILL)
        push(running.address, series[20:], tmp_path)
        wait_complete(running, study)
        assert history(running, study)[-2:] == ["pacs_agrees", "complete"]


def test_everything_may_be_killed_while_a_study_waits(pacs: Orthanc, tmp_path: Path) -> None:
    series = chest(slices=30)
    upload(pacs, series, tmp_path)
    study = str(series[0].StudyInstanceUID)
    file = pacs_file(tmp_path / "pacs.toml", pacs.address)
    with vigie(tmp_path, pacs, pacs=file) as running:
        push(running.address, series[:20], tmp_path)
        wait_until(lambda: "waits_for_pacs" in history(running, study), what="the study waiting")
        running.kill_all()
    with vigie(tmp_path, pacs, pacs=file) as running:
        push(running.address, series[20:], tmp_path)
        wait_complete(running, study)
        assert history(running, study)[-2:] == ["pacs_agrees", "complete"]


def test_the_end_of_a_step_completes_a_study_as_soon_as_all_its_images_are_here(tmp_path: Path) -> None:
    series = chest(slices=30)
    study, step = str(series[0].StudyInstanceUID), generate_uid()
    uids = [str(one.SOPInstanceUID) for one in series]
    with vigie(tmp_path, quiet_period_s=FOR_EVER_S, completion_signals=True) as running:
        ae = AE(ae_title="CT1")
        ae.add_requested_context(MPPS)
        modality = ae.associate("127.0.0.1", running.dicom_port)
        assert modality.send_n_create(begun(study), MPPS, step)[0].Status == 0x0000
        push(running.address, series[:20], tmp_path)
        assert modality.send_n_set(ended(uids), MPPS, step)[0].Status == 0x0000
        modality.release()
        time.sleep(2)
        assert [one["state"] for one in detail(running, study)["versions"]] == ["receiving"]
        push(running.address, series[20:], tmp_path)
        wait_complete(running, study, timeout_s=20)
        assert history(running, study)[-2:] == ["mpps_completed", "complete"]


def test_a_step_that_is_discontinued_completes_nothing_early_and_holds_nothing(tmp_path: Path) -> None:
    series = chest(slices=30)
    study, step = str(series[0].StudyInstanceUID), generate_uid()
    with vigie(tmp_path, quiet_period_s=4, completion_signals=True) as running:
        ae = AE(ae_title="CT1")
        ae.add_requested_context(MPPS)
        modality = ae.associate("127.0.0.1", running.dicom_port)
        modality.send_n_create(begun(study), MPPS, step)
        push(running.address, series[:20], tmp_path)
        uids = [str(one.SOPInstanceUID) for one in series]
        assert modality.send_n_set(ended(uids, status="DISCONTINUED"), MPPS, step)[0].Status == 0x0000
        modality.release()
        wait_until(lambda: history(running, study), what="the study known")
        assert [one["state"] for one in detail(running, study)["versions"]] == ["receiving"]
        wait_complete(running, study, timeout_s=30)
        assert history(running, study) == ["receiving", "complete"]


def yesterday() -> date:
    return datetime.now().astimezone().date() - timedelta(days=1)


def reconcile(folder: Path, file: Path, *flags: str) -> tuple[int, str]:
    """Run the command beside the running standalone, in a process of its own."""
    command = [Path(sys.executable).parent / "vigie", "reconcile", "--data", folder / "data", *flags]
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | {"VIGIE_PACS": str(file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("fetch", ["move", "get"])
def test_what_never_came_is_found_fetched_and_analysed(pacs: Orthanc, fetch: str, tmp_path: Path) -> None:
    whole, short, never = (chest(slices=20, day=yesterday(), seed=seed) for seed in range(3))
    head = chest(slices=3, day=yesterday() - timedelta(days=1))
    for series in (whole, short, never, head, picture(whole[0])):
        upload(pacs, series, tmp_path)
    allowed = pacs_file(tmp_path / "pacs.toml", pacs.address, completeness=False, fetch=fetch)
    forbidden = pacs_file(tmp_path / "told_only.toml", pacs.address, completeness=False)
    with vigie(tmp_path, pacs) as running:
        push(running.address, whole, tmp_path)
        push(running.address, short[:12], tmp_path)
        for series in (whole, short):
            wait_complete(running, str(series[0].StudyInstanceUID))

        code, told = reconcile(tmp_path, forbidden)
        assert code == 3
        assert str(never[0].StudyInstanceUID) in told
        assert str(whole[0].StudyInstanceUID) not in told
        assert "archive: 3 studies looked at, 1 never came, 1 lack images, 0 fetched" in told
        assert 'vigie_reconciliation_studies{pacs="archive",state="missing"} 1.0' in metrics(running)

        code, told = reconcile(tmp_path, allowed, "--json")
        assert code == 0, told
        (report,) = json.loads(told)
        found = {one["study_instance_uid"]: one for one in report["shortfalls"]}
        assert set(found) == {short[0].StudyInstanceUID, never[0].StudyInstanceUID}
        assert {one["fate"] for one in found.values()} == {"fetched"}
        assert found[short[0].StudyInstanceUID]["missing_by_series"] == {short[0].SeriesInstanceUID: 8}
        wait_complete(running, str(never[0].StudyInstanceUID))
        wait_complete(running, str(short[0].StudyInstanceUID), versions=2)
        assert detail(running, str(short[0].StudyInstanceUID))["summary"]["instance_count"] == 20

        code, told = reconcile(tmp_path, allowed)
        assert (code, told.strip()) == (0, "archive: 3 studies looked at, 0 never came, 0 lack images, 0 fetched")


def test_the_daily_reconciliation_is_done_once_a_day(pacs: Orthanc, tmp_path: Path) -> None:
    series = chest(slices=20, day=yesterday())
    upload(pacs, series, tmp_path)
    file = pacs_file(tmp_path / "pacs.toml", pacs.address, fetch="get", reconcile_at="00:00")
    with vigie(tmp_path, pacs, pacs=file) as running:
        wait_complete(running, str(series[0].StudyInstanceUID))
        wait_until(lambda: running.events("reconciliation_finished"), what="the end of it")
        (alarm,) = running.events("study_missing_here")
        assert (alarm["level"], alarm["images_missing"], alarm["fate"]) == ("warning", 20, "fetched")
        os.kill(running.pid_of("asking"), signal.SIGKILL)
        wait_until(lambda: len(running.events("asking_started")) == 2, what="its successor")
        time.sleep(2)
        assert len(running.events("reconciliation_finished")) == 1
        assert running.stop() == 0


def test_a_pacs_that_is_away_ends_the_command_with_the_reason(tmp_path: Path) -> None:
    file = pacs_file(tmp_path / "pacs.toml", f"AWAY@127.0.0.1:{free_port()}")
    code, told = reconcile(tmp_path, file, "--date", "2026-03-01:2026-03-03")
    assert code == 1
    assert "archive: 0 studies looked at" in told
