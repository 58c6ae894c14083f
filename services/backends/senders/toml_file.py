"""What TOML files about peers have in common: tables with checked fields, and what is said of a wrong one."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.backends.senders.destinations import check_ae_title
from services.backends.senders.link import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, Link, Tls

AeTitle = Annotated[str, AfterValidator(check_ae_title)]


class Table(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(extra="forbid")


class TlsTable(Table):
    """The table `tls` of a peer."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    check_server_name: bool = True

    @model_validator(mode="after")
    def _both_or_none(self) -> "TlsTable":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key come together")
        return self

    def tls(self, folder: Path) -> Tls:
        """With paths that are relative to the file's folder."""
        ca, certificate, key = (path and folder / path for path in (self.ca, self.certificate, self.key))
        return Tls(ca=ca, certificate=certificate, key=key, check_server_name=self.check_server_name)


class PeerTable(Table):
    """How a DICOM peer is reached."""

    calling_ae_title: AeTitle | None = None
    tls: TlsTable | None = None
    connect_timeout_s: float = Field(CONNECT_TIMEOUT_S, gt=0)
    answer_timeout_s: float = Field(ANSWER_TIMEOUT_S, gt=0)

    def link(self, folder: Path) -> Link:
        """Of a file in this folder."""
        return Link(
            tls=self.tls.tls(folder) if self.tls else None,
            connect_timeout_s=self.connect_timeout_s,
            answer_timeout_s=self.answer_timeout_s,
        )


def read_tables(path: Path) -> dict[str, Any]:
    """The content of a file. Raises OSError, ValueError: it is no TOML."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def told(error: ValidationError) -> str:
    """What is wrong with a table, for the person who wrote it."""
    return "; ".join(_told(detail["loc"], detail["msg"]) for detail in error.errors())


def _told(place: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"field '{'.'.join(map(str, place))}': {message}" if place else message
