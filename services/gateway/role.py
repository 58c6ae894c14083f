"""The two faces of the gateway, which deploy apart."""

from enum import StrEnum


class Role(StrEnum):
    """`door`: C-STORE, STOW-RS, HL7, the dispatcher. `desk`: API, work list, the rest of DICOMweb. `all`: both."""

    DOOR = "door"
    DESK = "desk"
    ALL = "all"

    @property
    def is_door(self) -> bool:
        """Whether images are taken in."""
        return self is not Role.DESK

    @property
    def is_desk(self) -> bool:
        """Whether people are served."""
        return self is not Role.DOOR
