"""The card of a model: what it is, where it comes from, how good it is and how to use it, as Markdown in one file.

Curves are an SVG inside of it (a data URI at its end). Names that users gave are escaped: a card may be shown as HTML.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from jobs import tree_card

_MATRIX_CLASSES = 20
_CLASSES = 50
_ROWS = 10
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&$])")
_WIDTH, _HEIGHT, _LEFT, _TOP = 360, 180, 44, 26
_COLOURS = {"train": "#8a8f98", "validation": "#1f6feb"}


def render(model: Mapping[str, Any]) -> str:
    """The card of a model, given the columns of its row (but for ``created_at``, which is not told)."""
    facts, evaluation = model["facts"], model.get("evaluation") or {}
    trees = model["format"] == "trees"
    title = f"{model['architecture']}, {model['method'] or 'weights'}"
    parts = [
        f"# {text(model['name'] or title)}",
        _summary(model, facts),
        _figures(model, facts),
        _origin(model, facts),
        tree_card.comparison(facts, _table) if trees else "",
        _method(facts),
        tree_card.columns(facts, text) if trees else "",
        _classes(facts),
        _curves(evaluation.get("curves") or []),
        _confusion(evaluation.get("confusion"), _examples(model)),
        _use(model),
        "## Licence\n\nNot stated: the model's owner decides.",
        _picture(evaluation.get("curves") or []),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def text(value: Any) -> str:
    """A value as Markdown shows it literally, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def _summary(model: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    if model["format"] == "weights":
        return f"Full-precision weights of a {model['architecture']} to start training from. They do not predict alone."
    if model["format"] == "trees":
        return tree_card.summary(facts, text)
    count = len(facts.get("classes") or [])
    inputs = facts["architecture"]
    colours = "grey" if inputs.get("channels") == 1 else "RGB"
    return (
        f"An image classifier: {model['architecture']} trained with the method `{model['method']}`, {count} classes, "
        f"{colours} images of {inputs.get('image_size')}×{inputs.get('image_size')} pixels."
    )


def _figures(model: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    metrics = facts.get("metrics") or {}
    rows: list[tuple[str, str | None]] = [("id", f"`{model['id']}`")]
    accuracy, images = metrics.get("validation_accuracy"), facts.get("validation_images")
    if accuracy is not None:
        kind = "as its file says" if model["source"] == "upload" else f"of {images} validation {_examples(model)}"
        rows.append(("accuracy", f"{accuracy:.2%} ({kind})"))
    if lost := facts.get("setback"):
        rows.append(
            ("accuracy of the model that it started from", f"{lost['validation_accuracy']:.2%}: more than this")
        )
    if facts.get("arithmetic"):
        kernels = f"; kernels {facts['isa']} on {facts['device']}" if facts.get("isa") else ""
        rows.append(("arithmetic of the gradients' products", f"{facts['arithmetic']}{kernels}"))
    size = f"{model['size']:,} bytes"
    if facts.get("fp32_bytes"):
        size += (
            f"; {facts['fp32_bytes']:,} at 32 bits per value, {facts['fp32_bytes'] / model['size']:.1f} times as many"
        )
    rows.append(("size", size))
    if facts.get("parameters"):
        rows.append(
            ("parameters", f"{facts['parameters']:,}, of them {facts.get('binary_parameters') or 0:,} of one bit")
        )
    rows.append(("sha256", f"`{model['sha256']}`"))
    return _table(("", ""), rows)


def _origin(model: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    if model["source"] == "upload":
        return "## Where it comes from\n\nUploaded; what it was trained on is not known here."
    seconds = (facts.get("metrics") or {}).get("seconds")
    data = f"`{model['dataset_id']}`"
    if model["dataset_sha256"]:
        data += f", sha256 `{model['dataset_sha256']}`"
    rows = [
        ("job", f"`{model['job_id']}`" + (f", {seconds:.1f} s of training" if seconds is not None else "")),
        ("data set", data),
        (_examples(model), f"{facts.get('train_images')} to train on, {facts.get('validation_images')} to validate"),
    ]
    if model["format"] != "trees":
        rows += [
            ("started from", f"`{model['parent_id']}`" if model["parent_id"] else "random weights"),
            ("teacher", f"`{model['teacher_id']}`" if model["teacher_id"] else "none"),
        ]
    return "## Where it comes from\n\n" + _table(("", ""), rows)


def _examples(model: Mapping[str, Any]) -> str:
    return "rows" if model["format"] == "trees" else "images"


def _method(facts: Mapping[str, Any]) -> str:
    told = {name: facts[name] for name in ("architecture", "method", "training") if facts.get(name)}
    if "columns" in told.get("architecture", {}):  # in a section of their own
        told["architecture"] = {name: value for name, value in told["architecture"].items() if name != "columns"}
    block = json.dumps(told, indent=1, ensure_ascii=True)
    return f"## Method\n\n```json\n{block.replace('```', '` ` `')}\n```"


def _classes(facts: Mapping[str, Any]) -> str:
    classes = facts.get("classes") or []
    if not classes:
        return ""
    more = f" and {len(classes) - _CLASSES} more" if len(classes) > _CLASSES else ""
    return f"## Classes\n\n{', '.join(text(name) for name in classes[:_CLASSES])}{more}"


def _curves(curves: Sequence[Mapping[str, Any]]) -> str:
    if not curves:
        return ""
    by_step: dict[int, dict[str, float | None]] = {}
    for curve in curves:
        for step, value in zip(curve["steps"], curve["values"], strict=True):
            by_step.setdefault(step, {})[curve["name"]] = value
    steps = sorted(by_step)
    stride = max(1, -(-len(steps) // _ROWS))
    names = [curve["name"] for curve in curves]
    rows = [
        (str(step), *("–" if by_step[step].get(name) is None else f"{by_step[step][name]:.4g}" for name in names))
        for step in steps[::-1][::stride][::-1]
    ]
    shown = _table(("step", *(name.replace("_", " ") for name in names)), rows)
    return f"## Curves\n\n![Loss and accuracy after each epoch][curves]\n\n{shown}"


def _confusion(confusion: Mapping[str, Any] | None, examples: str) -> str:
    if confusion is None:
        return ""
    classes, matrix = confusion["classes"], confusion.get("matrix")
    parts = [f"## Confusion matrix\n\nOf {confusion['images']} {confusion['data']} {examples}. Rows: the true class."]
    if matrix is not None and len(classes) <= _MATRIX_CLASSES:
        names = [text(name) for name in classes]
        rows = [(f"**{name}**", *map(str, row)) for name, row in zip(names, matrix, strict=True)]
        parts.append(_table(("", *names), rows))
    if confused := confusion.get("most_confused"):
        rows = [
            (text(classes[entry["true"]]), text(classes[entry["predicted"]]), str(entry["count"]))
            for entry in confused[:_ROWS]
        ]
        parts.append("Confused most often:\n\n" + _table(("true", "predicted", examples), rows))
    return "\n\n".join(parts)


def _use(model: Mapping[str, Any]) -> str:
    identity = model["id"]
    if model["format"] == "weights":
        return f"""## How to use it

```
fqt models download {identity} -o weights.safetensors
fqt submit --dataset DATASET --architecture {model["architecture"]} --from {identity}
```"""
    if model["format"] == "trees":
        return tree_card.use(identity)
    return f"""## How to use it

```
fqt models predict {identity} photo.png                # in the service
fqt predict {identity} photo.png                       # on this machine, which fetches the file
fqt models download {identity} -o model.safetensors
fqt models export {identity} --format onnx -o model.onnx
```

In Python, from the downloaded file:

```python
import fqt_core as fqt

model = fqt.export.load("model.safetensors")
print(model.predict(["photo.png"], top=3))
```"""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell or "" for cell in line) + " |" for line in lines)


def _picture(curves: Sequence[Mapping[str, Any]]) -> str:
    """The curves as a reference that the image in the text names."""
    if not curves:
        return ""
    encoded = base64.b64encode(svg(curves).encode()).decode()
    return f"[curves]: data:image/svg+xml;base64,{encoded}"


def svg(curves: Sequence[Mapping[str, Any]]) -> str:
    """Loss and accuracy, side by side: training grey, validation blue."""
    panels = [
        _panel(figure, [curve for curve in curves if curve["name"].endswith(figure)], index * _WIDTH)
        for index, figure in enumerate(("loss", "accuracy"))
    ]
    width = len(panels) * _WIDTH
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT + 30}" font-family="sans-serif"'
    return f'{head} font-size="11"><rect width="{width}" height="{_HEIGHT + 30}" fill="#fff"/>{"".join(panels)}</svg>'


def _panel(figure: str, curves: Sequence[Mapping[str, Any]], offset: int) -> str:
    points = {
        curve["name"].removesuffix(f"_{figure}"): [
            (step, value) for step, value in zip(curve["steps"], curve["values"], strict=True) if value is not None
        ]
        for curve in curves
    }
    every = [point for line in points.values() for point in line]
    if not every:
        return ""
    last = max(step for step, _ in every)
    low, high = min(value for _, value in every), max(value for _, value in every)
    span = (high - low) or 1.0

    def place(step: int, value: float) -> tuple[str, str]:
        x = offset + _LEFT + step / max(1, last) * (_WIDTH - _LEFT - 12)
        return f"{x:.1f}", f"{_TOP + (high - value) / span * (_HEIGHT - _TOP - 8):.1f}"

    drawn = [
        f'<text x="{offset + _LEFT}" y="14">{escape(figure)} (training grey, validation blue)</text>',
        f'<text x="{offset + 4}" y="{_TOP + 6}">{high:.3g}</text>',
        f'<text x="{offset + 4}" y="{_HEIGHT - 6}">{low:.3g}</text>',
        f'<text x="{offset + _WIDTH - 80}" y="{_HEIGHT + 16}">{last} steps</text>',
    ]
    for name, line in points.items():
        places = [place(step, value) for step, value in line]
        path = " ".join(f"{x},{y}" for x, y in places)
        colour = _COLOURS.get(name, "#000")
        drawn.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        if len(places) <= _ROWS:
            drawn += [f'<circle cx="{x}" cy="{y}" r="2" fill="{colour}"/>' for x, y in places]
    return "".join(drawn)
