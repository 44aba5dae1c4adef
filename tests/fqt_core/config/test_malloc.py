from __future__ import annotations

import pytest

from fqt_core.config.malloc import for_training


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.check=1"},
            "glibc.malloc.check=1:glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
        ),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=3:glibc.malloc.hugetlb=0"},
            "glibc.malloc.tcache_count=3:glibc.malloc.hugetlb=0:glibc.malloc.mxfast=0",
        ),
    ],
)
def test_what_the_environment_says_already_stays(before: dict[str, str], after: str) -> None:
    assert for_training({"PATH": "x", **before}) == {"PATH": "x", "GLIBC_TUNABLES": after}
