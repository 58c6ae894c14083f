"""What was acknowledged is found again: after a kill at any moment, and when the disk is full."""

import os
import random
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.backends.files import FolderStudyFiles
from services.backends.headers import read_instance
from tests.support.ct import ct_series
from tests.support.scu import Door, associate, encode, open_door, store

KILLS = 10


def send_until_gone(door: Door, acknowledged: list[bytes], begun: threading.Event) -> None:
    """Store one instance after another until the door is gone; note what it has acknowledged."""
    series = ct_series(slices=60, rows=256, columns=256, seed=len(acknowledged))
    encoded = [(one.SOPInstanceUID, encode(one)) for one in series]
    try:
        with associate(door.port) as association:
            begun.set()
            for uid, data_set in encoded:
                if store(association, data_set, sop_instance_uid=uid) != 0x0000:
                    return
                acknowledged.append(data_set)
    except (ConnectionError, OSError, RuntimeError):
        return


@pytest.mark.slow
def test_an_instance_acknowledged_before_a_kill_is_found_after_restart(tmp_path: Path) -> None:
    acknowledged: list[bytes] = []
    moment = random.Random(1)
    for _ in range(KILLS):
        with open_door(tmp_path) as door:
            begun = threading.Event()
            sender = threading.Thread(target=send_until_gone, args=(door, acknowledged, begun))
            sender.start()
            assert begun.wait(60)
            time.sleep(moment.uniform(0.0, 0.4))
            door.kill()
            sender.join(60)
            assert not sender.is_alive()
    files = FolderStudyFiles(tmp_path)
    pending = {file.digest for file in files.pending()}
    for data_set in acknowledged:
        digest = read_instance(data_set).digest
        assert digest in pending
        assert files.path(digest).read_bytes().endswith(data_set)
    for digest in pending:
        assert read_instance(files.path(digest)).digest == digest, "nothing half-written is pending"
    assert acknowledged


def test_an_instance_whose_rename_a_power_cut_has_undone_is_taken_in_again_at_start(tmp_path: Path) -> None:
    whole, half = (encode(one) for one in ct_series(slices=2))
    with open_door(tmp_path) as door, associate(door.port) as association:
        uid = read_instance(whole).header.sop_instance_uid
        assert store(association, whole, sop_instance_uid=uid) == 0x0000
    kept = next((tmp_path / "inbox").glob("*.dcm"))
    kept.rename(kept.with_suffix(".0123.unfinished"))
    cut_short = f"{read_instance(half).digest}.QQ.4567.unfinished"
    (tmp_path / "inbox" / cut_short).write_bytes(half[:-1])
    with open_door(tmp_path) as door:
        assert [file.digest for file in door.files.pending()] == [read_instance(whole).digest]
        assert next(iter(door.files.pending())).received_from == "TEST_SCU"


def test_a_file_that_cannot_be_written_is_answered_0xa700_and_the_association_lives_on(tmp_path: Path) -> None:
    big, small = ct_series(slices=1, rows=512, columns=512)[0], ct_series(slices=1)[0]
    with open_door(tmp_path) as door:
        resource.prlimit(door.process.pid, resource.RLIMIT_FSIZE, (200_000, 200_000))
        with associate(door.port) as association:
            assert store(association, encode(big), sop_instance_uid=big.SOPInstanceUID) == 0xA700
            assert store(association, encode(small), sop_instance_uid=small.SOPInstanceUID) == 0x0000
        assert [file.digest for file in door.files.pending()] == [read_instance(encode(small)).digest]


def test_below_the_free_space_that_is_set_the_door_refuses_and_still_acknowledges_what_it_has(tmp_path: Path) -> None:
    first, second = ct_series(slices=2)
    with open_door(tmp_path) as door, associate(door.port) as association:
        assert store(association, encode(first), sop_instance_uid=first.SOPInstanceUID) == 0x0000
        door.files.settle([file.digest for file in door.files.pending()])
    with open_door(tmp_path, min_free_mb=str(10**12)) as door, associate(door.port) as association:
        assert store(association, encode(second), sop_instance_uid=second.SOPInstanceUID) == 0xA700
        assert store(association, encode(first), sop_instance_uid=first.SOPInstanceUID) == 0x0000
        assert not list(door.files.pending())


if os.geteuid() == 0:  # only root may mount

    @pytest.fixture
    def small_disk(tmp_path: Path) -> Iterator[Path]:
        """A disk of 4 MB."""
        disk = tmp_path / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
        yield disk
        subprocess.run(["umount", "--lazy", str(disk)], check=True)

    def test_a_full_disk_is_answered_0xa700_and_the_association_lives_on(small_disk: Path) -> None:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(2_000_000))
        series = ct_series(slices=20, rows=256, columns=256)
        with open_door(small_disk / "data", min_free_mb="0") as door, associate(door.port) as association:
            statuses = [store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) for one in series]
            full_at = statuses.index(0xA700)
            assert full_at > 3
            assert statuses == [0x0000] * full_at + [0xA700] * (20 - full_at)
            assert len(list(door.files.pending())) == full_at, "nothing is left of what did not fit"
            ballast.unlink()
            failed = series[full_at]
            assert store(association, encode(failed), sop_instance_uid=failed.SOPInstanceUID) == 0x0000
            for one in series[: full_at + 1]:
                assert door.files.path(read_instance(encode(one)).digest).read_bytes().endswith(encode(one))
