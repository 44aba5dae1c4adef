"""What a conversion did, layer by layer, for people and for records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from fqt_core.tables import table

Action: TypeAlias = Literal["converted", "kept", "replaced", "rearranged", "fused"]


@dataclass(frozen=True)
class ConversionRow:
    """What became of one module.

    ``kind`` is its class before the conversion; ``weights`` the elements of its weight tensor (0 without one);
    ``arithmetic`` what its products run in: float, simulated, integer or binary; ``isa`` whose kernels run them:
    ``torch`` for full precision, else the instruction set (or ``reference``). Both are empty without a product.
    ``gradient`` says how a binarised layer's gradient is quantised, and by which override if there is one.
    """

    name: str
    kind: str
    action: Action
    reason: str
    weights: int = 0
    arithmetic: str = ""
    isa: str = ""
    gradient: str = ""


@dataclass(frozen=True)
class ConversionReport:
    """What :func:`fqt_core.convert.convert_` did.

    ``parameters`` counts all trainable values of the converted network, ``binary_parameters`` those that are one bit.
    ``notes`` are sentences about the conversion as a whole.
    """

    method: str
    arithmetic: str
    isa: str
    rows: tuple[ConversionRow, ...]
    parameters: int
    binary_parameters: int
    notes: tuple[str, ...] = ()

    @property
    def binary_share(self) -> float:
        """Share of the parameters that are one bit, 0 to 1."""
        return self.binary_parameters / self.parameters if self.parameters else 0.0

    def names(self, action: Action) -> list[str]:
        """Names of the modules with this action."""
        return [row.name for row in self.rows if row.action == action]

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as plain dicts."""
        return [asdict(row) for row in self.rows]

    def totals(self) -> dict[str, Any]:
        """Everything but the rows, as a plain dict."""
        return {
            "method": self.method,
            "arithmetic": self.arithmetic,
            "isa": self.isa,
            "parameters": self.parameters,
            "binary_parameters": self.binary_parameters,
            "binary_share": self.binary_share,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        header = ("layer", "kind", "action", "weights", "arithmetic", "isa", "gradient", "reason")
        rows = [
            (r.name, r.kind, r.action, f"{r.weights:,}" if r.weights else "", r.arithmetic, r.isa, r.gradient, r.reason)
            for r in self.rows
        ]
        total = (
            f"method {self.method}: {self.binary_parameters:,} of {self.parameters:,} parameters are one bit "
            f"({self.binary_share:.1%}); arithmetic {self.arithmetic}, kernels {self.isa}"
        )
        return "\n".join((table(header, rows), total, *self.notes))
