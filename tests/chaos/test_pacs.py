"""The campaign's PACS: what it has acknowledged lies in its folder, and nothing was overwritten."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.backends.part10 import digest
from services.backends.senders import CStoreSender
from tests.support.ct import ct_series, write_series
from tests.support.peers import free_port, listens, wait_until


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Its address and its folder."""
    folder, port = tmp_path / "pacs", free_port()
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-m", "chaos.pacs", str(folder), str(port)]) as process:
        try:
            wait_until(lambda: listens(port))
            yield f"PACS@127.0.0.1:{port}", folder
        finally:
            process.kill()


def test_the_same_object_twice_is_one_file_and_another_under_its_uid_is_a_second(
    pacs: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = pacs
    first = ct_series(slices=1)[0]
    second = ct_series(slices=1, seed=1)[0]
    second.SOPInstanceUID = first.SOPInstanceUID
    for number, dataset in enumerate([first, first, second]):
        paths = write_series([dataset], tmp_path / str(number))
        CStoreSender(address, "VIGIE").send([(dataset.SOPClassUID, dataset.SOPInstanceUID, paths[0])])
    kept = {path.name for path in folder.glob("*.dcm")}
    sent = {digest((tmp_path / str(number) / "0000.dcm").read_bytes()) for number in range(3)}
    assert kept == {f"{first.SOPInstanceUID}.{each[:16]}.dcm" for each in sent}
    assert len(kept) == 2
