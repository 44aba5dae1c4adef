from __future__ import annotations

import pytest
import torch

from fqt_core.errors import ConfigurationError
from fqt_core.random import PhiloxKey, PhiloxState, Purpose, philox_4x32, random_words, uniform, uniform_integers
from tests.fqt_core import independent

# From the known-answer file of the Random123 library: counter, key, result.
VECTORS = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    c0, c1, c2, c3 = (torch.tensor([value]) for value in counter)
    assert tuple(int(word) for word in philox_4x32((c0, c1, c2, c3), key)) == expected
    assert tuple(independent.philox((*counter,), key)) == expected  # type: ignore[arg-type]


def test_layout_of_key_and_counter() -> None:
    key = PhiloxKey(seed=0x123456789ABCDEF0, step=77, layer=5, purpose=3)
    words = random_words(key, torch.tensor([0, 2]), 6)
    for row, group in ((0, 0), (1, 2)):
        for element in range(6):
            counter = (group * 2 + element // 4, 77, 5, 3)
            expected = independent.philox(counter, (0x9ABCDEF0, 0x12345678))[element % 4]
            assert int(words[row, element]) == expected


def test_uniform_numbers_are_24_bits_below_one() -> None:
    key = PhiloxKey(1, 2, 3, 0)
    groups = torch.arange(50)
    u = uniform(key, groups, 1001)
    assert u.dtype == torch.float32
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    assert torch.equal(u.double() * 2**24, uniform_integers(key, groups, 1001).double())
    # Hoeffding: the mean of 50,050 numbers is within 0.0120 of one half but for one chance in a million.
    assert abs(float(u.double().mean()) - 0.5) < 0.0120


def test_groups_can_be_drawn_alone() -> None:
    key = PhiloxKey(9, 8, 7, 1)
    together = random_words(key, torch.arange(5), 7)
    assert torch.equal(random_words(key, torch.tensor([3, 1]), 7), together[[3, 1]])


def test_every_field_of_the_key_matters() -> None:
    state = PhiloxState(seed=2**63 - 1, step=2**32 - 1)
    base = state.key(4, Purpose.INPUT_ROUNDING)
    others = [
        PhiloxState(2**63 - 2, state.step).key(4, Purpose.INPUT_ROUNDING),
        PhiloxState(2**31 - 1, state.step).key(4, Purpose.INPUT_ROUNDING),
        PhiloxState(state.seed, 0).key(4, Purpose.INPUT_ROUNDING),
        PhiloxState(state.seed, state.step, stream=1).key(4, Purpose.INPUT_ROUNDING),
        state.key(5, Purpose.INPUT_ROUNDING),
        *(state.key(4, purpose) for purpose in Purpose if purpose is not Purpose.INPUT_ROUNDING),
    ]
    draws = [tuple(random_words(key, torch.zeros(1, dtype=torch.int64), 8)[0].tolist()) for key in [base, *others]]
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize(
    ("state", "field"),
    [
        (PhiloxState(seed=-1), "seed"),
        (PhiloxState(seed=2**63), "seed"),
        (PhiloxState(step=2**32), "step"),
        (PhiloxState(stream=2**24), "stream"),
    ],
)
def test_values_that_do_not_fit_are_named(state: PhiloxState, field: str) -> None:
    with pytest.raises(ConfigurationError, match=field):
        state.key(0, Purpose.INPUT_ROUNDING)
