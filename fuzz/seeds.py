"""Real files to mutate: the sample studies, pydicom's own test files, and the folder named by VIGIE_TEST_DATA."""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian

from services.backends.elements import Encoding
from services.backends.headers import read_instance
from services.backends.part10 import open_part10
from services.triage.errors import InstanceRefused

SAMPLES = Path(__file__).parents[1] / "dicom_samples"
PYDICOM = Path(pydicom.__file__).parent / "data"
LARGEST_BYTES = 48_000
"""A campaign is about headers: pixels are carried along a hundred thousand times."""
_MOST_OF_A_FOLDER = 120
_IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A data set as a file holds it (inflated where it was deflated), its identity, and how it is written."""

    name: str
    data_set: bytes
    transfer_syntax: str
    sop_class_uid: str
    sop_instance_uid: str
    uids: tuple[bytes, ...]

    @property
    def encoding(self) -> Encoding:
        """How its elements are written."""
        return Encoding(
            explicit_vr=self.transfer_syntax != _IMPLICIT, little_endian=self.transfer_syntax != _BIG_ENDIAN
        )

    def renamed(self, dice: Random) -> tuple[bytes, str]:
        """The data set with study, series and instance of its own, each UID as long as it was; and the last of them."""
        data_set, name = self.data_set, self.sop_instance_uid
        for uid in self.uids:
            fresh = (b"1.2." + b"".join(b"%d" % dice.randint(1, 9) for _ in uid))[: len(uid)]
            data_set = data_set.replace(uid, fresh)
            if uid == self.sop_instance_uid.encode():
                name = fresh.decode()
        return data_set, name


def seeds() -> list[Seed]:
    """All of them, the same in each run on the same files."""
    folders = [(SAMPLES, 4), (PYDICOM, 1000)]
    if os.environ.get("VIGIE_TEST_DATA"):
        folders.append((Path(os.environ["VIGIE_TEST_DATA"]), _MOST_OF_A_FOLDER))
    found: list[Seed] = []
    for folder, most in folders:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size <= LARGEST_BYTES)
        every = max(1, len(files) // most)
        found += [seed for path in files[::every] for seed in _seed(path)]
    return found


def _seed(path: Path) -> Iterator[Seed]:
    """None of a file that is no instance."""
    content = path.read_bytes()
    try:
        instance = read_instance(content)
    except InstanceRefused:
        return
    data_set = content[open_part10(content).data_set_offset :]
    header = instance.header
    if header.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        data_set = zlib.decompress(data_set, -zlib.MAX_WBITS)
    uids = (header.sop_instance_uid, header.series_instance_uid, header.study_instance_uid)
    yield Seed(
        name=path.name,
        data_set=data_set,
        transfer_syntax=header.transfer_syntax_uid,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        # a short one would be found where it is none
        uids=tuple(uid.encode() for uid in dict.fromkeys(uids) if len(uid) >= 12),
    )
