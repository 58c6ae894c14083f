"""Bad input over real associations: a status to the sender, the bytes in quarantine, and the association lives on."""

import socket
import struct
from collections.abc import Iterator

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom.association import Association

from tests.support.ct import ct_series
from tests.support.peers import wait_until
from tests.support.scu import Door, associate, encode, open_door, store

UID = "1.2.3.4"
MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with open_door(tmp_path_factory.mktemp("door")) as one:
        yield one


@pytest.fixture
def association(door: Door) -> Iterator[Association]:
    with associate(door.port) as one:
        yield one
        good = image()
        assert store(one, encode(good), sop_instance_uid=good.SOPInstanceUID) == 0x0000, "the association lives on"


def image(**attributes: object) -> Dataset:
    with pydicom.config.disable_value_validation():
        return ct_series(slices=1, rows=4, columns=4, **attributes)[0]


BAD = {
    "empty": b"",
    "not DICOM": b"%PDF-1.7" + bytes(500),
    "zeros": bytes(4000),
    "a wrong length": encode(image(SOPInstanceUID=UID)).replace(b"PN\x0c\x00", b"PN\x05\x00"),
    "no Study Instance UID": encode(image(SOPInstanceUID=UID, StudyInstanceUID=None)),
    "no SOP Instance UID": encode(image(SOPInstanceUID=None)),
    "a UID with path characters": encode(image(SOPInstanceUID=UID, StudyInstanceUID="../../../tmp/x")),
    "Implicit VR, said to be explicit": encode(image(SOPInstanceUID=UID), ImplicitVRLittleEndian),
    "big endian, said to be little": encode(image(SOPInstanceUID=UID), ExplicitVRBigEndian),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_understood_is_answered_0xc000_and_quarantined(
    door: Door, association: Association, name: str
) -> None:
    before = door.quarantined()
    assert store(association, BAD[name], sop_instance_uid=UID) == 0xC000
    assert door.quarantined() == before + 1


def test_an_instance_cut_at_any_byte_gets_an_answer_and_no_half_of_it_is_kept(
    door: Door, association: Association
) -> None:
    whole = encode(image(SOPInstanceUID=UID))
    before = len(list(door.files.pending()))
    cuts = range(len(whole) - 1, len(whole) - 32, -1)  # inside the pixel data: always refused
    assert {store(association, whole[:cut], sop_instance_uid=UID) for cut in cuts} == {0xC000}
    assert len(list(door.files.pending())) == before
    for cut in range(1, len(whole), 13):
        assert store(association, whole[:cut], sop_instance_uid=UID) in (0x0000, 0xC000)


def test_another_sop_class_or_instance_than_announced_is_answered_0xa900(door: Door, association: Association) -> None:
    before = door.quarantined()
    assert store(association, encode(image(SOPClassUID=MR)), sop_instance_uid=UID) == 0xA900
    assert store(association, encode(image(SOPInstanceUID=generate_uid())), sop_instance_uid=UID) == 0xA900
    assert door.quarantined() == before + 2


def test_an_instance_without_pixel_data_is_kept(association: Association) -> None:
    one = image(PixelData=None)
    assert store(association, encode(one), sop_instance_uid=one.SOPInstanceUID) == 0x0000


def test_an_instance_over_the_limit_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_door(tmp_path_factory.mktemp("small"), max_instance_mb="1") as door, associate(door.port) as association:
        big = ct_series(slices=1, rows=1024, columns=1024)[0]
        assert store(association, encode(big), sop_instance_uid=big.SOPInstanceUID) == 0xC000
        small = image()
        assert store(association, encode(small), sop_instance_uid=small.SOPInstanceUID) == 0x0000


def test_an_association_aborted_in_the_middle_of_a_file_keeps_nothing_half(door: Door) -> None:
    before = {file.digest for file in door.files.pending()}
    with associate(door.port) as association:
        one = ct_series(slices=1, rows=512, columns=512)[0]
        # a P-DATA-TF PDU that declares the whole data set, and brings its first half
        data = encode(one)
        head = struct.pack(">BBIIBB", 4, 0, len(data) + 6, len(data) + 2, 1, 0)
        association.dul.socket.socket.sendall(head + data[: len(data) // 2])
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    good = image()
    with associate(door.port) as association:
        assert store(association, encode(good), sop_instance_uid=good.SOPInstanceUID) == 0x0000
    assert len({file.digest for file in door.files.pending()} - before) == 1


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x04\x00\xff\xff\xff\xff",  # a P-DATA-TF PDU of 4 GB before any association
        b"\x01\x00\x00\x00\x00\x02\x00\x01",
        bytes(100),
    ],
    ids=["HTTP", "gigantic PDU", "empty A-ASSOCIATE-RQ", "zeros"],
)
def test_noise_on_the_port_harms_nobody(door: Door, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", door.port)) as connection:
        connection.sendall(noise)
    good = image()
    with associate(door.port) as association:
        assert store(association, encode(good), sop_instance_uid=good.SOPInstanceUID) == 0x0000


def test_a_probe_that_only_connects_leaves_no_process_behind(tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_door(tmp_path_factory.mktemp("probed")) as door:
        for _ in range(5):
            socket.create_connection(("127.0.0.1", door.port)).close()
        children = f"/proc/{door.process.pid}/task/{door.process.pid}/children"

        def none_left() -> bool:
            with open(children) as listed:  # noqa: PTH123
                return not listed.read()

        wait_until(none_left, timeout_s=5, what="the end of the probes' processes")
