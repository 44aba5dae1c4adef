"""Frames of questions and answers come back as they were, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from jobs.asks import decode, encode


def test_a_frame_comes_back() -> None:
    header, payload = {"kind": "predict", "name": "ä"}, [b"", b"\x00\xff" * 1000, b"x"]
    assert decode(encode(header, payload)) == (header, payload)
    assert decode(encode({})) == ({}, [])


@pytest.mark.parametrize("frame", [b"", b"\x00", encode({"a": 1}, [b"abc"])[:-1], encode({"a": 1}) + b"x"])
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match="frame"):
        decode(frame)
