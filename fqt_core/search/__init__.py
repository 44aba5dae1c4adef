"""Searches over the structure of a network (:mod:`fqt_core.config.search` has their options)."""

from fqt_core.search.nce import search_widths

__all__ = ["search_widths"]
