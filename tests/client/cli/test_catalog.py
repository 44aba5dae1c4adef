from __future__ import annotations

from tests.client.cli.running import Run


def test_the_address_of_the_page_is_printed(fqt: Run) -> None:
    assert fqt("open") == (0, "http://127.0.0.1:1/\n", "")
