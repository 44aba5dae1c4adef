"""Collects what is wrong with a data set, so that one answer names everything that has to be mended."""

from __future__ import annotations

from fqt_core.errors import DataError, DataFault

MAX_FAULTS = 20
WHOLE_FILE = ""
"""``where`` of a fault that concerns the data set as a whole."""


class Faults:
    """Faults found so far. After :data:`MAX_FAULTS` there is no use in reading on: :meth:`add` raises.

    ``complete`` is false from then on: there may be more than were found.
    """

    def __init__(self) -> None:
        self.found: list[DataFault] = []
        self.complete = True

    def add(self, where: str, message: str, remedy: str = "") -> None:
        """Note one fault.

        Raises:
            DataError: the list is full; it carries all faults.
        """
        self.found.append(DataFault(where, message, remedy))
        if len(self.found) >= MAX_FAULTS:
            self.complete = False
            raise self.error()

    def absorb(self, error: DataError) -> None:
        """Note the faults that ``error`` carries (all of them are in the list already if it is our own)."""
        for fault in error.faults or (DataFault(error.where or WHOLE_FILE, str(error), error.remedy or ""),):
            if fault not in self.found:
                self.found.append(fault)

    def error(self) -> DataError:
        """The error that carries everything found so far; needs at least one fault."""
        first = self.found[0]
        more = len(self.found) - 1
        number = f"{more} more fault{'s' if more > 1 else ''}"
        if not self.complete:
            number = f"at least {number}; reading stopped there"
        text = str(first) + (f" (and {number})" if more else "")
        return DataError(text, where=first.where, remedy=first.remedy or None, faults=self.found)

    def raise_if_any(self) -> None:
        """Raise :class:`DataError` if anything was found."""
        if self.found:
            raise self.error()


class ExhaustedError(DataError):
    """The data set as a whole gives more than is allowed: there is no use in reading its next member."""


def fatal(message: str, *, where: str = WHOLE_FILE, remedy: str = "") -> DataError:
    """The error of a single fault after which nothing more can be read."""
    faults = Faults()
    faults.add(where, message, remedy)
    return faults.error()
