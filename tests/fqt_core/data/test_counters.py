"""One word alone, without NumPy's generator, is the first of many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fqt_core.data.counters import Purpose, word, words


@given(st.integers(0, 2**63 - 1), st.sampled_from(Purpose), st.integers(0, 2**56 - 1))
def test_one_word_is_the_first_of_many(seed: int, purpose: Purpose, number: int) -> None:
    assert word(seed, purpose, number) == words(seed, purpose, number, 3)[0]
