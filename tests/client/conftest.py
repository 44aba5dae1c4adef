from __future__ import annotations

import httpx
import pytest

from fqt_client import Client
from tests.client.fake import Script


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def client(script: Script) -> Client:
    return Client("http://127.0.0.1:1", "fqt_test", http=httpx.MockTransport(script), sleep=script.waits.append)
