"""``python -m worker.inspect_child FOLDER --events FD``: look through a data set, within limits, without network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fqt_core.errors import DataError, DatasetChangedError
from fqt_core.events import Failed
from worker.lifeline import Lifeline
from worker.protocol import LISTING, THUMBNAILS, Confined, Exit, InspectionInput, Profiled
from worker.sandbox import confine


def main(arguments: list[str]) -> int:
    """Run the inspection that ``inspect.json`` in the folder describes; return the exit code."""
    parser = argparse.ArgumentParser(prog="worker.inspect_child")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, required=True)
    options = parser.parse_args(arguments)

    lifeline = Lifeline(options.events)
    data = InspectionInput.model_validate_json((options.folder / "inspect.json").read_bytes())
    lifeline.send(Confined(limits=confine(data.limits)))
    lifeline.listen()

    # Only now: what decodes images loads and runs within the limits.
    from fqt_core.data import look_through, profile  # noqa: PLC0415
    from fqt_core.trees.table import table_format  # noqa: PLC0415

    thumbnails = options.folder / THUMBNAILS
    try:
        if data.mounted:
            look = look_through(Path(data.path), thumbnails=thumbnails)
            if look.listing is not None:
                (options.folder / LISTING).write_bytes(look.listing)
            lifeline.send(Profiled(profile=look.profile, size=look.size))
        elif table_format(data.path) is not None:
            from fqt_core.trees.profile import profile_table  # noqa: PLC0415

            lifeline.send(Profiled(profile=profile_table(data.path)))
        else:
            lifeline.send(Profiled(profile=profile(data.path, thumbnails=thumbnails)))
    except DatasetChangedError as error:
        lifeline.send(Failed(code="dataset_changed", message=str(error)))
        return Exit.FAILED
    except DataError as error:
        lifeline.send(Failed(code="invalid_dataset", message=str(error)))
        return Exit.FAILED
    except MemoryError:
        message = f"the data set needs more memory than the {data.limits.memory_bytes} bytes that are allowed"
        lifeline.send(Failed(code="out_of_memory", message=message))
        return Exit.FAILED
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
