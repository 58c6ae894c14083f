"""What the fuzzing campaign has found behind the door: an instance that is kept must never break what reads it."""

import struct
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydicom.uid import RLELossless

from fuzz.bombs import EXPLICIT, header
from fuzz.mutations import element
from services.backends.elements import Encoding
from services.backends.files.pixels import same_pixels
from services.backends.headers import read_instance
from services.backends.part10 import wrap
from services.backends.store.archive import StoredInstance
from services.gateway.app import create_app
from services.gateway.dicomweb.stored import StoredFile
from services.gateway.problems import ProblemError
from tests.support.house import House
from tests.support.records import NOON

UID = "1.2.9.100000000000000000000"
PIXELS = element(0x7FE00010, b"OW", bytes(64), EXPLICIT)
ODD_DOUBLE = element(0x00189999, b"FD", bytes(7), EXPLICIT)
ODD_DOUBLE_GEOMETRY = element(0x00181310, b"US", bytes(3), EXPLICIT)
ENDS_EARLY = element(0x52009229, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 4) + bytes(4) + bytes(6), EXPLICIT)
BYTES_AS_NUMBER = element(0x00280010, b"OB", bytes(2), EXPLICIT)
SPOILT = {
    "a number cut in the middle": header(UID) + ODD_DOUBLE + PIXELS,
    "a geometry cut in the middle": header(UID) + ODD_DOUBLE_GEOMETRY + PIXELS,
    "a sequence that ends early": header(UID) + ENDS_EARLY + PIXELS,
    "rows as bytes": header(UID).replace(element(0x00280010, b"US", b"\x08\x00", EXPLICIT), BYTES_AS_NUMBER) + PIXELS,
}


def part10(data_set: bytes, transfer_syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    return wrap(
        data_set,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=UID,
        transfer_syntax_uid=transfer_syntax,
        source_ae_title="CT1",
    )


@pytest.mark.parametrize("name", SPOILT)
def test_an_instance_that_is_kept_breaks_neither_search_nor_retrieval(tmp_path: Path, name: str) -> None:
    content = part10(SPOILT[name])
    instance = read_instance(content)
    house = House(tmp_path)
    house.files.keep(content, digest=instance.digest, received_from="CT1")
    house.store.record([(instance, "CT1")], now=NOON)
    client = TestClient(create_app(house.settings, store=house.store, files=house.files), base_url="http://127.0.0.1")
    study = f"/dicomweb/studies/{UID}.1"
    one = f"{study}/series/{UID}.2/instances/{UID}"
    for path in (f"{one}/metadata", f"{study}/instances?includefield=all", "/dicomweb/studies?includefield=all"):
        assert client.get(path).status_code == 200
    decoded = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'
    assert client.get(one, headers={"Accept": decoded}).status_code in (200, 406)
    for path in (f"{one}/rendered", f"{one}/frames/1"):
        assert client.get(path).status_code in (200, 406)


@pytest.mark.parametrize("name", SPOILT)
def test_an_instance_that_cannot_be_read_shows_the_same_as_none(tmp_path: Path, name: str) -> None:
    spoilt, other = tmp_path / "1.dcm", tmp_path / "2.dcm"
    spoilt.write_bytes(part10(SPOILT[name]))
    other.write_bytes(part10(header(UID) + PIXELS))
    same_pixels(spoilt, spoilt)
    assert not same_pixels(spoilt, other) or name == "a number cut in the middle"


def test_sequences_nested_beyond_any_stack_cost_no_memory(tmp_path: Path) -> None:
    """In Big Endian they are written anew for each reader; pydicom's error text doubled at each level."""
    big = Encoding(little_endian=False)
    value = b""
    for _ in range(1500):
        inner = element(0x00081140, b"SQ", value, big) if value else b""
        value = struct.pack(">HHI", 0xFFFE, 0xE000, len(inner)) + inner
    path = tmp_path / "deep.dcm"
    path.write_bytes(part10(element(0x00400275, b"SQ", value, big), "1.2.840.10008.1.2.2"))
    began = time.monotonic()
    with pytest.raises(ProblemError, match="decoded"):
        stored(path, "1.2.840.10008.1.2.2").open()
    assert time.monotonic() - began < 10


@pytest.mark.filterwarnings("ignore:The decoded RLE segment")
def test_where_a_decoder_panics_the_next_is_asked(tmp_path: Path) -> None:
    """Two segments of 16 bits, the first of which has more bytes than the frame has pixels."""
    frame = struct.pack("<16I", 2, 64, 66, *[0] * 13) + b"\x81\x00" * 3
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame
    pixels = (
        struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )
    told = {0x00280010: 1, 0x00280011: 1, 0x00280100: 16, 0x00280101: 16, 0x00280102: 15}
    path = tmp_path / "rle.dcm"
    path.write_bytes(part10(header(UID, pixels=told) + pixels, RLELossless))
    assert stored(path, RLELossless).explicit_little_endian().read().endswith(b"\x00" * 2)
    assert same_pixels(path, path)


def stored(path: Path, transfer_syntax: str) -> StoredFile:
    instance = StoredInstance(
        study_instance_uid="1.2",
        series_instance_uid="1.3",
        sop_instance_uid=UID,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid=transfer_syntax,
        modality="CT",
        digest="",
    )
    return StoredFile(instance=instance, path=path)
