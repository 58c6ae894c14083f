"""Cases for C-STORE and STOW-RS: what is sent, how it was made, and what was answered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from fuzz.bombs import BOMBS
from fuzz.mutations import flip_bits, mutate, set_bytes
from fuzz.seeds import Seed
from fuzz.service import AE_TITLE
from services.backends import part10
from services.triage.errors import InstanceRefused

BOMB_SHARE, OTHER_SYNTAX_SHARE, SAME_IDENTITY_SHARE, BAD_FILE_SHARE = 0.005, 0.03, 0.2, 0.25
SUCCESS = 0x0000
SYNTAXES = (
    ExplicitVRLittleEndian,
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    DeflatedExplicitVRLittleEndian,
    "1.2.840.10008.1.2.1.98",
    "1.2.3.4.5",
)


@dataclass(kw_only=True)
class Case:
    """One instance to send. `made`: how, so that it can be made again. `status`: None until it is answered."""

    made: str
    data_set: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    content: bytes = field(init=False)
    status: int | None = None

    def __post_init__(self) -> None:
        """The Part 10 file as the door makes it of a C-STORE."""
        self.content = part10.wrap(
            self.data_set,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax,
            source_ae_title=AE_TITLE,
        )

    @property
    def accepted(self) -> bool:
        """Whether it was answered with success."""
        return self.status == SUCCESS

    @property
    def sha256(self) -> str:
        """Of the file: its name in quarantine."""
        return sha256(self.content).hexdigest()

    @property
    def digest(self) -> str | None:
        """Of the data set: its name among the kept; None where the file cannot be opened."""
        try:
            return part10.digest(self.content)
        except InstanceRefused:
            return None


def cases(seeds: Sequence[Seed], seed: str) -> Iterator[Case]:
    """Without end; the same for the same seed."""
    for number in range(1 << 62):
        yield case(seeds, Random(f"{seed} {number}"), f"{seed} {number}")


def case(seeds: Sequence[Seed], dice: Random, name: str) -> Case:
    """One case."""
    if dice.random() < BOMB_SHARE:
        bomb = dice.choice(BOMBS)
        data_set, syntax = bomb(dice)
        uid = _uid_of(data_set) or "1.2.3"
        return _case(f"{name} {bomb.__name__}", data_set, CTImageStorage, uid, syntax)
    origin = dice.choice(seeds)
    same = dice.random() < SAME_IDENTITY_SHARE
    data_set, uid = (origin.data_set, origin.sop_instance_uid) if same else origin.renamed(dice)
    data_set, how = mutate(data_set, origin.encoding, dice)
    syntax = origin.transfer_syntax
    if dice.random() < OTHER_SYNTAX_SHARE:
        syntax = dice.choice(SYNTAXES)
    return _case(f"{name} {origin.name} {how}", data_set, origin.sop_class_uid, uid, syntax)


def spoil_file(one: Case, dice: Random) -> None:
    """For STOW-RS, where the sender writes the File Meta Information, too."""
    if dice.random() < BAD_FILE_SHARE:
        head, tail = one.content[:400], one.content[400:]
        way = dice.choice((flip_bits, set_bytes))
        start = dice.choice((0, 128, 132))
        one.content = head[:start] + way(head[start:], part10.Encoding(), dice) + tail


def _case(made: str, data_set: bytes, sop_class_uid: str, sop_instance_uid: str, syntax: str) -> Case:
    return Case(
        made=made,
        data_set=data_set,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax=syntax,
    )


def _uid_of(data_set: bytes) -> str:
    at = data_set.find(b"1.2.9.")
    return data_set[at : at + 27].decode("ascii", "replace") if at >= 0 else ""
