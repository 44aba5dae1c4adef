"""Opens the built-in data sets of :mod:`fqt_core.config.builtin`."""

from __future__ import annotations

import numpy as np

from fqt_core.config.builtin import BUILTIN_DATASETS, BuiltinDataset
from fqt_core.data.container import FolderContainer
from fqt_core.data.faults import Faults, fatal
from fqt_core.data.idx import idx_source
from fqt_core.data.limits import Limits
from fqt_core.data.source import ArrayPart, ArraySource


def builtin_source(name: str, limits: Limits, faults: Faults) -> ArraySource:
    """The built-in data set ``name``, its classes named as in the table.

    Raises:
        DataError: it is not installed on this machine.
    """
    row = BUILTIN_DATASETS[name]
    if not row.installed():
        raise fatal(f"the built-in data set needs {row.requirement}", where=name, remedy=row.remedy)
    source = _digits(row, limits, faults) if row.directory is None else idx_source(_files(row, limits, faults))
    if len(source.classes) != len(row.classes):
        raise fatal(f"{len(source.classes)} classes instead of {len(row.classes)}", where=name, remedy=row.remedy)
    source.classes = list(row.classes)
    source.format = "builtin"
    return source


def _files(row: BuiltinDataset, limits: Limits, faults: Faults) -> FolderContainer:
    if row.directory is None:
        raise ValueError(f"{row.name} is not made of files")
    return FolderContainer(row.directory, limits, faults)


def _digits(row: BuiltinDataset, limits: Limits, faults: Faults) -> ArraySource:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second to import, and only digits need it

    bunch = load_digits()
    images = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)  # pixel values are 0 to 16
    part = ArrayPart(images, bunch.target.astype(np.int64), row.name)
    return ArraySource("builtin", {"train": part}, limits, faults)
