"""Constants that are made of parameters and running statistics, kept for as long as nobody changes these."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

T = TypeVar("T")

_PLACE = "_fqt_kept_constants"


class _Kept:
    """What a module keeps. It stays behind when the module is copied or pickled."""

    def __init__(self) -> None:
        self.sources: tuple[Tensor | None, ...] = ()
        self.key: Hashable = None
        self.value: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Kept, ()


def kept(owner: nn.Module, sources: Sequence[Tensor | None], settings: Hashable, make: Callable[[], T]) -> T:
    """What ``make`` returns, or what it returned before of the same sources and settings.

    A change is noticed by autograd's version counter, so a write that goes round it (through ``data`` or a NumPy view)
    is not. Tensors made in inference mode have no such counter, and nothing is kept of them.

    Args:
        owner: the module that keeps it; one value at a time.
        sources: all tensors that the value is made of.
        settings: all else that it is made of.
        make: makes it.
    """
    present = [source for source in sources if source is not None]
    if any(source.is_inference() for source in present):
        return make()
    store: _Kept = vars(owner).setdefault(_PLACE, _Kept())
    key = (settings, *(source._version for source in present))
    same = len(store.sources) == len(sources) and all(a is b for a, b in zip(store.sources, sources, strict=True))
    if not same or store.key != key:
        store.sources, store.key, store.value = (), None, None
        value = make()
        store.sources, store.key, store.value = tuple(sources), key, value
    result: T = store.value
    return result
