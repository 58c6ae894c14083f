"""What the service level objectives are measured by, and whether clocks agree."""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from services.backends.audit_spool import AuditSpool
from services.backends.store import open_store
from services.clocks import ask_ntp
from services.gateway.service_levels import answers, inbox
from services.settings import Settings
from services.triage.finding import Flag
from tests.support.peers import free_port, wait_until
from tests.support.postgres import Postgres
from tests.support.scraped import scrape
from tests.support.scu import open_door
from tests.support.worklist import Ward, found, nothing_found

NTP_EPOCH_S = 2_208_988_800


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def flags(ward: Ward) -> dict[str, tuple[float, float]]:
    """Window -> (in time, late)."""
    samples, _ = scrape(ward.client())
    return {
        window: tuple(samples["vigie_flags", (("in_time", told), ("window", window))] for told in ("true", "false"))
        for window in ("5m", "1h", "3d")
    }


def test_a_flag_counts_by_its_time_in_each_window_that_it_came_in(ward: Ward) -> None:
    ward.arrive(1)
    ward.now += timedelta(seconds=60)
    ward.complete(1)
    ward.freeze(1, found(Flag.URGENT, (0.9, 12.0)))
    assert flags(ward) == {"5m": (1, 0), "1h": (1, 0), "3d": (1, 0)}
    ward.now += timedelta(minutes=30)
    ward.arrive(2)
    ward.now += timedelta(minutes=16)
    ward.complete(2)
    ward.freeze(2, nothing_found())
    assert flags(ward) == {"5m": (0, 1), "1h": (1, 1), "3d": (1, 1)}
    ward.now += timedelta(days=4)
    assert flags(ward) == {"5m": (0, 0), "1h": (0, 0), "3d": (0, 0)}


def test_a_study_that_waits_for_too_long_is_late_before_it_has_a_flag(ward: Ward) -> None:
    ward.arrive(1)
    ward.complete(1)
    ward.now += timedelta(minutes=14)
    assert flags(ward)["5m"] == (0, 0)
    ward.now += timedelta(minutes=2)
    assert flags(ward)["5m"] == (0, 1)


def test_a_door_that_runs_answers_and_one_that_does_not_does_not(tmp_path: Path) -> None:
    with open_door(tmp_path / "data") as door:
        settings = Settings(data=tmp_path, dicom=f"0.0.0.0:{door.port}")
        assert answers(settings)
    assert not answers(settings)


def test_a_door_that_refuses_our_ae_title_answers_all_the_same(tmp_path: Path) -> None:
    with open_door(tmp_path / "data", calling_ae_titles="CT1") as door:
        assert answers(Settings(data=tmp_path, dicom=f"127.0.0.1:{door.port}"))


def test_our_own_question_is_no_caller_that_was_refused_and_one_from_elsewhere_by_our_title_is(tmp_path: Path) -> None:
    """Asked at each scrape: it would fill the audit trail, and sound VigieCallersRefused for ever."""
    (tmp_path / "peers.toml").write_text('[VIGIE]\naddresses = ["192.0.2.0/24"]\n')
    log = tmp_path / "log"
    with (
        log.open("wb") as stderr,
        open_door(tmp_path / "data", stderr=stderr, peers=str(tmp_path / "peers.toml")) as door,
    ):
        settings = Settings(data=tmp_path / "data", dicom=f"127.0.0.1:{door.port}")
        assert answers(settings)
        ae = AE(ae_title="VIGIE")
        elsewhere = ae.associate(
            "127.0.0.1",
            door.port,
            contexts=[build_context(Verification)],
            ae_title="VIGIE",
            bind_address=("127.0.0.2", 0),
        )
        assert elsewhere.is_rejected
        assert answers(settings)
        store = open_store(settings.store_url())
        wait_until(store.refusals.totals, what="the refusal counted")
        assert store.refusals.totals() == {"wrong_address": 1}
        store.close()
    assert log.read_text().count("association_rejected") == 1
    assert AuditSpool(settings.data).count() == 1


def test_the_inbox_is_counted_with_the_age_of_its_oldest_file(tmp_path: Path) -> None:
    assert inbox(tmp_path) == (0, 0.0)
    (tmp_path / "inbox").mkdir()
    for name, age_s in (("a.dcm", 100), ("b.dcm", 10), ("c.unfinished", 1000)):
        path = tmp_path / "inbox" / name
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    files, oldest_s = inbox(tmp_path)
    assert files == 2
    assert 99 < oldest_s < 160


@contextmanager
def time_server(*, ahead_s: float, stratum: int = 2) -> Iterator[str]:
    """An NTP server (RFC 5905 section 7.3) whose clock is ahead of ours."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            asked, who = server.recvfrom(1024)
            now = int((time.time() + ahead_s + NTP_EPOCH_S) * 2**32)
            head = struct.pack("!BBbb12xQ", 0x24, stratum, 6, -20, now)
            server.sendto(head + asked[40:48] + struct.pack("!QQ", now, now), who)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(5)


@pytest.mark.parametrize("ahead_s", [-7.5, 0.0, 3600.0])
def test_a_time_server_tells_how_far_it_is_ahead(ahead_s: float) -> None:
    with time_server(ahead_s=ahead_s) as address:
        offset = ask_ntp(address)
    assert offset is not None
    assert abs(offset.seconds - ahead_s) <= offset.uncertainty_s + 0.01


def test_a_time_server_that_is_not_synchronised_or_away_tells_nothing() -> None:
    with time_server(ahead_s=0, stratum=16) as address:
        assert ask_ntp(address) is None
    assert ask_ntp(f"127.0.0.1:{free_port()}") is None


def test_the_clocks_of_the_database_and_the_time_server_are_in_the_metrics(ward: Ward) -> None:
    with time_server(ahead_s=42.0) as address:
        samples, _ = scrape(ward.client(ntp=address))
    assert abs(samples["vigie_clock_offset_seconds", (("against", "ntp"),)] - 42) < 1
    of_database = (("against", "database"),)
    uncertainty_s = samples["vigie_clock_offset_uncertainty_seconds", of_database]
    assert abs(samples["vigie_clock_offset_seconds", of_database]) <= uncertainty_s + 0.01


def test_postgresql_tells_its_clock(postgresql: Postgres) -> None:
    from services.backends.store import open_store

    with postgresql.database() as url:
        store = open_store(url)
        offset = store.clock_offset()
        store.close()
    assert abs(offset.seconds) <= offset.uncertainty_s + 0.01
