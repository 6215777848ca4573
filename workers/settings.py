"""The typed table of settings every process reads from the environment.

What the environment lacks is read from `$DATA_DIR/instance.env`, which
`manage.py up` writes, so a command with the same DATA_DIR finds the running copy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Table = TypeVar("Table", bound="WorkerSettings")

CHECKOUT = Path(__file__).resolve().parent.parent


def data_dir() -> Path:
    return Path(os.environ.get("DATA_DIR") or CHECKOUT / "var").resolve()


class WorkerSettings(BaseSettings):
    """What a worker needs; `config.settings` adds what the web needs."""

    # Below DATA_DIR, the later file wins: a worker signs in to Vault as one.
    instance_files: ClassVar[tuple[str, ...]] = ("instance.env", "worker.env")

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=False)

    data_dir: Path = Field(default_factory=data_dir)
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    temporal_tls_ca_file: Path | None = None
    temporal_tls_cert_file: Path | None = None
    temporal_tls_key_file: Path | None = None
    vault_addr: str = "http://127.0.0.1:8200"
    vault_mount: str = "surveyor"
    vault_role_id: str = ""
    vault_secret_id_file: Path | None = None
    storage_url: str = ""
    max_concurrent_activities: int = Field(default=8, ge=1, le=1000)
    heartbeat_interval: float = Field(default=0.5, gt=0, le=5)
    log_format: str = Field(default="console", pattern="^(console|json)$")
    log_level: str = "INFO"
    # Sources on these addresses are refused: our own servers, "host:port" each.
    denied_endpoints: Annotated[list[str], NoDecode] = Field(default_factory=list)
    allow_loopback_sources: bool = False
    # Below it lie files that may be sources; empty means none.
    source_files: Path | None = None
    worker_name: str = ""

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.resolve()

    @field_validator("denied_endpoints", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            [v.strip() for v in value.split(",") if v.strip()] if isinstance(value, str) else value
        )

    @field_validator("source_files", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return value or None

    @field_validator("source_files")
    @classmethod
    def _apart(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        """Our own databases are no sources."""
        if value is None:
            return None
        if not value.is_absolute():
            raise ValueError("SOURCE_FILES must be an absolute path")
        found, own = value.resolve(), info.data.get("data_dir")
        if own and (own.is_relative_to(found) or found.is_relative_to(own)):
            raise ValueError("SOURCE_FILES must lie outside DATA_DIR, and not around it")
        return found

    @field_validator("storage_url")
    @classmethod
    def _storage(cls, value: str) -> str:
        if value and not value.startswith("file://"):
            raise ValueError(
                "STORAGE_URL must start with file:// (object stores are not supported yet)"
            )
        return value

    @property
    def storage(self) -> str:
        return self.storage_url or f"file://{self.data_dir / 'storage'}"


def load(table: type[Table]) -> Table:
    """The settings from the environment, then `instance.env`; a wrong one ends the process.

    Raises SystemExit with a line per wrong setting.
    """
    try:
        files = [data_dir() / name for name in table.instance_files]
        return table(_env_file=files)  # type: ignore[call-arg]
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        ]
        raise SystemExit("Wrong settings:\n  " + "\n  ".join(lines)) from None
