"""Fewer points of a curve, with its extremes.

M4 (Jugel, Jerzak, Hackenbroich, Markl: "M4: A Visualization-Oriented Time Series Data Aggregation", PVLDB 7(10), 2014):
the range of places is cut into equal buckets, and of each bucket the first, the last, a least and a greatest point are
kept. Drawn as a line over so many columns of pixels, that is the same picture as all points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POINTS_PER_BUCKET = 4


def m4(places: NDArray[np.float64], values: NDArray[np.float64], points: int) -> NDArray[np.int64]:
    """Indices of at most ``points`` points (of the least four), in order.

    Args:
        places: where the points lie, shape (n,), finite, none less than the one before.
        values: shape (n,); NaN is neither least nor greatest. Of equal ones the first is taken.
        points: how many to keep.
    """
    count = len(places)
    if count <= points:
        return np.arange(count)
    buckets = max(1, points // POINTS_PER_BUCKET)
    width = places[-1] - places[0]
    if width > 0:
        bucket = np.minimum((places - places[0]) / width * buckets, buckets - 1).astype(np.int64)
    else:
        bucket = np.zeros(count, np.int64)
    starts = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1]))
    ends = np.append(starts[1:], count) - 1
    kept = np.zeros(count, np.bool_)
    kept[starts] = kept[ends] = True
    for extreme in (np.fmin, np.fmax):
        found = np.flatnonzero(values == np.repeat(extreme.reduceat(values, starts), ends - starts + 1))
        first = np.append(True, bucket[found][1:] != bucket[found][:-1])[: len(found)]
        kept[found[first]] = True
    return np.flatnonzero(kept)
