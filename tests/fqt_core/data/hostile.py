"""What the tests of hostile data sets share: tight limits, and what has to hold in every case."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fqt_core.data import Limits, load_dataset, profile
from fqt_core.errors import DataError

TWO_GB = 2 * 1024**3
SMALL = Limits(
    total_bytes=8_000_000,
    image_file_bytes=200_000,
    image_pixels=10_000,
    members=50,
    directory_bytes=20_000,
    ratio=50,
    ratio_free_bytes=1_000_000,
    classes=20,
)
Builder = Callable[[Path], Path]


@dataclass(frozen=True)
class Case:
    """A builder of a bad data set, and what has to be said: ``where`` exactly, ``message`` in part."""

    build: Builder
    where: str
    message: str

    def check(self, folder: Path) -> None:
        """Profile and load it: the fault is named and located, little memory is used, nothing is left behind."""
        path = self.build(folder / "data")
        before = sorted(folder.rglob("*"))
        tracemalloc.start()
        try:
            record = profile(path, limits=SMALL)
            with pytest.raises(DataError) as caught:
                load_dataset(path, limits=SMALL)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        faults = caught.value.faults
        found = [fault for fault in faults if self.message in fault.message]
        assert found, faults
        assert found[0].where == self.where
        assert any(self.message in fault["message"] and fault["where"] == self.where for fault in record["faults"])
        assert str(faults[0]) in str(caught.value)
        assert peak < 60_000_000
        assert sorted(folder.rglob("*")) == before


class Cases(dict[str, Case]):
    """A table of cases; decorate a builder with ``@cases.add(where, message)``."""

    def add(self, where: str, message: str) -> Callable[[Builder], Builder]:
        def keep(builder: Builder) -> Builder:
            self[builder.__name__] = Case(builder, where, message)
            return builder

        return keep
