"""1-D blend weights. The weight of a pixel is w(row) · w(col); along an axis they sum to exactly 1."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from geoseg.grid.tiling import Axis

_STEPS = 4096
"""Weights are multiples of 1/4096, so that w and 1 − w are exact in float32 and their sum is exactly 1."""

MARGIN = 0.375
"""Share of the overlap, at each end, where a tile has no say: next to its border it saw the least context."""


def ramp(overlap: int) -> NDArray[np.float32]:
    """Weights from 0 to 1 over the overlap, `(overlap,)`; with its mirror image it sums to exactly 1."""
    position = (np.arange(overlap) + 0.5) / max(overlap, 1)
    t = np.clip((position - MARGIN) / (1 - 2 * MARGIN), 0, 1)
    smooth = t * t * (3 - 2 * t)
    return (np.round(smooth * _STEPS) / _STEPS).astype(np.float32)


def taper(axis: Axis, index: int) -> NDArray[np.float32]:
    """Weights of tile `index` along `axis`, `(size,)`: ramps towards neighbours, none at the scene's edge."""
    span = axis[index]
    weights = np.ones(span.size, np.float32)
    if axis.overlap and index > 0:
        weights[: axis.overlap] = ramp(axis.overlap)
    if axis.overlap and index < len(axis) - 1:
        weights[-axis.overlap :] = 1 - ramp(axis.overlap)
    return weights


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a tile has a say along one axis, in pixels from its start; from `alone` to `fading` its weight is 1."""

    start: int
    """First pixel of a weight above 0."""
    alone: int
    """First pixel that the tile before has no say in."""
    fading: int
    """First pixel that the next tile has a say in."""
    stop: int
    """Pixel after the last of a weight above 0."""


def reach(axis: Axis, index: int) -> Reach:
    """Where the `taper` of tile `index` along `axis` is above 0, and where others are too."""
    size, silent = axis[index].size, _silent(axis.overlap)
    start, alone = (silent, axis.overlap - silent) if index > 0 else (0, 0)
    fading, stop = (size - axis.overlap + silent, size - silent) if index < len(axis) - 1 else (size, size)
    return Reach(start, alone, fading, stop)


@cache
def _silent(overlap: int) -> int:
    """Pixels at each end of an overlap where one of the two tiles has no say."""
    return int(np.count_nonzero(ramp(overlap) == 0))
