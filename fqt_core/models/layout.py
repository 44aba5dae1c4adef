"""How a network tells :func:`fqt_core.convert.convert_` what its binarised form looks like."""

from __future__ import annotations

from abc import ABC, abstractmethod


class BinaryLayout(ABC):
    """Mixin of modules that are arranged differently when their layers are binarised.

    A network that is good in full precision is not good at one bit by swapping its layers alone: the sign wants
    values around zero, and what a sign forgets wants a way around it. A module with this mixin rearranges itself, and
    names the layers that have to stay in full precision. Parameters that exist in both forms keep name and shape, so
    that weights of one fit the other.
    """

    @abstractmethod
    def binarize_layout_(self) -> str:
        """Switch to the binarised arrangement, in place; calling it again changes nothing.

        Returns:
            What was changed, for the conversion report.
        """

    def full_precision_layers(self) -> dict[str, str]:
        """Names of layers below this module that are not to be binarised, each with the reason."""
        return {}
