"""A deliverer as a process of its own, with the settings of the environment, that dies between sending and noting.

It stands still as soon as a message was sent, and before that is written down: then the test kills it.
"""

from __future__ import annotations

import threading
import time

from api.deliverer import Deliverer
from jobs.settings import Settings
from jobs.store import Store


def stand_still(_outcome: str, _seconds: float) -> None:
    time.sleep(600)


if __name__ == "__main__":
    Deliverer(Store.open(Settings()), told=stand_still, lease_seconds=1).run(threading.Event())
