"""What may be the name of a class: the same in every kind of data set and in a job's spec. Imports no numpy."""

from __future__ import annotations

from unicodedata import category

LONGEST_CLASS_NAME = 200


def refusal(name: str) -> str | None:
    """Why ``name`` cannot be the name of a class, or ``None`` if it can."""
    rules = (
        (not name.strip(), "is empty"),
        (len(name) > LONGEST_CLASS_NAME, f"is longer than {LONGEST_CLASS_NAME} characters"),
        (any(category(c) in {"Cc", "Cs"} for c in name), "holds control characters or is not valid Unicode"),
        # People make folders of predicted classes.
        (bool({".", ".."} & set(name.replace("\\", "/").split("/"))), "reads as a path to another folder"),
    )
    return next((reason for broken, reason in rules if broken), None)
