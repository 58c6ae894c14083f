"""The tables of a file of receivers: where each is, what it is told of, and how the site names things.

deploy/notifications.toml explains every key.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from services.backends.hosts import require_no_link_local
from services.backends.receivers.codes import STANDARD, SYSTEMS, Concept, parse_code
from services.backends.receivers.source import known_keyword
from services.backends.senders.link import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, Link
from services.backends.senders.toml_file import Table, TlsTable
from services.triage.finding import Occasion
from services.triage.model import Code

_HOST_PORT = re.compile(r"(?P<host>\[[^\[\]]+\]|[^\[\]:@/\s]+):(?P<port>[0-9]+)")
EVERY_RESULT = frozenset(Occasion) - {Occasion.FLAGGED}


def split_host_port(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`. Raises ValueError."""
    match = _HOST_PORT.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"'{text}' is no address: write HOST:PORT (an IPv6 address as [::1]:PORT)")
    return match["host"].strip("[]"), int(match["port"])


def _host_port(text: str) -> str:
    split_host_port(text)
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        secret, complete = parts.username is not None, parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError as error:
        raise ValueError("it cannot be read: write https://HOST[:PORT]/PATH") from error
    if secret:
        # and the text is not repeated: it holds a secret
        raise ValueError("an address holds no credentials: put them into the file of VIGIE_NOTIFICATION_CREDENTIALS")
    if not complete or parts.fragment:
        raise ValueError(f"'{text}' is no URL: write https://HOST[:PORT]/PATH")
    require_no_link_local(parts.hostname or "")
    return text.rstrip("/")


def _occasions(value: object) -> object:
    return EVERY_RESULT if value in ("all", ["all"]) else value


def _code(value: object) -> object:
    return parse_code(value) if isinstance(value, str) else value


def _no_delimiter(text: str) -> str:
    if re.search(r"[|~\\\r\n]", text):
        raise ValueError("no |, ~, \\ or line break may stand in a field of HL7; write components as A^B^C")
    return text


Keyword = Annotated[str, AfterValidator(known_keyword)]
CodeText = Annotated[Code, BeforeValidator(_code)]
Field7 = Annotated[str, AfterValidator(_no_delimiter)]


def _uri(text: str) -> str:
    if re.search(r"\s", text):
        raise ValueError(f"'{text}' is no URI")
    return text


Uri = Annotated[str, AfterValidator(_uri)]


class ReceiverTable(Table):
    """What all receivers have. link: to where a person looks, with {StudyInstanceUID} to be filled in."""

    tell: Annotated[frozenset[Occasion], BeforeValidator(_occasions)] = Field(EVERY_RESULT, min_length=1)
    tls: TlsTable | None = None
    connect_timeout_s: float = Field(CONNECT_TIMEOUT_S, gt=0)
    answer_timeout_s: float = Field(ANSWER_TIMEOUT_S, gt=0)
    link: str = ""

    def connection(self, folder: Path) -> Link:
        """With paths that are relative to the file's folder."""
        return Link(
            tls=self.tls.tls(folder) if self.tls else None,
            connect_timeout_s=self.connect_timeout_s,
            answer_timeout_s=self.answer_timeout_s,
        )

    def link_to(self, study_instance_uid: str) -> str:
        """Where a person looks at the study, empty where the site has not said."""
        return self.link.replace("{StudyInstanceUID}", study_instance_uid)


class CodedTable(ReceiverTable):
    """A receiver that is told patient, order and codes. order numbers: DICOM keywords of where the images tell them."""

    codes: dict[Concept, CodeText] = Field(default_factory=dict)
    placer_order_number: Keyword = "PlacerOrderNumberImagingServiceRequest"
    filler_order_number: Keyword = "AccessionNumber"

    def code(self, concept: Concept) -> Code:
        """The site's code for a concept, or the standard one."""
        return self.codes.get(concept, STANDARD[concept])


class Hl7Table(CodedTable):
    """A receiver of HL7 v2 messages over MLLP. issuers: IssuerOfPatientID -> PID-3.4; "" is that of images without."""

    kind: Literal["hl7"]
    address: Annotated[str, AfterValidator(_host_port)]
    issuers: dict[str, Field7] = Field(default_factory=dict)
    sending_application: Field7 = "VIGIE"
    sending_facility: Field7 = ""
    receiving_application: Field7 = ""
    receiving_facility: Field7 = ""
    processing_id: Literal["P", "T", "D"] = "P"
    acknowledgement: Literal["original", "enhanced"] = "original"
    character_set: Literal["UNICODE UTF-8", "8859/1"] = "UNICODE UTF-8"
    patient_id_type: Field7 = "PI"

    @property
    def encoding(self) -> str:
        """What Python calls the character set."""
        return {"UNICODE UTF-8": "utf-8", "8859/1": "iso-8859-1"}[self.character_set]


class FhirTable(CodedTable):
    """A FHIR R4B server, by its base URL. systems: URIs of coding schemes, beside those that are known.

    issuers: IssuerOfPatientID -> the system of the patient's number; "" is that of images without.

    imaging_study: created where there is none (the PACS has its own), or updated (nobody else tells of images).
    """

    kind: Literal["fhir"]
    address: Annotated[str, AfterValidator(_url)]
    identifier_system: Uri = Field("urn:vigie", min_length=1)
    issuers: dict[str, Uri] = Field(default_factory=dict)
    order_system: Uri = ""
    imaging_study: Literal["create", "update"] = "create"
    systems: dict[str, Uri] = Field(default_factory=dict)

    def system(self, scheme: str) -> str:
        """The URI of a coding scheme; of one that nobody named, a URN in our own system."""
        known: Mapping[str, str] = {**SYSTEMS, **self.systems}
        return known.get(scheme, f"{self.identifier_system}:scheme:{quote(scheme)}")


class WebhookTable(ReceiverTable):
    """A receiver of signed HTTP requests. include: what it is told beyond UIDs, outcome, flag and link."""

    kind: Literal["webhook"]
    address: Annotated[str, AfterValidator(_url)]
    include: frozenset[Literal["patient", "order", "findings"]] = frozenset()
