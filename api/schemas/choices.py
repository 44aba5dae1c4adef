"""What can be asked for, on the wire: methods and architectures with the JSON schema of their options."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field

from api.schemas.common import ListOf, Schema
from fqt_core.config import PRESETS, AnySearch, ArchitectureConfig, MethodConfig
from fqt_core.config.method_base import Task


class PresetObject(Schema):
    """A named set of a method's options."""

    name: str
    summary: str
    options: dict[str, Any] = Field(description="What the name stands for.")


class MethodObject(Schema):
    """A method: of training, or of searching a network's structure."""

    object: Literal["method"] = "method"
    name: str
    task: Task | Literal["expand"] = Field(
        description="What a job with it is given: `images`, or a table (`tabular`). `expand`: it is no job spec's "
        "`method` but its `search`, which tells how wide layers should be."
    )
    title: str
    summary: str
    source: str = Field(description="Where it was published.")
    arithmetic: str = Field(
        description="The least exact arithmetic that a product runs in, with the default options: float, simulated, "
        "integer or binary. A job's record says what it ran in."
    )
    options: dict[str, Any] = Field(description="JSON schema of the method's options, `name` included.")
    presets: list[PresetObject] = Field(description="What its option `preset` can name; empty if it has none.")

    @classmethod
    def of(cls, name: str, row: type[MethodConfig]) -> Self:
        """Show a row of the table of methods."""
        return cls(
            name=name,
            title=row.title,
            summary=row.summary,
            task=row.task,
            source=row.source,
            arithmetic=row(name=name).arithmetic,
            options=row.model_json_schema(),
            presets=[
                PresetObject(name=name, summary=preset.summary, options=dict(preset.options))
                for name, preset in (PRESETS.items() if "preset" in row.model_fields else ())
            ],
        )

    @classmethod
    def of_search(cls, name: str, row: type[AnySearch]) -> Self:
        """Show a row of the table of searches."""
        return cls(
            name=name,
            task="expand",
            title=row.title,
            summary=row.summary,
            source=row.source,
            arithmetic=row.arithmetic,
            options=row.model_json_schema(),
            presets=[],
        )


class ArchitectureObject(Schema):
    """A network that can be trained."""

    object: Literal["architecture"] = "architecture"
    name: str
    title: str
    summary: str
    options: dict[str, Any] = Field(description="JSON schema of the network's options, `name` included.")

    @classmethod
    def of(cls, name: str, row: type[ArchitectureConfig]) -> Self:
        """Show a row of the table of architectures."""
        return cls(name=name, title=row.title, summary=row.summary, options=row.model_json_schema())


class MethodList(ListOf[MethodObject]):
    """All methods."""


class ArchitectureList(ListOf[ArchitectureObject]):
    """All architectures."""
