"""How small a model file is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fqt_core.tables import table


@dataclass(frozen=True)
class PartSize:
    """Bytes of one kind of content, and what it would take at 32 bits per value."""

    name: str
    bytes: int
    fp32_bytes: int

    @property
    def ratio(self) -> float:
        """How many times smaller; 1 for what only exists in the packed file."""
        return self.fp32_bytes / self.bytes if self.bytes and self.fp32_bytes else 1.0


@dataclass(frozen=True)
class PackedReport:
    """Size of a model file: ``bytes`` with its header, ``fp32_bytes`` of the same network at 32 bits per value."""

    path: str
    bytes: int
    fp32_bytes: int
    parts: tuple[PartSize, ...]

    @property
    def ratio(self) -> float:
        """How many times smaller than full precision the file is."""
        return self.fp32_bytes / self.bytes

    def to_json(self) -> dict[str, Any]:
        """Everything as a plain dict."""
        return {**asdict(self), "ratio": self.ratio, "parts": [{**asdict(p), "ratio": p.ratio} for p in self.parts]}

    def __str__(self) -> str:
        rows = [
            (part.name, f"{part.bytes:,}", f"{part.fp32_bytes:,}", f"{part.ratio:.1f}")
            for part in (*self.parts, PartSize("file", self.bytes, self.fp32_bytes))
        ]
        return table(("part", "bytes", "bytes at 32 bits", "times smaller"), rows)
