"""Settings of every process, from the environment (`VIGIE_...`) and flags. `vigie settings` prints what is in force."""

import os
from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """Every setting, its default, and what it means. Flags of the command line win over the environment."""

    model_config = SettingsConfigDict(env_prefix="VIGIE_", validate_default=True, extra="ignore")

    data: Path = Field(Path(platformdirs.user_data_dir("vigie")), description="Folder of everything that is kept.")
    database_url: SecretStr | None = Field(None, description="SQLAlchemy URL; default: SQLite in the data folder.")
    http: str = Field("127.0.0.1:8000", description="HOST:PORT of the HTTP API and the work list.")
    dicom: str = Field("127.0.0.1:11112", description="HOST:PORT of the DICOM listener.")
    ae_title: str = Field("VIGIE", description="Our AE title, called and calling.", max_length=16)
    max_associations: int = Field(64, ge=1, description="Associations served at the same time.")
    max_instance_mb: int = Field(4096, ge=1, description="An instance larger than this is refused (MB).")
    quiet_period_s: float = Field(15.0, ge=0, description="A study is complete when nothing arrived for so long.")
    send_to: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Destinations of results, comma-separated: AET@HOST:PORT, or a folder's path."
    )
    models: Path = Field(REPOSITORY / "models", description="Folder of MONAI bundles.")
    routing: Path = Field(REPOSITORY / "models" / "routing.toml", description="File of routing rules.")
    lease_s: float = Field(60.0, gt=0, description="A worker silent for so long loses its job to another.")
    max_attempts: int = Field(4, ge=1, description="Analyses of one job that may die or fail for a passing reason.")
    delivery_retry_s: float = Field(30.0, gt=0, description="First pause before a delivery is tried again; doubles.")
    delivery_retry_max_s: float = Field(3600.0, gt=0, description="Longest pause between two tries of a delivery.")
    threads: int = Field(os.cpu_count() or 1, ge=1, description="CPU threads of the embedded segmenter.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @field_validator("send_to", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    def store_url(self) -> str:
        """The SQLAlchemy URL in force."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data / 'vigie.sqlite'}"
