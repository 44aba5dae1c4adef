"""What the card of a model of trees says otherwise than that of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_COLUMNS = 50

Text = Callable[[Any], str]
Rows = Callable[[Sequence[str], Sequence[Sequence[str | None]]], str]


def summary(facts: Mapping[str, Any], text: Text) -> str:
    """What it predicts."""
    table, count = facts["architecture"], len(facts.get("classes") or [])
    what = f"one of {count} classes" if table["objective"] == "classification" else "a number"
    return (
        f"Boosted trees (LightGBM), grown with the method `gbdt`: from {len(table['columns'])} columns of a table they "
        f"predict {text(table['target'])}, {what}."
    )


def comparison(facts: Mapping[str, Any], table: Rows) -> str:
    """Quantised against full precision, if both were grown."""
    found = facts.get("comparison") or {}
    kept, other = found.get("kept"), found.get("full_precision")
    if kept is None or other is None:
        return ""
    regression = found["objective"] == "regression"
    names = ["best_iteration", "validation_loss", "validation_r2" if regression else "validation_accuracy", "seconds"]
    rows = [(name.replace("_", " "), *(_figure(side[name]) for side in (kept, other))) for name in names]
    rows.append(("bytes", f"{kept['bytes']:,}", f"{other['bytes']:,}"))
    shown = table(("", "quantised (this model)", "full precision"), rows)
    if found.get("agreement") is None:
        return f"## Against full precision\n\n{shown}"
    what = "Correlation of both predictions" if regression else "Validation rows for which both give the same class"
    share = f"{found['agreement']:.4f}" if regression else f"{found['agreement']:.2%}"
    return f"## Against full precision\n\n{shown}\n\n{what}: {share}."


def columns(facts: Mapping[str, Any], text: Text) -> str:
    """What it predicts from."""
    named = facts["architecture"]["columns"]
    more = f" and {len(named) - _COLUMNS} more" if len(named) > _COLUMNS else ""
    listed = ", ".join(f"{text(column['name'])} ({column['kind']})" for column in named[:_COLUMNS])
    return f"## Columns\n\n{listed}{more}"


def use(identity: str) -> str:
    """How to predict with it."""
    return f"""## How to use it

```
fqt models predict {identity} rows.csv                 # in the service
fqt models download {identity} -o model.txt
```

In Python, from the downloaded file, which any LightGBM reads as well:

```python
from fqt_core.trees.model import TreeModel

model = TreeModel.load("model.txt")
print(model.predict([{{"column": 1.5}}]))
```"""


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
