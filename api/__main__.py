"""``python -m api``: serve the API with the settings of the environment (``FQT_…``)."""

from __future__ import annotations

import contextlib

from api.server import serve
from jobs.settings import Settings

if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        serve(Settings())
