"""What passes between a supervisor and its child, besides the events of :mod:`fqt_core.events`.

- The child's work is in ``job.json`` (or ``inspect.json``) in its folder.
- It writes one JSON object per line to the pipe whose descriptor ``--events`` names; stdout and stderr are a log file.
- It reads words from stdin, one per line: ``start`` (of a child that was started before its job was known), ``stop``
  (checkpoint, then exit) and ``cancel`` (exit, nothing is needed any more). The end of stdin means that the supervisor
  is gone: it exits at once.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from fqt_core.events import AnyEvent
from jobs.spec import JobSpec


class Exit(IntEnum):
    """Exit codes of a child. Any other one, and any signal, is a crash: the attempt may be repeated."""

    DONE = 0
    STOPPED = 10  # at a checkpoint, as asked
    CANCELLED = 11  # as asked
    FAILED = 20  # for good; a `failed` event says why
    ORPHANED = 30  # the supervisor is gone


class Word(StrEnum):
    """What a supervisor says to its child."""

    START = "start"  # to one that waits for its job, which is in its folder now
    STOP = "stop"
    CANCEL = "cancel"


class Limits(BaseModel):
    """What a child may use. The child confines itself before it loads anything."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_bytes: int = Field(description="Bound of private memory (RLIMIT_DATA).")
    nice: int = 0
    file_bytes: int | None = Field(default=None, description="Largest file that it may write.")


class TrainingInput(BaseModel):
    """``job.json``: everything that a training child needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str
    spec: JobSpec
    dataset: str = Field(description="Path of the data set's file, or the name of a built-in one.")
    listing: str | None = Field(
        default=None, description="Path of what the data set's files must be, if it is a mounted folder."
    )
    initial_weights: str | None = Field(default=None, description="Path of a safetensors file.")
    teacher: str | None = Field(default=None, description="Path of a packed model to learn from.")
    resume_from: str | None = Field(default=None, description="Path of a checkpoint.")
    threads: int
    device: Literal["auto", "cpu", "cuda"]
    limits: Limits


LISTING = "listing.txt"
"""What a mounted folder holds, file by file; an inspection leaves it in its folder."""

THUMBNAILS = "thumbnails.webp"
"""The contact sheet that an inspection leaves in its folder, if the data set is usable."""


class InspectionInput(BaseModel):
    """``inspect.json``: what a child needs to look through a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    mounted: bool = Field(default=False, description="Whether it is a folder that others may write to.")
    limits: Limits


class FetchInput(BaseModel):
    """``fetch.json``: what a child needs to download a data set. ``private`` and ``ports``: see :mod:`jobs.urls`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    private: bool
    ports: list[int]
    sha256: str | None = Field(description="What the bytes must have, if that is known.")
    max_bytes: int
    limits: Limits


DOWNLOAD = "download"
"""The file that a fetching child leaves in its folder."""


class ModelInput(BaseModel):
    """``models.json``: what a child that answers questions about models needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limits: Limits
    threads: int
    cache_bytes: int = Field(description="Bound of the models that it keeps.")


class Confined(BaseModel):
    """The first line of a child: which limits hold. What the kernel did not allow says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["confined"] = "confined"
    limits: dict[str, Any]


class Profiled(BaseModel):
    """The one result of an inspection: the data set's profile, with its faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["profiled"] = "profiled"
    profile: dict[str, Any]
    size: int | None = Field(default=None, description="Bytes of a mounted folder's files.")


class Fetched(BaseModel):
    """The one result of a download: it is whole, in the child's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["fetched"] = "fetched"


class Answered(BaseModel):
    """The answer to one question about a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["answered"] = "answered"
    ok: bool
    values: dict[str, Any]


class Ready(BaseModel):
    """Of the first process of a job that is divided among several: it listens. Goes no further than its parent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["ready"] = "ready"


class Ended(BaseModel):
    """The last word of such a job's processes: what their parent is to end with. Goes no further than it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["ended"] = "ended"
    code: Exit


Message = Annotated[AnyEvent | Confined | Profiled | Fetched | Answered | Ready | Ended, Field(discriminator="type")]
_ADAPTER: TypeAdapter[Message] = TypeAdapter(Message)


def parse_message(line: bytes) -> Message:
    """Read one line of a child.

    Raises:
        pydantic.ValidationError: it is nothing that a child says (a ``ValueError``).
    """
    return _ADAPTER.validate_json(line)
