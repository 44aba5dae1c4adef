"""``python -m benchmarks.service``: the whole service under load, on this machine, with servers of its own.

Each part has a module: what it measures, and between what, is told there.
"""
