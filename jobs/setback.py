"""Whether a job ended below the model that it started from: told in its log, its result and its model's card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from fqt_core.config import Fqt
from jobs.spec import JobSpec
from jobs.steps import too_few_steps
from jobs.tables import models

WARNING = "below_parent"
"""Code of the warning event."""


def setback(
    connection: Connection, spec: JobSpec, model: Mapping[str, Any], result: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What the parent of a model had reached, and what to try; ``None``: the child is as good, or nothing is known.

    Only like is compared: the same data and classes, and a difference beyond one standard error of the accuracy, for so
    many validation images as there are.

    Args:
        connection: where to read.
        spec: what the job was asked for.
        model: the columns of the model that it made.
        result: what the job reached.
    """
    accuracy, images = result.get("validation_accuracy"), result.get("validation_images")
    parent = connection.execute(select(models).where(models.c.id == model["parent_id"])).one_or_none()
    if parent is None or accuracy is None or not images:
        return None
    before = (parent.facts.get("metrics") or {}).get("validation_accuracy")
    same_data = (parent.dataset_id, parent.dataset_sha256) == (model["dataset_id"], model["dataset_sha256"])
    if before is None or not same_data or parent.facts.get("classes") != model["facts"]["classes"]:
        return None
    if before - accuracy <= math.sqrt(accuracy * (1 - accuracy) / images):
        return None
    message = (
        f"the accuracy, {accuracy:.1%}, is below the {before:.1%} of the model that the job started from "
        f"({parent.id}): try {_remedies(spec, int(result['train_images']))}; or keep that model"
    )
    return {"model": parent.id, "validation_accuracy": before, "message": message}


def _remedies(spec: JobSpec, images: int) -> str:
    found = []
    if isinstance(spec.method, Fqt):
        bits = spec.method.average_bits
        found += [f"the preset `{name}`" for name, most in (("balanced", 2), ("accurate", 4)) if bits < most][:1]
    if too_few_steps(spec, images):
        found.append("smaller batches")
    return f"{', '.join([*found, 'more epochs'])} or a lower learning_rate"
