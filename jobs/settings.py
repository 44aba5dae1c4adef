"""One settings object for every process: read once from the environment (``FQT_…``), then passed down."""

from __future__ import annotations

import os
import re
import secrets
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from jobs.names import check_queue

SECRETS_DIR = "FQT_SECRETS_DIR"
FOLDER_NAME = "[a-z][a-z0-9-]{0,39}"
_RATE = r"^([1-9][0-9]{0,8}/(second|minute|hour|day)|off)$"


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "fqt"


def _networks(text: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(part.strip()) for part in text.split(",") if part.strip()]


def _folders(text: str) -> list[tuple[str, str]]:
    parts = (part.strip().partition("=") for part in text.split(",") if part.strip())
    return [(name.strip(), path.strip()) for name, _, path in parts]


class Settings(BaseSettings):
    """Where things are and how patient to be. Times are in seconds, sizes in bytes.

    Each field is read from the environment (``FQT_DATABASE_URL``), else from the file of that name (in any case) in the
    folder that ``FQT_SECRETS_DIR`` names, else it has its default.
    """

    model_config = SettingsConfigDict(env_prefix="FQT_", frozen=True, extra="ignore")

    data_dir: Path = Field(default_factory=_default_data_dir, description="Folder of everything kept on this machine.")
    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL (`sqlite:///…` or `postgresql://…`); empty: SQLite in the data folder.",
    )
    broker_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"), description="Redis or Valkey that carries the doorbells."
    )
    blob_dir: Path | None = Field(default=None, description="Folder of stored files; null: `blobs` in the data folder.")
    blob_url: str | None = Field(
        default=None,
        pattern=r"^s3://[^/@?#]+(/[^@?#]*)?$",
        description="Object store of the stored files, as `s3://bucket/prefix`; `blob_dir` then holds local copies. "
        "Credentials are found as Amazon's own tools find them (AWS_ACCESS_KEY_ID, …). Null: a folder.",
    )
    blob_endpoint: str | None = Field(
        default=None, description="URL of an object store other than Amazon's that speaks S3's protocol."
    )
    blob_cache_bytes: int = Field(
        default=10 * 2**30, ge=0, description="Bound of the local copies of files that an object store keeps."
    )
    secret: SecretStr | None = Field(
        default=None,
        description="Secret that API keys are hashed with; null: made once and kept in the data folder.",
    )

    host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port that the API listens on; 0: any free one.")
    api_url: str | None = Field(default=None, description="URL under which clients reach the API; null: host and port.")
    allowed_hosts: str = Field(
        default="",
        description="Host names that the API answers for, separated by commas (`*`: any); empty: the loopback names, "
        "`host` and the host of `api_url`.",
    )
    rate_limit_key: str = Field(
        default="6000/minute",
        pattern=_RATE,
        description="Requests of one API key: a number per second, minute, hour or day, over all API processes; `off`: "
        "no limit.",
    )
    rate_limit_address: str = Field(
        default="12000/minute", pattern=_RATE, description="Requests from one address (IPv6: one /64 network)."
    )
    rate_limit_failures: str = Field(
        default="60/minute",
        pattern=_RATE,
        description="Requests from one address with a key that does not exist; beyond, such requests get 429, not 401.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses or networks of proxies whose X-Forwarded-For is believed, separated by commas.",
    )
    migrate_at_start: bool | None = Field(
        default=None, description="Whether the API brings the tables up to date at its start; null: on SQLite only."
    )
    max_upload_bytes: int = Field(default=2 * 2**30, ge=1, description="Largest upload that is accepted.")
    database_pool: int = Field(default=5, ge=1, le=100, description="Database connections that a process keeps open.")

    lease_seconds: float = Field(
        default=15, gt=0, le=3600, description="A job whose worker says nothing for so long is taken back."
    )
    heartbeat_seconds: float = Field(default=3, gt=0, le=600, description="How often a worker renews its leases.")
    watch_seconds: float = Field(
        default=1, gt=0, le=60, description="How often a worker looks for requests to cancel or pause."
    )
    flush_seconds: float = Field(default=1, gt=0, le=60, description="How often events are written to the database.")
    reaper_seconds: float = Field(default=2, gt=0, le=600, description="Time between two rounds of the reaper.")
    poll_seconds: float = Field(
        default=5, gt=0, le=600, description="How often a free worker looks at the queue without being rung."
    )
    max_attempts: int = Field(
        default=3, ge=1, le=100, description="Attempts in a row without a new checkpoint after which a job has failed."
    )
    retry_backoff_seconds: float = Field(
        default=1, ge=0, le=3600, description="Wait before the third attempt; doubles with each further one."
    )
    stop_grace_seconds: float = Field(
        default=20, gt=0, le=3600, description="Time for a child to stop by itself before it gets SIGTERM."
    )
    kill_grace_seconds: float = Field(default=3, gt=0, le=600, description="Time between SIGTERM and SIGKILL.")
    max_job_seconds: float | None = Field(
        default=None, gt=0, description="Longest time that a job may run, all attempts together; null: no limit."
    )
    inspect_seconds: float = Field(default=600, gt=0, description="Longest time to look through a data set.")

    dataset_urls: Literal["off", "public", "private"] = Field(
        default="off",
        description="Whether data sets may be downloaded by URL: not at all; from public addresses; or from private "
        "networks and this machine too (never from link-local addresses and metadata services).",
    )
    dataset_url_ports: str = Field(
        default="80,443", description="Ports that data sets may be downloaded from, separated by commas."
    )
    dataset_url_seconds: float = Field(default=600, gt=0, description="Longest time that a download may take.")

    dataset_folders: str = Field(
        default="",
        description="Folders that data sets may be made of without a copy, as `name=/path` with commas between them. "
        "API and workers need the same names; workers need the folders, and only read them.",
    )

    max_model_bytes: int = Field(default=2**30, ge=1, description="Largest model file that is accepted.")
    predict_seconds: float = Field(
        default=30, gt=0, le=600, description="Longest time that a prediction may take, waiting for a worker included."
    )
    export_seconds: float = Field(
        default=300, gt=0, le=3600, description="Longest time to look through an uploaded model, or to export one."
    )
    predictor_cache_bytes: int = Field(
        default=512 * 2**20, ge=0, description="Bound of the models that a worker keeps ready to predict."
    )
    predictor_memory_bytes: int = Field(
        default=2 * 2**30, ge=512 * 2**20, description="Memory bound of the process of a worker that predicts."
    )
    predictor_idle_seconds: float = Field(
        default=600, gt=0, description="A worker's predicting process ends when nobody has asked it for so long."
    )

    queues: str = Field(
        default="cpu",
        description="Queues that a worker serves, separated by commas: `cpu`, `cuda`, and names of your own.",
    )
    gpu_jobs: Literal["offered", "always"] = Field(
        default="offered",
        description="Jobs with `device: cuda` are refused while workers run and none of them has a GPU; `always`: they "
        "are accepted, and wait for one.",
    )
    slots: int = Field(default=1, ge=1, le=256, description="Jobs that a worker runs at the same time.")
    threads: int | None = Field(
        default=None, ge=1, le=4096, description="Cores that a worker divides among its slots; null: all it may use."
    )
    child_memory_bytes: int | None = Field(
        default=None,
        ge=256 * 2**20,
        description="Memory bound of one child; null: the machine's, divided by the slots.",
    )
    max_queued_jobs: int | None = Field(
        default=None,
        ge=0,
        description="Jobs of one API key that may wait at the same time, queued or paused, unless the key has a number "
        "of its own; null: no limit.",
    )
    max_running_jobs: int | None = Field(
        default=None,
        ge=1,
        description="Jobs of one API key that may run at the same time, unless the key has a number of its own; null: "
        "no limit.",
    )
    max_job_steps: int | None = Field(
        default=None,
        ge=1,
        description="Optimiser steps that a job may be planned for; a key's own ceiling may lie below, not above; "
        "null: no limit.",
    )
    max_job_memory_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Memory that a job may be planned for; a key's own ceiling may lie below, not above; null: no "
        "limit.",
    )
    max_job_processes: int | None = Field(
        default=None, ge=1, description="Processes that one job may be divided among (`parallel`); null: no limit."
    )
    child_disk_bytes: int = Field(
        default=16 * 2**30, ge=2**20, description="Bound of what one child may keep in its folder on the worker's disk."
    )
    min_free_bytes: int = Field(
        default=256 * 2**20,
        ge=0,
        description="A worker takes no job while the disk of its folder, or that of the stored files, has less room.",
    )
    child_nice: int = Field(
        default=5, ge=0, le=19, description="Niceness of children, so that the service stays alert."
    )
    standby: bool = Field(
        default=True,
        description="Whether each free slot keeps a training process ready that has loaded PyTorch: jobs begin seconds "
        "sooner, for about 250 MB of memory.",
    )
    checkpoints_kept: int = Field(
        default=2, ge=1, le=1000, description="Checkpoints kept per job unless its spec says how many."
    )
    idempotency_hours: float = Field(default=24, gt=0, description="How long answers to Idempotency-Keys are kept.")
    log_retention_days: float | None = Field(
        default=None, gt=0, description="How long the logs and curves of jobs that have ended are kept; null: for ever."
    )
    webhook_private: bool = Field(
        default=False,
        description="Whether webhooks may be sent to this machine and to private networks, and without TLS.",
    )
    webhook_log_days: float = Field(default=30, gt=0, description="How long deliveries of webhooks are kept.")
    audit_retention_days: float | None = Field(
        default=365, gt=0, description="How long the audit log is kept; null: for ever."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    log_format: Literal["json", "console"] = Field(
        default="json", description="One JSON object per line, or lines for people."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the secrets' folder if there is one."""
        folder = os.environ.get(SECRETS_DIR)
        if not folder:
            return init_settings, env_settings
        if not Path(folder).is_dir():
            raise ValueError(f"{SECRETS_DIR} names {folder}, which is no folder; `fqt secrets {folder}` fills one")
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)

    @field_validator("queues")
    @classmethod
    def _queues_have_names(cls, queues: str) -> str:
        for name in filter(None, (part.strip() for part in queues.split(","))):
            check_queue(name)
        return queues

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, proxies: str) -> str:
        _networks(proxies)
        return proxies

    @field_validator("dataset_url_ports")
    @classmethod
    def _ports_are_numbers(cls, ports: str) -> str:
        for port in ports.split(","):
            if not (port.strip().isdecimal() and 0 < int(port) < 65536):
                raise ValueError(f"{port.strip()!r} is no port; write numbers with commas between them: 80,443")
        return ports

    @field_validator("dataset_folders")
    @classmethod
    def _folders_have_names(cls, folders: str) -> str:
        names = [name for name, _ in _folders(folders)]
        for name, path in _folders(folders):
            if not re.fullmatch(FOLDER_NAME, name) or not Path(path).is_absolute():
                raise ValueError(f"{name}={path}: write name=/path, the name in small letters, digits and hyphens")
        if len(set(names)) != len(names):
            raise ValueError("a name stands for one folder")
        return folders

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError(
                f"FQT_HEARTBEAT_SECONDS ({self.heartbeat_seconds:g}) must be at most half of FQT_LEASE_SECONDS "
                f"({self.lease_seconds:g}), or leases lapse while all is well"
            )
        return self

    @property
    def url(self) -> str:
        """The database URL with the default resolved."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir / 'fqt.db'}"

    @property
    def blobs(self) -> Path:
        """The folder of stored files with the default resolved."""
        return self.blob_dir or self.data_dir / "blobs"

    @property
    def public_url(self) -> str:
        """The URL of the API for clients, with the default resolved."""
        return self.api_url or f"http://{self.host}:{self.port}"

    @property
    def hosts(self) -> set[str]:
        """The host names that the API answers for, with the default resolved."""
        if named := {name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip()}:
            return named
        ours = urlsplit(self.public_url).hostname or ""
        names = {"localhost", "127.0.0.1", "[::1]", self.host.lower(), ours.lower()}
        return {f"[{name}]" if ":" in name and not name.startswith("[") else name for name in names if name}

    @property
    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """The networks of trusted proxies."""
        return _networks(self.trusted_proxies)

    @property
    def migrates(self) -> bool:
        """Whether the API brings the tables up to date at its start, with the default resolved."""
        return self.url.startswith("sqlite") if self.migrate_at_start is None else self.migrate_at_start

    @property
    def key_path(self) -> Path:
        """The file that the first API key of an embedded installation is written to (mode 0600)."""
        return self.data_dir / "key"

    @property
    def folders(self) -> dict[str, Path]:
        """The folders that data sets may be made of, by name."""
        return {name: Path(path) for name, path in _folders(self.dataset_folders)}

    @property
    def url_ports(self) -> frozenset[int]:
        """The ports that data sets may be downloaded from."""
        return frozenset(int(port) for port in self.dataset_url_ports.split(","))

    @property
    def queue_names(self) -> list[str]:
        """The queues of a worker, in the order given."""
        return [name.strip() for name in self.queues.split(",") if name.strip()]

    def key_secret(self) -> bytes:
        """The secret that API keys are hashed with; made on first use, one for all processes of the data folder."""
        if self.secret is not None:
            return self.secret.get_secret_value().encode()
        path = self.data_dir / "secret"
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            mine = path.with_name(f"secret.{secrets.token_hex(8)}")
            descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                path.hardlink_to(mine)  # fails if another process was first: then its secret counts
            except FileExistsError:
                pass
            finally:
                mine.unlink()
        return path.read_text().strip().encode()
