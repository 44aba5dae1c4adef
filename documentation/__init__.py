"""Builds the documentation site from ``docs/``: what is generated for it, its formulas, its pictures and its links."""
