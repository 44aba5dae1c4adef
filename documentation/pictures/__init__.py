"""The pictures of ``docs/how-it-works.md``, drawn from a real gradient: ``python -m documentation.pictures``."""
