"""The routes of each resource, in the order of the reference."""

from __future__ import annotations

from api import session
from api.routes import (
    artifacts,
    audit,
    compare,
    datasets,
    events,
    health,
    imports,
    jobs,
    keys,
    methods,
    metrics,
    model_weights,
    models,
    openai,
    sweeps,
    webhooks,
)

RESOURCES = tuple(
    module.routes
    for module in (
        *(datasets, imports, jobs, events, metrics, compare, sweeps, artifacts, models, model_weights, methods),
        *(webhooks, openai, keys, session, audit, health),
    )
)
