"""A worker process with the settings of the environment, whose children are the scripted ones of ``fake_child``."""

from __future__ import annotations

import sys
from pathlib import Path

from jobs import logs
from jobs.settings import Settings
from worker.app import Worker

if __name__ == "__main__":
    settings = Settings()
    logs.configure(settings.log_level)
    fake = [sys.executable, str(Path(__file__).with_name("fake_child.py"))]
    sys.exit(Worker(settings, training_command=fake).run())
