"""``python -m fqt_core.data.builtin_profiles [FOLDER]``: describe the built-in data sets.

What a worker finds in an upload is kept in the store; of the data sets that come with the service it is kept in the
source tree, beside :mod:`fqt_core.config.builtin`, where it is read without torch and without a worker.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fqt_core.config.builtin import BUILTIN_DATASETS, PROFILES
from fqt_core.data.profile import profile


def describe(name: str, folder: Path) -> None:
    """Write ``NAME.json``, its profile as of :func:`~fqt_core.data.profile.profile`, and ``NAME.webp``, some images.

    Raises:
        ValueError: it has faults; the text names the first.
    """
    found = profile(name, thumbnails=folder / f"{name}.webp")
    if found["faults"]:
        raise ValueError(f"{name}: {found['faults'][0]}")
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    for each in BUILTIN_DATASETS:
        describe(each, Path(sys.argv[1]) if len(sys.argv) > 1 else PROFILES)
