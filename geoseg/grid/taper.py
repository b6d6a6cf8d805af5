"""1-D blend weights. The weight of a pixel is w(row) · w(col); along an axis they sum to exactly 1."""

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
