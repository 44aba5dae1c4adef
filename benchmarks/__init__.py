"""Measures training and inference against others, and the native kernels by themselves. ``make bench`` runs all of it.

``docs/performance.md`` says how each figure is got.
"""
