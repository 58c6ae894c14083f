"""What the tables of our TOML files have in common."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from services.backends.senders.destinations import check_ae_title
from services.backends.senders.link import Tls

AeTitle = Annotated[str, AfterValidator(check_ae_title)]


class Table(BaseModel):
    """A table; a key that is not known is an error."""

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


def faults(error: ValidationError) -> str:
    """What is wrong in a table, field by field."""
    return "; ".join(_told(detail["loc"], detail["msg"]) for detail in error.errors())


def _told(place: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"field '{'.'.join(map(str, place))}': {message}" if place else message
