"""``python -m worker``: run a worker with the settings of the environment."""

from __future__ import annotations

import sys

from jobs.settings import Settings
from worker.app import main

if __name__ == "__main__":
    sys.exit(main(Settings()))
