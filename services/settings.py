"""Settings of every process, from the environment (`VIGIE_...`) and flags. `vigie settings` prints what is in force."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.triage.inference import InferenceMode
from services.triage.job import OrderPriority
from services.triage.patient import IDENTIFIER_TYPES
from services.triage.retention import Retention
from services.triage.uncertainty import UncertaintyMode
from services.triage.volume import MAX_VOXELS

REPOSITORY = Path(__file__).resolve().parents[1]
WATTS_PER_CORE = 12.0
"""Of a busy core of any CPU, as Green Algorithms takes it (Lannelongue and others 2021)."""

GRID_G_PER_KWH = 21.7
"""Grams of CO2 equivalent per kWh produced in France in 2024 (RTE, Bilan electrique 2024)."""

_DAYS = re.compile(r"[0-9]{1,5}(?:\.[0-9]+)?")
_ORIGIN = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def _days(days: float | None) -> timedelta | None:
    return None if days is None else timedelta(days=days)


class Settings(BaseSettings):
    """Every setting, its default, and what it means. Flags of the command line win over the environment."""

    # a variable that is set to nothing is one that is not set: so do compose files and charts leave one out
    model_config = SettingsConfigDict(
        env_prefix="VIGIE_", validate_default=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    data: Path = Field(Path(platformdirs.user_data_dir("vigie")), description="Folder of everything that is kept.")
    database_url: SecretStr | None = Field(None, description="SQLAlchemy URL; default: SQLite in the data folder.")
    broker_url: SecretStr | None = Field(
        None, description="AMQP URL of RabbitMQ (amqp:// or amqps://); default: a queue in the database file."
    )
    broker_prefix: str = Field(
        "vigie", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="What our queues' names on RabbitMQ begin with."
    )
    broker_ca: Path | None = Field(None, description="CA certificates (PEM) that RabbitMQ's certificate is checked by.")
    broker_certificate: Path | None = Field(None, description="Our client certificate for RabbitMQ (PEM).")
    broker_key: Path | None = Field(None, description="The key of that certificate (PEM).")
    triton: str | None = Field(
        None, description="HOST:PORT of Triton's gRPC service; default: models run in the worker's own process."
    )
    triton_deadline_s: float = Field(1800.0, gt=0, description="Longest wait for one answer of Triton.")
    triton_metrics: str | None = Field(
        None, description="HOST:PORT of Triton's metrics (8002 is usual), for the energy of its GPU; default: not told."
    )
    watts_per_core: float = Field(
        WATTS_PER_CORE,
        gt=0,
        description="Power of a busy core, where the machine does not tell its energy (estimated).",
    )
    grid_g_per_kwh: float = Field(
        GRID_G_PER_KWH,
        ge=0,
        description="CO2 of the electricity (g/kWh); the default is France's in 2024 (RTE, Bilan electrique 2024).",
    )
    observatory_minimum: int = Field(
        20, ge=5, description="The observatory tells no figure that was counted in fewer studies."
    )
    observatory_days: int = Field(
        30, ge=7, le=366, description="Window of the observatory's alarms; its reference is three times as long."
    )
    observatory_interval_s: float = Field(
        3600.0, gt=0, description="So often the observatory looks for alarms, in one process of all."
    )
    http: str = Field("127.0.0.1:8000", description="HOST:PORT of the HTTP API and the work list.")
    http_certificate: Path | None = Field(
        None, description="Certificate of the HTTP server, with its chain (PEM); with it: TLS only."
    )
    http_key: Path | None = Field(None, description="The key of that certificate (PEM), without a passphrase.")
    http_connections: int = Field(
        1000,
        ge=10,
        description="HTTP connections at the same time, in each process; more are answered 503 and closed. An open "
        "page holds one.",
    )
    requests_per_minute: int = Field(
        1200,
        ge=0,
        description="Searches, pages and API requests of one caller in a minute; then 429 until some time has passed. "
        "Images, files of the viewer and events are not counted. So often, too, one address is told to sign in. Each "
        "process counts by itself: with three desks a caller may have three times as many. 0: no limit.",
    )
    max_stow_parts: int = Field(10_000, ge=1, description="Instances in one STOW-RS request.")
    insecure_http_without_sign_in: bool = Field(
        False, description="Serve HTTP beyond this machine although nobody has to sign in."
    )
    insecure_http_without_tls: bool = Field(
        False, description="Serve HTTP beyond this machine although neither it nor a proxy speaks TLS."
    )
    dicomweb_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins of web viewers that may use DICOMweb (CORS), comma-separated: https://viewer.example. "
        "None by default; there is no 'any', for every web page would then see patients.",
    )
    dicom: str = Field("127.0.0.1:11112", description="HOST:PORT of the DICOM listener.")
    dicom_tls: str | None = Field(
        None, description="HOST:PORT where the DICOM listener speaks TLS, beside the plain one (2762 is usual)."
    )
    dicom_tls_certificate: Path | None = Field(None, description="The listener's certificate, with its chain (PEM).")
    dicom_tls_key: Path | None = Field(None, description="The key of that certificate (PEM), without a passphrase.")
    dicom_tls_ca: Path | None = Field(
        None,
        description="CA certificates (PEM) of those who may connect over TLS: a client without a certificate of theirs "
        "is refused, and so is one on their revocation lists, where the file has them (docs/security.md). Default: "
        "clients need none.",
    )
    hl7: str | None = Field(
        None,
        pattern=r"^.+:\d{1,5}$",
        description="HOST:PORT where HL7 v2 ADT is taken over MLLP (docs/hl7.md); default: nowhere.",
    )
    hl7_assigning_authority: str = Field(
        "",
        max_length=64,
        description="Namespace of the patient IDs whose issuer is not told, in images and in HL7 messages.",
    )
    hl7_identifier_types: Annotated[tuple[str, ...], NoDecode] = Field(
        IDENTIFIER_TYPES,
        description="Types (CX.5, HL7 table 0203) of the IDs in HL7 messages that are a patient's, by commas; "
        "an ID without a type always is.",
    )
    hl7_character_set: str = Field(
        "ASCII", description="Character set of HL7 messages that tell none (MSH-18, HL7 table 0211)."
    )
    hl7_certificate: Path | None = Field(None, description="Certificate of the HL7 listener (PEM); with it: TLS only.")
    hl7_key: Path | None = Field(None, description="The key of that certificate (PEM).")
    hl7_ca: Path | None = Field(
        None, description="CA certificates (PEM) of HL7 senders; with it they must show one that these have signed."
    )
    ae_title: str = Field("VIGIE", description="Our AE title, called and calling.", max_length=16)
    max_associations: int = Field(64, ge=1, description="Associations served at the same time, by each door.")
    min_free_mb: int = Field(
        512, ge=0, description="With less free space (MB) in the data folder, instances are refused (0xA700, HTTP 503)."
    )
    max_instance_mb: int = Field(4096, ge=1, description="An instance larger than this is refused (MB).")
    quiet_period_s: float = Field(15.0, ge=0, description="A study is complete when nothing arrived for so long.")
    pacs: Path | None = Field(
        None,
        description="TOML file: PACS that are asked whether a study is complete, and for studies that never came "
        "(deploy/pacs.toml).",
    )
    pacs_grace_s: float = Field(
        30.0, ge=0, description="A PACS that cannot be reached delays the completion of a study by so long at most."
    )
    completion_signals: bool = Field(
        False, description="Accept MPPS and Instance Availability Notifications, and complete studies on them."
    )
    longest_wait_s: float = Field(
        900.0,
        ge=0,
        description="A study of which PACS, MPPS or notification tell more than came is complete so long after its "
        "last image all the same.",
    )
    ae_priorities: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Order priority by calling AE title: AET=stat, AET=high, comma-separated. A rule may raise it."
    )
    send_to: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Destinations of results, comma-separated: AET@HOST:PORT, https://HOST/PATH, a folder's path."
    )
    destinations: Path | None = Field(
        None,
        description="TOML file: more destinations, a table each, with their objects, TLS and storage commitment "
        "(deploy/destinations.toml).",
    )
    notifications: Path | None = Field(
        None,
        description="TOML file: who is told of results, a table each: HL7 v2, FHIR or a signed webhook "
        "(deploy/notifications.toml).",
    )
    notification_credentials: Path | None = Field(
        None,
        description="TOML file: per receiver a table [NAME] of secret (webhook), token, or user and password (FHIR).",
    )
    commitment: Path | None = Field(
        None,
        description="TOML file: the AEs that may ask us for storage commitment, a table each, with the archive that "
        "must have committed first (deploy/commitment.toml). Default: nobody.",
    )
    peers: Path | None = Field(
        None,
        description="TOML file: the AEs that may open an association, each with its addresses or certificate, what "
        "it may do, its quotas and its priority (deploy/peers.toml). Default: whoever can reach the port.",
    )
    tenants: Path | None = Field(
        None,
        description="TOML file: hospitals that are kept apart, by called and calling AE titles; each with its "
        "destinations (deploy/tenants.toml). Default: there is one.",
    )
    blind: Path | None = Field(
        None,
        description="TOML file: of which studies the AI's result is withheld until a reader has assessed them "
        "(deploy/blind.toml). Default: of none.",
    )
    people: Path | None = Field(
        None,
        description="TOML file: people who may sign in at the desk, with their roles, and machines with what they may "
        "do (deploy/people.toml, docs/roles.md). Default: whoever reaches the desk may do everything.",
    )
    oidc: Path | None = Field(
        None,
        description="TOML file: the identity provider where people sign in (OpenID Connect), and what its roles mean "
        "here (deploy/oidc.toml, docs/sign-in.md). Default: none.",
    )
    oidc_client_secret: SecretStr | None = Field(
        None, description="Our secret at the identity provider; default: we are a public client there (PKCE alone)."
    )
    session_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="What sessions are signed with, 32 characters at least; a new one ends all of them. Default: made "
        "once, and kept in the database.",
    )
    session_idle_min: float = Field(
        30.0, gt=0, description="A session ends when its person did nothing for so long (minutes)."
    )
    session_longest_h: float = Field(12.0, gt=0, description="A session ends so long after signing in (hours).")
    https: bool = Field(
        False, description="People reach the desk by https, at a proxy that speaks TLS: cookies are sent no other way."
    )
    check_called_ae_title: bool = Field(
        False, description="Reject associations that call another AE title than ours (PS3.8: 7, called AE title)."
    )
    calling_ae_titles: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="AE titles that may send us images, comma-separated; others are rejected (PS3.8: 3, calling AE "
        "title). Default: any.",
    )
    insecure_dicom_any_caller: bool = Field(
        False,
        description="Let the DICOM listener be reached from elsewhere though nothing says who may call (VIGIE_PEERS).",
    )
    insecure_dicom_without_tls: bool = Field(
        False,
        description="Let the DICOM listener be reached from elsewhere without TLS: on a network of its own.",
    )
    insecure_hl7_without_mutual_tls: bool = Field(
        False,
        description="Let the HL7 listener be reached from elsewhere without certificates of both ends: whoever "
        "reaches it can change whose a study is.",
    )
    verdict_quiet_s: float = Field(
        60.0,
        ge=0,
        description="A reader's verdicts on a study become a DICOM document when they say that they have finished, or "
        "gave none for so long.",
    )
    organization: str = Field(
        "",
        max_length=64,
        description="Name of the hospital, as it stands in documents that a reader verifies; without it none is "
        "VERIFIED.",
    )
    recall_notes: bool = Field(
        False,
        description="Reject recalled results at the destinations that have them, by a Key Object Selection (IHE IOCM).",
    )
    retention_days: float | None = Field(
        None,
        ge=1,
        description="Source images go so many days after something of their study last came, was found, answered or "
        "read, unless something still needs them (docs/operations/retention.md). Default: never.",
    )
    retention_tenant_days: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="The same for single tenants: NAME=DAYS, comma-separated."
    )
    retention_unread_days: float | None = Field(
        None,
        ge=1,
        description="After so many days images go even if nobody has marked their study as read here. Refused without "
        "VIGIE_RETENTION_DAYS or VIGIE_RETENTION_TENANT_DAYS: then none go. Default: never.",
    )
    retention_free_percent: float | None = Field(
        None,
        gt=0,
        lt=90,
        description="With less free space (percent of the disk), images go VIGIE_RETENTION_PRESSED_DAYS after, the "
        "oldest first, until there is more. Refused without VIGIE_RETENTION_DAYS or VIGIE_RETENTION_TENANT_DAYS: then "
        "none go. Default: their age alone counts.",
    )
    retention_pressed_days: float = Field(
        2.0,
        ge=1,
        description="So long images are kept whatever the disk (days), where VIGIE_RETENTION_FREE_PERCENT is set.",
    )
    retention_results_days: float | None = Field(
        None,
        ge=183,
        description="The whole record of a study, its results and verdicts among it, goes so many days after anybody "
        "last did something with it; 183 at least (EU AI Act, article 26). Default: never.",
    )
    retention_quarantine_days: float | None = Field(
        None, ge=1, description="Refused files in quarantine go after so many days. Default: never."
    )
    retention_interval_s: float = Field(
        3600.0, gt=0, description="So often retention looks at all studies, in one process of all."
    )
    stow_ca: Path | None = Field(None, description="CA certificates (PEM) that a STOW-RS server is checked by.")
    stow_credentials: Path | None = Field(
        None,
        description='TOML file: per destination a table ["https://HOST/PATH"] of token, of user and password, or for '
        "OAuth 2.0 of token_url, client_id, client_secret and perhaps scope.",
    )
    models: Path = Field(REPOSITORY / "models", description="Folder of MONAI bundles.")
    routing: Path = Field(REPOSITORY / "models" / "routing.toml", description="File of routing rules.")
    viewer: Path = Field(
        REPOSITORY / "build" / "ohif", description="Folder of the OHIF viewer, as `make viewer` installs it."
    )
    lease_s: float = Field(60.0, gt=0, description="A worker or sender silent for so long loses its work to another.")
    max_attempts: int = Field(4, ge=1, description="Analyses of one job that may die or fail for a passing reason.")
    analysis_limit_s: float = Field(
        1800.0, gt=0, description="An analysis that runs longer is given up (time_limit), and its worker starts afresh."
    )
    stop_grace_s: float = Field(
        20.0, ge=0, description="So long a worker that is told to stop may finish its analysis; then it gives it back."
    )
    max_volume_voxels: int = Field(
        MAX_VOXELS, ge=1, description="A larger series is not analysed (too_large); the default is 2048 x 512 x 512."
    )
    delivery_retry_s: float = Field(30.0, gt=0, description="First pause before a delivery is tried again; doubles.")
    delivery_retry_max_s: float = Field(300.0, gt=0, description="Longest pause between two tries of a delivery.")
    audit_window_min: float = Field(
        10.0,
        gt=0,
        description="One event of the audit trail stands for all accesses of a person to a study in so long.",
    )
    audit_syslog: str | None = Field(
        None,
        pattern=r"^.+:\d{1,5}$",
        description="HOST:PORT of the syslog server over TLS (RFC 5425; 6514 is usual) that gets the audit trail "
        "(docs/audit.md); default: none.",
    )
    audit_syslog_ca: Path | None = Field(
        None, description="CA certificates (PEM) that its certificate is checked by; default: those of the machine."
    )
    audit_syslog_certificate: Path | None = Field(None, description="Our client certificate for it (PEM).")
    audit_syslog_key: Path | None = Field(None, description="The key of that certificate (PEM).")
    audit_source: str = Field(
        "Vigie", max_length=64, description="Audit Source ID: what this installation calls itself in audit messages."
    )
    audit_site: str = Field("", max_length=64, description="Audit Enterprise Site ID in audit messages.")
    audit_anchors: Path | None = Field(
        None,
        description="File to which the digest of the trail's head is added (a line of JSON each); put it where nobody "
        "who writes the database writes. Default: audit/anchors.jsonl in the data folder.",
    )
    audit_anchor_interval_s: float = Field(3600.0, gt=0, description="So often, while the trail grows.")
    inference: InferenceMode = Field(
        InferenceMode.REFERENCE,
        description="reference: networks run in PyTorch, with MONAI's own labels voxel for voxel. fast: on a CPU by "
        "OpenVINO in float32, compared first; on a GPU with autocast (docs/models.md).",
    )
    converted: Path = Field(
        Path(platformdirs.user_cache_dir("vigie")) / "converted",
        description="Folder where the fast mode keeps converted networks for the next process, 2 GiB at most; made if "
        "need be, with mode 0700. none: they are not kept.",
    )
    uncertainty: UncertaintyMode = Field(
        UncertaintyMode.OFF,
        description="flips: a network runs again on images mirrored along each axis, about four times the work, and "
        "results tell how each score varies; no score changes (docs/models.md).",
    )
    threads: int = Field(os.cpu_count() or 1, ge=1, description="CPU threads of the embedded segmenter.")
    metrics: str | None = Field(
        None,
        pattern=r"^.+:\d{1,5}$",
        description="HOST:PORT where `vigie worker` or `vigie deliver` tells its metrics; door and desk tell theirs at "
        "/metrics. Default: nowhere.",
    )
    ntp: str | None = Field(
        None, description="HOST of a time server that our clocks are compared with (SNTP), for the metrics."
    )
    flag_target_s: float = Field(
        900.0, gt=0, description="A flag that comes later after a study's last image is late, in the metrics."
    )
    scrub_files_per_s: float = Field(
        20.0, ge=0, description="So many kept files a second are looked for, whether one is lost; 0: none."
    )
    trace_url: str | None = Field(
        None,
        pattern=r"^https?://.*\{trace_id\}",
        description="Address of a trace in your viewer, with {trace_id} for its id; a study's page links there.",
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_set(cls, values: dict[str, object]) -> dict[str, object]:
        """As for variables: an optional setting that a flag sets to nothing is not set."""
        optional = {name for name, field in cls.model_fields.items() if field.default is None}
        return {name: value for name, value in values.items() if value != "" or name not in optional}

    @model_validator(mode="after")
    def _tls_is_complete(self) -> "Settings":
        if (self.http_certificate is None) != (self.http_key is None):
            raise ValueError("VIGIE_HTTP_CERTIFICATE and VIGIE_HTTP_KEY go together")
        if self.dicom_tls and not (self.dicom_tls_certificate and self.dicom_tls_key):
            raise ValueError("VIGIE_DICOM_TLS needs VIGIE_DICOM_TLS_CERTIFICATE and VIGIE_DICOM_TLS_KEY")
        return self

    @model_validator(mode="after")
    def _syslog_certificate_has_its_key(self) -> "Settings":
        if (self.audit_syslog_certificate is None) != (self.audit_syslog_key is None):
            raise ValueError("VIGIE_AUDIT_SYSLOG_CERTIFICATE and VIGIE_AUDIT_SYSLOG_KEY go together")
        return self

    @field_validator(
        "send_to",
        "ae_priorities",
        "dicomweb_origins",
        "calling_ae_titles",
        "hl7_identifier_types",
        "retention_tenant_days",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("hl7_identifier_types")
    @classmethod
    def _are_upper(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(each.upper() for each in value)

    @field_validator("ae_priorities")
    @classmethod
    def _are_priorities(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            ae_title, _, priority = entry.rpartition("=")
            if not ae_title.strip() or priority.strip().upper() not in OrderPriority.__members__:
                raise ValueError(f"'{entry}' gives no priority: write AE_TITLE=stat, =high or =routine")
        return value

    @field_validator("retention_tenant_days")
    @classmethod
    def _are_days(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            name, _, days = entry.rpartition("=")
            if not name.strip() or not _DAYS.fullmatch(days.strip()) or float(days) < 1:
                raise ValueError(f"'{entry}' tells no days: write TENANT=14")
        return value

    @field_validator("dicomweb_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if not _ORIGIN.fullmatch(entry):
                raise ValueError(f"'{entry}' is no origin: write https://HOST or https://HOST:PORT, without a path")
        return value

    @model_validator(mode="after")
    def _images_go_by_age(self) -> "Settings":
        if self.retention().youngest() is None and (self.retention_unread_days or self.retention_free_percent):
            raise ValueError(
                "VIGIE_RETENTION_UNREAD_DAYS and VIGIE_RETENTION_FREE_PERCENT delete nothing by themselves: set "
                "VIGIE_RETENTION_DAYS, or VIGIE_RETENTION_TENANT_DAYS, or leave them out"
            )
        return self

    @model_validator(mode="after")
    def _one_check_of_titles(self) -> "Settings":
        if self.tenants is not None and (self.check_called_ae_title or self.calling_ae_titles):
            raise ValueError(
                "with VIGIE_TENANTS, its file says who may call: leave out VIGIE_CHECK_CALLED_AE_TITLE and "
                "VIGIE_CALLING_AE_TITLES"
            )
        return self

    @model_validator(mode="after")
    def _one_list_of_callers(self) -> "Settings":
        if self.peers is not None and (self.calling_ae_titles or self.ae_priorities):
            raise ValueError(
                "with VIGIE_PEERS, its file says who may call and with which priority: move VIGIE_CALLING_AE_TITLES "
                "and VIGIE_AE_PRIORITIES there"
            )
        return self

    def order_priorities(self) -> dict[str, OrderPriority]:
        """AE title -> priority of the orders whose images it sends."""
        parts = (entry.rpartition("=") for entry in self.ae_priorities)
        return {ae_title.strip(): OrderPriority[priority.strip().upper()] for ae_title, _, priority in parts}

    def retention(self) -> Retention:
        """What goes after how long."""
        entries = (entry.rpartition("=") for entry in self.retention_tenant_days)
        return Retention(
            images=_days(self.retention_days),
            of_tenant={name.strip(): timedelta(days=float(days)) for name, _, days in entries},
            unread=_days(self.retention_unread_days),
            free_fraction=self.retention_free_percent / 100 if self.retention_free_percent is not None else None,
            pressed=_days(self.retention_pressed_days) if self.retention_free_percent is not None else None,
            results=_days(self.retention_results_days),
            quarantine=_days(self.retention_quarantine_days),
        )

    def dicom_addresses(self) -> tuple[str, ...]:
        """HOST:PORT of each place where the DICOM listener listens."""
        return (self.dicom, self.dicom_tls) if self.dicom_tls else (self.dicom,)

    def audit_anchors_file(self) -> Path:
        """Where anchors of the audit trail are kept."""
        return self.audit_anchors or self.data / "audit" / "anchors.jsonl"

    @property
    def converted_folder(self) -> Path | None:
        """Where converted networks are kept; None: nowhere."""
        return None if self.converted == Path("none") else self.converted

    @property
    def flips_within_s(self) -> float | None:
        """How long the mirrored runs of an analysis may take: half of its time limit. None: none are asked for."""
        if self.uncertainty is UncertaintyMode.OFF:
            return None
        limits = [self.analysis_limit_s, *([self.triton_deadline_s] if self.triton else [])]
        return min(limits) / 2

    def store_url(self) -> str:
        """The SQLAlchemy URL in force."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data / 'vigie.sqlite'}"
