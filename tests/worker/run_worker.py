"""A worker process with the settings of the environment, whose children are the scripted ones of ``fake_child``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jobs import logs
from jobs.settings import Settings
from worker.app import Worker

if __name__ == "__main__":
    settings = Settings()
    logs.configure(settings.log_level)
    fake = [sys.executable, str(Path(__file__).with_name("fake_child.py"))]
    worker = Worker(settings, training_command=fake)
    if (seconds := os.environ.get("FQT_TEST_VISIBILITY_SECONDS")) is not None:
        # How long the broker waits for an acknowledgement before it delivers a message once more; an hour by default.
        worker.app.conf.broker_transport_options["visibility_timeout"] = int(seconds)
    sys.exit(worker.run())
