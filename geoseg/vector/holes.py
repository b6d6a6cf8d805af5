"""Holes set aside while polygons are cut: every cut visits all vertices, and most lie on holes that it comes nowhere near.

A noisy road network is one polygon with thousands of holes, which hold nine tenths of its vertices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.arrays import Bools, Floats, Ints, offsets_of, owners_of, take_sequences

Polygons = NDArray[Any]
_POLYGON = shapely.GeometryType.POLYGON


@dataclass(frozen=True, slots=True, eq=False)
class Holes:
    """Rings that were holes of polygons."""

    owner: Ints
    """(H,) polygon of each."""
    offsets: Ints
    """(H + 1,) first vertex of each."""
    xy: Floats
    """(V, 2) vertices."""

    def __len__(self) -> int:
        return len(self.owner)


_NONE = Holes(np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros((0, 2)))


def set_aside(polygons: Polygons, untouched: Callable[[Floats], Bools]) -> tuple[Polygons, Holes]:
    """Polygons without the holes of which the cut to come touches nothing, not even a point, and those holes.

    `untouched` says it of (H, 4) bounds of holes: least x and y, greatest x and y.
    """
    if not shapely.get_num_interior_rings(polygons).any():
        return polygons, _NONE
    _, xy, (offsets, shells) = shapely.to_ragged_array(polygons)
    hole = np.ones(len(offsets) - 1, bool)
    hole[shells[:-1]] = False
    number = np.flatnonzero(hole)
    low, high = (extreme.reduceat(xy, offsets[:-1])[number] for extreme in (np.minimum, np.maximum))
    free = np.zeros_like(hole)
    free[number] = untouched(np.hstack([low, high]))
    if not free.any():
        return polygons, _NONE
    aside, kept = np.flatnonzero(free), np.flatnonzero(~free)
    owner = owners_of(shells)
    vertex, hole_offsets = take_sequences(offsets, aside)
    holes = Holes(owner[aside], hole_offsets, xy[vertex])
    vertex, ring_offsets = take_sequences(offsets, kept)
    counts = np.bincount(owner[kept], minlength=len(polygons))
    return shapely.from_ragged_array(_POLYGON, xy[vertex], (ring_offsets, offsets_of(counts))), holes


def put_back(pieces: Polygons, owner: Ints, holes: Holes) -> Polygons:
    """Pieces of polygons, (N,) `owner` says which, with the holes that were set aside: each lies in one piece whole."""
    if not len(holes):
        return pieces
    piece = _around(pieces, owner, holes)
    _, xy, (offsets, shells) = shapely.to_ragged_array(pieces)
    of_ring = np.concatenate([owners_of(shells), piece])
    order = np.argsort(of_ring, kind="stable")
    both = np.concatenate([offsets, offsets[-1] + holes.offsets[1:]])
    vertex, ring_offsets = take_sequences(both, order)
    counts = np.bincount(of_ring, minlength=len(pieces))
    whole: Polygons = shapely.from_ragged_array(
        _POLYGON, np.concatenate([xy, holes.xy])[vertex], (ring_offsets, offsets_of(counts))
    )
    return whole


def _around(pieces: Polygons, owner: Ints, holes: Holes) -> Ints:
    """(H,) piece around each hole. A piece of another polygon may lie in it, so the owner counts too."""
    filled = shapely.from_ragged_array(_POLYGON, holes.xy, (holes.offsets, np.arange(len(holes) + 1)))
    # Pieces as those that ask: shapely then prepares each once, for all points in it.
    piece, hole = shapely.STRtree(shapely.point_on_surface(filled)).query(pieces, predicate="contains")
    own = owner[piece] == holes.owner[hole]
    around = np.empty(len(holes), np.int64)
    around[hole[own]] = piece[own]
    return around
