"""The door over real associations: every storage class, every transfer syntax, many senders at once."""

import os
import subprocess
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.data import get_testdata_files
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from services.backends.headers import read_instance
from services.backends.part10 import open_part10
from services.triage.errors import InstanceRefused
from tests.support.ct import ct_series, write_series
from tests.support.peers import wait_until
from tests.support.scu import Door, associate, encode, open_door, store

PRIVATE_CLASS = "1.2.826.0.1.3680043.9.9999.1"
SYNTAXES = sorted(uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax")
NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.20"}
DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with open_door(tmp_path_factory.mktemp("door")) as one:
        yield one


def image(**attributes: object) -> Dataset:
    return ct_series(slices=1, **attributes)[0]


def kept_data_sets(door: Door) -> set[bytes]:
    files = [door.files.path(file.digest).read_bytes() for file in door.files.pending()]
    return {content[open_part10(content).data_set_offset :] for content in files}


def test_c_echo_is_answered(door: Door) -> None:
    with associate(door.port, sop_classes=["1.2.840.10008.1.1"]) as association:
        assert association.send_c_echo().Status == 0x0000


def encoded_in(syntax: str) -> tuple[str, bytes]:
    one = image()
    if "4.95" in syntax or "4.205" in syntax:
        del one.PixelData  # JPIP: the pixels are elsewhere
    if syntax in DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return one.SOPInstanceUID, deflater.compress(encode(one)) + deflater.flush()
    if syntax not in NATIVE:
        one.PixelData = encapsulate([os.urandom(64)])
        one["PixelData"].VR, one["PixelData"].is_undefined_length = "OB", True
    plain = "1.2.840.10008.1.2" if syntax == "1.2.840.10008.1.20" else syntax
    return one.SOPInstanceUID, encode(one, plain)


def test_every_transfer_syntax_that_pydicom_knows_is_kept_byte_for_byte(door: Door) -> None:
    sent = set()
    for syntaxes in (SYNTAXES[:40], SYNTAXES[40:]):
        with associate(door.port, transfer_syntaxes=syntaxes) as association:
            assert len(association.accepted_contexts) == len(syntaxes)
            for syntax in syntaxes:
                uid, data_set = encoded_in(syntax)
                assert store(association, data_set, sop_instance_uid=uid, transfer_syntax=syntax) == 0x0000, syntax
                sent.add(data_set)
    assert sent <= kept_data_sets(door)


def test_a_private_sop_class_is_kept(door: Door) -> None:
    one = image(SOPClassUID=PRIVATE_CLASS)
    with associate(door.port, sop_classes=[PRIVATE_CLASS]) as association:
        status = store(association, encode(one), sop_instance_uid=one.SOPInstanceUID, sop_class_uid=PRIVATE_CLASS)
    assert status == 0x0000
    assert encode(one) in kept_data_sets(door)


def test_pydicoms_own_files_are_kept_or_refused_and_the_association_lives_on(door: Door) -> None:
    for path in map(Path, get_testdata_files("*.dcm")):
        try:
            header = read_instance(path).header
        except (InstanceRefused, FileNotFoundError):
            continue
        content = path.read_bytes()
        data_set = content[open_part10(content).data_set_offset :]
        with associate(
            door.port, sop_classes=[header.sop_class_uid], transfer_syntaxes=[header.transfer_syntax_uid]
        ) as association:
            status = store(
                association,
                data_set,
                sop_instance_uid=header.sop_instance_uid,
                sop_class_uid=header.sop_class_uid,
                transfer_syntax=header.transfer_syntax_uid,
            )
            assert status == 0x0000, path.name
            assert association.is_established


@pytest.mark.parametrize("command", [["storescu", "-R"], ["dcmsend", "--decompress-never"]], ids=lambda c: c[0])
def test_dcmtk_sends_a_series(door: Door, tmp_path: Path, command: list[str]) -> None:
    paths = write_series(ct_series(slices=3), tmp_path / "ct")
    address = ["127.0.0.1", str(door.port)]
    subprocess.run([*command, *address, *map(str, paths)], check=True, env=os.environ | {"TCP_NODELAY": "1"})
    assert {path.read_bytes().partition(b"DICM")[2][-700:] for path in paths} <= {
        data_set[-700:] for data_set in kept_data_sets(door)
    }


def test_dcmsend_sends_compressed_files_as_they_are(door: Door) -> None:
    paths = [Path(get_testdata_files(name)[0]) for name in ("JPEG2000.dcm", "MR_small_RLE.dcm")]
    command = ["dcmsend", "--decompress-never", "127.0.0.1", str(door.port), *map(str, paths)]
    subprocess.run(command, check=True, env=os.environ | {"TCP_NODELAY": "1"})
    kept = [read_instance(door.files.path(file.digest)).header for file in door.files.pending()]
    expected = {read_instance(path).header.transfer_syntax_uid for path in paths}
    assert expected <= {header.transfer_syntax_uid for header in kept}


def test_the_same_bytes_again_are_success_and_stored_once(door: Door) -> None:
    one = image()
    before = len(list(door.files.pending()))
    with associate(door.port) as association:
        for _ in range(3):
            assert store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) == 0x0000
    assert len(list(door.files.pending())) == before + 1


def test_the_same_uid_with_other_bytes_is_success_and_both_are_kept(door: Door) -> None:
    uid = generate_uid()
    first, second = encode(image(SOPInstanceUID=uid, seed=1)), encode(image(SOPInstanceUID=uid, seed=2))
    with associate(door.port) as association:
        assert store(association, first, sop_instance_uid=uid) == 0x0000
        assert store(association, second, sop_instance_uid=uid) == 0x0000
    assert {first, second} <= kept_data_sets(door)


def test_thirty_associations_at_the_same_time_are_all_served(door: Door) -> None:
    def send(series: list[Dataset]) -> list[int | None]:
        with associate(door.port) as association:
            return [store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) for one in series]

    all_series = [ct_series(slices=4, seed=number) for number in range(30)]
    with ThreadPoolExecutor(30) as pool:
        statuses = [status for answers in pool.map(send, all_series) for status in answers]
    assert statuses == [0x0000] * 120
    assert {encode(one) for series in all_series for one in series} <= kept_data_sets(door)


def test_more_associations_than_the_limit_are_rejected_until_one_ends(tmp_path: Path) -> None:
    with open_door(tmp_path, max_associations="2") as door:
        # the probe that found the door listening has to end first
        wait_until(lambda: accepted(door), what="an association")
        with associate(door.port), associate(door.port):
            assert not accepted(door)
        wait_until(lambda: accepted(door), what="an association after another has ended")


def accepted(door: Door) -> bool:
    try:
        with associate(door.port):
            return True
    except ConnectionError:
        return False


def test_sigterm_lets_an_association_end_and_exits_with_0(tmp_path: Path) -> None:
    one, other = ct_series(slices=2)
    with open_door(tmp_path) as door:
        with associate(door.port) as association:
            assert store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) == 0x0000
            door.process.terminate()
            wait_until(lambda: not accepted(door), what="the door closing")
            assert store(association, encode(other), sop_instance_uid=other.SOPInstanceUID) == 0x0000
        assert door.process.wait(10) == 0
        assert len(list(door.files.pending())) == 2


def test_the_sender_is_kept_with_the_instance(door: Door) -> None:
    one = image()
    with associate(door.port) as association:
        assert store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) == 0x0000
    kept = {file.digest: file.received_from for file in door.files.pending()}
    assert kept[read_instance(encode(one)).digest] == "TEST_SCU"


def test_no_patient_data_are_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr, open_door(tmp_path / "data", stderr=stderr, log_level="DEBUG") as door:
        good, bad = image(PatientName="Geheim^Name"), image(PatientName="Geheim^Name", StudyInstanceUID=None)
        with associate(door.port, transfer_syntaxes=[ExplicitVRLittleEndian]) as association:
            assert store(association, encode(good), sop_instance_uid=good.SOPInstanceUID) == 0x0000
            assert store(association, encode(bad), sop_instance_uid=bad.SOPInstanceUID) == 0xC000
        wait_until(lambda: b"instance_refused" in log.read_bytes(), what="the refusal in the log")
    assert b"Geheim" not in log.read_bytes()
    assert b"PHANTOM-1" not in log.read_bytes()
