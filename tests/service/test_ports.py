from __future__ import annotations

import socket

import pytest

from service import ports
from service.errors import StartError


def test_the_wanted_port_or_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert not ports.is_free("127.0.0.1", taken)
        with pytest.raises(StartError, match=f"port {taken} of 127.0.0.1 is taken"):
            ports.choose("127.0.0.1", taken, 8000)
        # Without a wish the preferred one is given up without a word.
        assert ports.choose("127.0.0.1", None, taken) != taken
    assert ports.choose("127.0.0.1", taken, 8000) == taken
    assert ports.choose("127.0.0.1", None, taken) == taken


def test_zero_is_any_free_port() -> None:
    port = ports.choose("127.0.0.1", 0, 8000)
    assert port != 0
    assert ports.is_free("127.0.0.1", port)
