"""Area that a polygon shares with pixels, for many pairs at once: a tenth of the work of overlaying them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.arrays import Floats, Ints, offsets_of, ranges

Polygons = NDArray[Any]

_PAIRS = 1 << 20
"""Pairs of edges that are looked at together."""

_MANY_PAIRS = 1 << 22
"""Pairs of edges of two polygons from which on they are overlaid after all: a slab with thousands of courtyards."""


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Edges of polygons that are not horizontal, from the lower end of y to the upper."""

    offsets: Ints
    """(N + 1,) first edge of each polygon."""
    low: Floats
    """(E, 2) end with the lesser y."""
    high: Floats
    """(E, 2) end with the greater y."""
    sign: Floats
    """(E,) 1 where the polygon lies on the left of the walk to greater y, else −1."""


def shared_area(pixels: Polygons, others: Polygons) -> Floats:
    """(N,) area that polygons along pixel edges, all horizontal or vertical, share with the other one of each pair.

    What is right of a vertical edge within its rows counts, positive at left sides and negative at right ones; of the
    other polygon, what is left of its edges. So the area is a sum over pairs of edges of trapezoids and triangles.
    """
    corner = shapely.bounds(pixels)[:, :2]
    upright, slanted = _edges(pixels, corner), _edges(others, corner)
    pairs = np.diff(upright.offsets) * np.diff(slanted.offsets)
    area, many = np.zeros(len(pixels)), pairs > _MANY_PAIRS
    area[many] = shapely.area(shapely.intersection(pixels[many], others[many]))
    few = np.flatnonzero(~many)
    for start, stop in pairwise([0, *(np.flatnonzero(np.diff(np.cumsum(pairs[few]) // _PAIRS)) + 1), len(few)]):
        area[few[start:stop]] = _shared(upright, slanted, few[start:stop])
    return area


def _edges(polygons: Polygons, corner: Floats) -> _Edges:
    """The edges in coordinates relative to a corner (N, 2) of each pair, so that little is lost to rounding."""
    rings, polygon = shapely.get_rings(shapely.orient_polygons(polygons), return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    xy -= corner[polygon[ring]]
    edge = np.flatnonzero((ring[1:] == ring[:-1]) & (xy[1:, 1] != xy[:-1, 1]))
    rising = xy[edge + 1, 1] > xy[edge, 1]
    return _Edges(
        offsets=offsets_of(np.bincount(polygon[ring[edge]], minlength=len(polygons))),
        low=xy[np.where(rising, edge, edge + 1)],
        high=xy[np.where(rising, edge + 1, edge)],
        sign=np.where(rising, 1.0, -1.0),
    )


def _shared(upright: _Edges, slanted: _Edges, which: Ints) -> Floats:
    """The area of some pairs of polygons."""
    counts = np.diff(upright.offsets)[which], np.diff(slanted.offsets)[which]
    owner = np.repeat(np.arange(len(which)), counts[0] * counts[1])
    one = np.repeat(ranges(upright.offsets[which], counts[0]), np.repeat(counts[1], counts[0]))
    other = ranges(np.repeat(slanted.offsets[which], counts[0]), np.repeat(counts[1], counts[0]))
    low = np.maximum(upright.low[one, 1], slanted.low[other, 1])
    high = np.minimum(upright.high[one, 1], slanted.high[other, 1])
    meeting = np.flatnonzero(low < high)
    owner, one, other, low, high = owner[meeting], one[meeting], other[meeting], low[meeting], high[meeting]
    (x, y), (dx, dy) = slanted.low[other].T, (slanted.high[other] - slanted.low[other]).T
    start = x + dx * ((low - y) / dy) - upright.low[one, 0]
    end = x + dx * ((high - y) / dy) - upright.low[one, 0]
    near, far = np.minimum(start, end), np.maximum(start, end)
    # Mean of what of the stretch from near to far is positive.
    crossing = (near < 0) & (far > 0)
    width = np.where(crossing, far * far / np.where(crossing, 2 * (far - near), 1.0), np.maximum(near + far, 0.0) / 2)
    area = -upright.sign[one] * slanted.sign[other] * (high - low) * width
    total: Floats = np.bincount(owner, weights=area, minlength=len(which)).astype(np.float64)
    return total
