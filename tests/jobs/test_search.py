"""Specs of searches: what they cannot be, and what a dry run says of them."""

from __future__ import annotations

from typing import Any

import pytest

from jobs import plan
from jobs.errors import InvalidSpecError
from jobs.spec import JobSpec
from jobs.store import Store
from jobs.validation import Bounds, check
from tests.jobs.helpers import spec, submit

_NET = {"name": "convnet", "image_size": 8, "channels": 1}
_SEARCH: dict[str, Any] = {"architecture": _NET, "method": {"name": "qat"}, "search": {"name": "nce"}}


def _faults(store: Store, **changes: Any) -> dict[str, str]:
    with store.read() as connection, pytest.raises(InvalidSpecError) as caught:
        check(connection, spec(**(_SEARCH | changes)))
    return {fault.field: fault.message for fault in caught.value.errors}


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"architecture": {"name": "resnet18"}}, "architecture.name", "convnet and vgg16 only"),
        ({"method": {"name": "lsq"}}, "method.name", "one-bit"),
        ({"search": {"macs_budget": 0.1}}, "search.macs_budget", "narrowest choice"),
        ({"search": {"parameters_budget": 0.1}}, "search.parameters_budget", "raise it"),
        ({"search": {"warmup_epochs": 2}}, "search.warmup_epochs", "of 2 in all"),
        ({"training": {"epochs": 2, "optimizer": "sgd"}}, "training.optimizer", 'use "adam"'),
        ({"training": {"epochs": 2, "ema": {"decay": 0.9}}}, "training.ema", "use null"),
        ({"training": {"epochs": 2, "accumulate": 2}}, "training.accumulate", "use 1"),
    ],
)
def test_what_a_search_cannot_be_is_named(store: Store, changes: dict[str, Any], field: str, says: str) -> None:
    faults = _faults(store, **changes)
    assert list(faults) == [field]
    assert says in faults[field]


def test_a_search_takes_no_weights(store: Store) -> None:
    made = submit(store)
    assert "initial_weights" in _faults(store, initial_weights=made.id)
    assert "teacher" in _faults(store, teacher=made.id)


def test_a_dry_run_tells_the_arithmetic_and_the_memory_of_the_widest_network(store: Store) -> None:
    with store.read() as connection:
        search = plan.plan(connection, spec(**_SEARCH))
        training = plan.plan(connection, spec(**(_SEARCH | {"search": None})))
        with pytest.raises(InvalidSpecError) as caught:
            check(connection, spec(**_SEARCH), Bounds(max_memory_bytes=search.memory_bytes - 1))
    assert (search.arithmetic, training.arithmetic) == ("simulated", "float")
    assert search.memory_bytes > training.memory_bytes
    assert (search.seconds, search.seconds_reason) == (None, "the time of a search is not predicted")
    assert [fault.field for fault in caught.value.errors] == ["training.batch_size"]
    assert JobSpec.model_validate(spec(**_SEARCH).model_dump(mode="json")).search is not None
