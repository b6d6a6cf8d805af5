"""Polygons from arcs: each region's half of its arcs, linked to rings, shells and holes.

Every arc is walked once by each of its two regions, with the region on the left, so shells run counter-clockwise as
seen on the picture, holes clockwise, and neighbours share their coordinates to the last bit.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.arrays import Bools, Ints, chains, offsets_of, ranges, take_sequences

Lattice = NDArray[np.int32]
"""Vertices of what may be most of a scene: half the memory of `Ints`."""


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Arcs as walked by one of their regions."""

    owner: Ints
    """(N,) region on the left."""
    other: Ints
    """(N,) region on the right."""
    tail: Ints
    """(N,) key of the lattice point where each begins; the same for all arcs at a point."""
    head: Ints
    """(N,) key of the point where each ends."""
    out_way: Ints
    """(N,) direction in which the raw border leaves the tail: 0 east, 1 south, 2 west, 3 north."""
    in_way: Ints
    """(N,) direction in which the raw border comes to the head."""
    twice_area: Ints
    """(N,) twice the area between the raw arc and the origin, signed: positive sums are shells."""
    fixed: Bools
    """(N,) True where the tail is a node: it stays even if an owner's border goes straight on there."""
    offsets: Ints
    """(N + 1,) first vertex of each."""
    xy: Lattice
    """(V, 2) vertices, column and row."""

    def __len__(self) -> int:
        return len(self.owner)

    def picked(self, which: Ints) -> "Halves":
        """These halves in this order."""
        vertex, offsets = take_sequences(self.offsets, which)
        columns = {name: getattr(self, name)[which] for name in _COLUMNS}
        return Halves(**columns, offsets=offsets, xy=self.xy[vertex])

    @staticmethod
    def joined(many: list["Halves"]) -> "Halves":
        """All of them, one after the other."""
        columns = {name: np.concatenate([getattr(h, name) for h in many]) for name in (*_COLUMNS, "xy")}
        return Halves(**columns, offsets=offsets_of(np.concatenate([np.diff(h.offsets) for h in many])))


_COLUMNS = ("owner", "other", "tail", "head", "out_way", "in_way", "twice_area", "fixed")


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """Closed rings, shell first for each owner."""

    owner: Ints
    """(R,) region each belongs to, ascending."""
    shell: Bools
    """(R,) True for the one outer ring of each owner."""
    offsets: Ints
    """(R + 1,) first vertex of each."""
    xy: Lattice
    """(V, 2) vertices on the pixel lattice; the first and the last of a ring are the same."""

    def polygons(self, xy: NDArray[np.float64]) -> NDArray[Any]:
        """(P,) shapely polygons in the order of their owners, with `xy` (V, 2) in place of the lattice."""
        starts = np.append(np.flatnonzero(self.shell), len(self.shell))
        made: NDArray[Any] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, (self.offsets, starts))
        return made


@dataclass(frozen=True, slots=True, eq=False)
class Idle:
    """Regions that are on the scene but no features, grouped where they touch."""

    group: Ints
    """By region: its group, −1 for a feature and for nodata."""
    pixels: Ints
    """By group: its pixels."""


def rings_of(halves: Halves, idle: Idle, min_hole: Ints) -> Rings:
    """Link the halves of whole regions to rings.

    `min_hole` is the smallest hole that stays, by region. A smaller one is filled if only idle regions lie in it.
    """
    order, offsets, _ = chains(_links(halves))
    walked = halves.picked(order)
    first = offsets[:-1]
    owner = walked.owner[first]
    twice_area = np.add.reduceat(walked.twice_area, first) if len(first) else first
    shell = twice_area > 0
    stays = shell | ~_fillable(walked, offsets, -twice_area // 2, idle, min_hole[owner])
    picked = np.lexsort((~shell, owner))
    picked = picked[stays[picked]]
    xy, ring_offsets = _closed(walked, offsets, picked)
    return Rings(owner[picked], shell[picked], ring_offsets, xy)


def _links(halves: Halves) -> Ints:
    """The half that follows each one on its ring.

    At a point where an owner's pixels touch only by their corners, two of its rings or one ring twice pass. There each
    half goes on by turning right, across to the other pixel, which leaves rings that never touch themselves: a hole
    that touches the shell in a point stays a hole.
    """
    leaving = np.lexsort((halves.out_way, halves.tail, halves.owner))
    arriving = np.lexsort(((halves.in_way + 1) % 4, halves.head, halves.owner))
    following = np.empty(len(halves), np.int64)
    following[arriving] = leaving
    return following


def _fillable(walked: Halves, offsets: Ints, hole_pixels: Ints, idle: Idle, min_hole: Ints) -> Bools:
    """Rings that are holes too small to stay, with nothing but idle regions in them."""
    fill = np.zeros(len(hole_pixels), bool)
    small = np.flatnonzero((hole_pixels > 0) & (hole_pixels < min_hole))
    for ring in small:
        inside = np.unique(idle.group[walked.other[offsets[ring] : offsets[ring + 1]]])
        # Where the sum is less than the hole, a feature or nodata lies deeper in it.
        fill[ring] = inside[0] >= 0 and int(idle.pixels[inside].sum()) == int(hole_pixels[ring])
    return fill


def _closed(walked: Halves, offsets: Ints, picked: Ints) -> tuple[Lattice, Ints]:
    """Vertices of the picked rings: each half without its last vertex, straight-on vertices dropped, the first repeated."""
    half, half_offsets = take_sequences(offsets, picked)
    lengths = np.diff(walked.offsets)[half] - 1
    vertex = ranges(walked.offsets[half], lengths)
    ring_offsets = offsets_of(lengths)[half_offsets]
    xy = walked.xy[vertex]
    stays = ~_straight(xy, ring_offsets)
    stays[offsets_of(lengths)[:-1][walked.fixed[half]]] = True
    ring_offsets = np.append(0, np.cumsum(stays))[ring_offsets]
    xy = xy[stays]
    return np.insert(xy, ring_offsets[1:], xy[ring_offsets[:-1]], axis=0), ring_offsets + np.arange(len(ring_offsets))


def _straight(xy: Lattice, offsets: Ints) -> Bools:
    """Vertices on the straight line between their neighbours on the ring."""
    last = offsets[1:] - 1
    before, after = np.arange(len(xy)) - 1, np.arange(len(xy)) + 1
    before[offsets[:-1]], after[last] = last, offsets[:-1]
    ax, ay = (xy - xy[before]).T.astype(np.int64)
    bx, by = (xy[after] - xy).T.astype(np.int64)
    straight: Bools = ax * by == ay * bx
    return straight
