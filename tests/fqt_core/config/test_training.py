"""Options of training: bounds, and options that have to fit each other."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fqt_core.config import TrainConfig


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"batch_size": 8, "accumulate": 9}, "accumulate", "use at most batch_size"),
        ({"warmup_steps": 5, "warmup_epochs": 1}, "warmup_epochs", "use one of both"),
        ({"epochs": 3, "warmup_epochs": 3}, "warmup_epochs", "shorter than the run's 3 epochs"),
        ({"accumulate": 0}, "accumulate", "greater than or equal to 1"),
        ({"label_smoothing": 1}, "label_smoothing", "less than 1"),
        ({"ema": {"decay": 1}}, "ema", "less than 1"),
        ({"ema": {"batches": 0}}, "ema", "greater than or equal to 1"),
        ({"distillation": {"weight": 0}}, "distillation", "greater than 0"),
        ({"distillation": {"temperature": 0}}, "distillation", "greater than 0"),
        ({"binary_learning_rate": 0}, "binary_learning_rate", "greater than 0"),
        ({"optimizer": "lion"}, "optimizer", "'adam', 'sgd' or 'muon'"),
        ({"schedule": "step"}, "schedule", "'cosine', 'linear' or 'constant'"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(options: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainConfig(**options)
    assert [(error["loc"][0], words in error["msg"]) for error in caught.value.errors()] == [(field, True)]


def test_a_fault_elsewhere_does_not_hide_one_that_depends_on_it() -> None:
    with pytest.raises(ValidationError) as caught:
        TrainConfig(**{"batch_size": 0, "accumulate": 3, "warmup_steps": 1, "warmup_epochs": 2})
    assert [error["loc"] for error in caught.value.errors()] == [("batch_size",), ("warmup_epochs",)]


def test_every_option_survives_json_and_says_what_it_is() -> None:
    wanted = TrainConfig(optimizer="muon", ema={"decay": 0.9}, distillation={}, accumulate=2, warmup_epochs=0.5)
    assert TrainConfig.model_validate_json(wanted.model_dump_json()) == wanted
    fields = TrainConfig.model_json_schema()
    for part in (fields, *fields["$defs"].values()):
        assert all(row["description"].endswith(".") for row in part["properties"].values())
