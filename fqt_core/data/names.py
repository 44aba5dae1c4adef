"""Which member names of an archive are accepted, and which are ignored."""

from __future__ import annotations

from unicodedata import category

from fqt_core.data.limits import Limits

_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


def normalize(name: str) -> str:
    """Forward slashes only, no ``./`` in front, no slash at the end."""
    name = name.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name.rstrip("/") if name.strip("/") else name[:1]


def is_junk(name: str) -> bool:
    """Whether a (normalised) name is an operating system's leftover or hidden; such members are not read."""
    return name == "" or any(
        part in _JUNK or (part.startswith(".") and part not in {".", ".."}) for part in name.split("/")
    )


def refusal(name: str, limits: Limits) -> str | None:
    """Why a (normalised) name is refused, or ``None`` if it is fine."""
    parts = name.split("/")
    rules = (
        (name.startswith("/") or (len(name) > 1 and name[1] == ":"), "absolute path"),
        (".." in parts, "path leads out of the archive"),
        ("" in parts or "." in parts, "path has an empty component"),
        (len(parts) > limits.depth, f"more than {limits.depth} folders deep"),
        (len(name) > limits.name_length, f"name longer than {limits.name_length} characters"),
        (any(category(c) in {"Cc", "Cs"} for c in name), "name holds control characters or is not valid Unicode"),
    )
    return next((reason for broken, reason in rules if broken), None)


def printable(name: str) -> str:
    """``name`` fit for a message: no control characters, not endless."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return text if len(text) <= 200 else text[:197] + "..."
