"""Arguments for any operation of the table: shapes and values that hurt."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.fqt_core.adam_cases import ADAM_ARGUMENTS, adam_arguments
from tests.fqt_core.cases import native_arguments
from tests.fqt_core.hwnc_cases import HWNC_ARGUMENTS, hwnc_arguments
from tests.fqt_core.int8_cases import INT8_ARGUMENTS, int8_arguments
from tests.fqt_core.pixel_cases import PIXEL_ARGUMENTS, pixel_arguments
from tests.fqt_core.stem_cases import STEM_ARGUMENTS, stem_arguments


def arguments_of(operation: str) -> st.SearchStrategy[tuple[Any, ...]]:
    if operation in ADAM_ARGUMENTS:
        return adam_arguments(operation)
    if operation in INT8_ARGUMENTS:
        return int8_arguments(operation)
    if operation in PIXEL_ARGUMENTS:
        return pixel_arguments(operation)
    if operation in STEM_ARGUMENTS:
        return stem_arguments(operation)
    return hwnc_arguments(operation) if operation in HWNC_ARGUMENTS else native_arguments(operation)


def drawn(operation: str, count: int) -> list[tuple[Any, ...]]:
    """``count`` cases at most, the same in every run: for kernels that do not run in this process."""
    found: list[tuple[Any, ...]] = []

    @given(arguments_of(operation))
    @settings(max_examples=count, phases=[Phase.generate], database=None, derandomize=True)
    def collect(arguments: tuple[Any, ...]) -> None:
        found.append(arguments)

    collect()
    return found
