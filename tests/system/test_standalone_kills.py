"""SIGKILL to every process at once, in each phase and at random moments; then the same command again."""

import random
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from services.backends.part10 import digest
from services.backends.senders.association import OutgoingFile, associate
from services.triage.errors import DestinationRefused, DestinationUnavailable
from services.triage.job import JobState
from services.triage.study import VersionKey
from tests.support.ct import write_series
from tests.support.house import House, chest_with_ball
from tests.support.peers import free_port, received, storescp, wait_until
from tests.support.standalone import standalone

pytestmark = pytest.mark.system

SLICES = 20


class Modality:
    """Sends one study; knows which instances were acknowledged, and sends the others again, as a modality does."""

    def __init__(self, folder):
        series = chest_with_ball()
        self.uid = series[0].StudyInstanceUID
        self._unsent = [OutgoingFile.read(path) for path in write_series(series, folder)]
        self.acknowledged = []

    def send(self, address, pause_s=0.0):
        """Send what is not yet acknowledged, until all is or the association is lost."""
        if not self._unsent:
            return
        try:
            with associate(address, "CT1", self._unsent, implicit_fallback=False) as association:
                while self._unsent:
                    association.store(self._unsent[0])
                    self.acknowledged.append(self._unsent.pop(0))
                    time.sleep(pause_s)
        except (DestinationUnavailable, DestinationRefused):
            return

    @contextmanager
    def sending(self, address, pause_s):
        """Send in the background."""
        thread = threading.Thread(target=self.send, args=(address, pause_s))
        thread.start()
        yield
        thread.join()

    def digests(self):
        return {digest(file.path.read_bytes()) for file in self.acknowledged}


class Site:
    """A modality, a data folder, a PACS that always runs, and the command that is killed and started again."""

    def __init__(self, folder, *pacs_options):
        self.modality = Modality(folder / "study")
        self._pacs_folder = folder / "pacs"
        self._pacs_options = pacs_options
        self._pacs_port = free_port()
        self._ports = (free_port(), free_port())
        self.house = House(data=folder / "data")

    @contextmanager
    def running_pacs(self):
        with storescp(self._pacs_folder, self._pacs_port, *self._pacs_options):
            yield

    def vigie(self, *, segmenter_s=0.0, quiet_period_s=0.5):
        return standalone(
            self.house.data,
            send_to=[f"PACS@127.0.0.1:{self._pacs_port}"],
            fake_segmenter_s=segmenter_s,
            quiet_period_s=quiet_period_s,
            ports=self._ports,
            lease_s=5,
            max_attempts=20,
            delivery_retry_s=0.5,
        )

    def at_the_pacs(self):
        return {digest(path.read_bytes()) for path in received(self._pacs_folder)}

    def versions(self):
        detail = self.house.store.board.study(self.modality.uid)
        return detail.versions if detail else ()

    def is_done(self):
        """Whether all is sent, the newest version is frozen, and its result delivered."""
        versions = self.versions()
        results = [job.result for job in versions[0].jobs if job.state == JobState.FROZEN] if versions else []
        return (
            len(self.modality.acknowledged) == SLICES
            and bool(results)
            and all(delivery.state == "sent" for result in results for delivery in result.deliveries)
        )

    def assert_nothing_is_lost_or_doubled(self):
        versions = self.versions()
        newest = VersionKey(study_instance_uid=self.modality.uid, number=versions[0].number)
        kept = {instance.digest for instance in self.house.store.instances(newest)}
        assert kept == self.modality.digests()
        assert all(digest(self.house.files.path(one).read_bytes()) == one for one in kept)
        assert not list(self.house.files.pending())
        assert all(len(version.jobs) <= 1 for version in versions)
        results = [job.result for version in versions for job in version.jobs if job.result]
        frozen = [self.house.files.result_path(each.sha256) for result in results for each in result.objects]
        assert len(frozen) == 2 * len(results)
        assert self.at_the_pacs() == {digest(path.read_bytes()) for path in frozen}


def finish(site):
    """Start the command once more, send the rest, and check what came of it all."""
    with site.vigie() as vigie:
        site.modality.send(vigie.address)
        wait_until(site.is_done, timeout_s=60, what="the study delivered")
        assert vigie.stop() == 0
    site.assert_nothing_is_lost_or_doubled()


def test_every_acknowledged_instance_is_found_after_a_kill_in_the_middle_of_a_study(tmp_path):
    site = Site(tmp_path)
    with site.running_pacs():
        with site.vigie(quiet_period_s=60) as vigie, site.modality.sending(vigie.address, pause_s=0.05):
            wait_until(lambda: len(site.modality.acknowledged) >= 5)
            vigie.kill_all()
        assert 5 <= len(site.modality.acknowledged) < SLICES
        finish(site)
    assert len(site.versions()) == 1


def test_a_study_that_was_not_yet_complete_is_completed_after_a_kill(tmp_path):
    site = Site(tmp_path)
    with site.running_pacs():
        with site.vigie(quiet_period_s=60) as vigie:
            site.modality.send(vigie.address)
            vigie.kill_all()
        finish(site)
    assert len(site.versions()) == 1


def test_a_study_is_analysed_again_after_a_kill_in_the_middle_of_its_analysis(tmp_path):
    site = Site(tmp_path)
    with site.running_pacs():
        with site.vigie(segmenter_s=30) as vigie:
            site.modality.send(vigie.address)
            wait_until(lambda: any(event["stage"] == "segment" for event in vigie.events("stage")))
            vigie.kill_all()
        finish(site)
    (version,) = site.versions()
    assert version.jobs[0].attempt >= 2


def test_the_same_bytes_are_sent_again_after_a_kill_in_the_middle_of_a_delivery(tmp_path):
    site = Site(tmp_path, "--sleep-after", "1")
    with site.running_pacs():
        with site.vigie() as vigie:
            site.modality.send(vigie.address)
            wait_until(lambda: len(site.at_the_pacs()) == 1)
            vigie.kill_all()
        assert len(site.at_the_pacs()) == 1
        finish(site)
    assert len(site.versions()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_kills_at_random_moments_lose_and_double_nothing(tmp_path, seed):
    moments = random.Random(seed)
    site = Site(tmp_path)
    with site.running_pacs():
        for _ in range(3):
            with ExitStack() as running:
                vigie = running.enter_context(site.vigie(segmenter_s=0.5, quiet_period_s=0.5))
                running.enter_context(site.modality.sending(vigie.address, pause_s=0.03))
                time.sleep(moments.uniform(0, 4))
                vigie.kill_all()
        finish(site)
