"""The pages of the methods: none of them, and none of their options, is left out."""

from __future__ import annotations

from pathlib import Path

from fqt_core.config.method import METHODS
from fqt_core.config.preset import PRESETS
from fqt_core.config.search import SEARCHES

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_method_and_option_is_described() -> None:
    page = "".join(path.read_text() for path in (DOCS / "methods.md", *(DOCS / "methods").glob("*.md")))
    rows = [*METHODS.values(), *SEARCHES.values()]
    words = {option for row in rows for option in row.model_fields} - {"name"}
    for word in words | set(METHODS) | set(SEARCHES) | set(PRESETS):
        assert f"`{word}`" in page, word


def test_every_method_is_in_the_table_of_what_they_do_to_a_gradient() -> None:
    table = (DOCS / "how-it-works.md").read_text().partition("## The methods")[2].partition("\n## ")[0]
    for name in METHODS:
        assert f"`{name}`" in table, name
