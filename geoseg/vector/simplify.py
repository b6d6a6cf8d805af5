"""Simplify all borders of a block once, without changing how they lie to one another.

Each arc is thinned by the Douglas–Peucker algorithm, its ends pinned. A chord may then replace its part of the border
only if no other vertex of any border lies in the area between the two: then no border comes to cross or touch another,
and nothing changes sides (Saalfeld, "Topologically consistent line simplification with the Douglas–Peucker algorithm",
1999). Where one does, that part is done again with half the tolerance, and stays as it is in the end. What is looked
for are vertices of the raw borders, so a chord once found good stays good whatever becomes of its neighbours.
"""

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.arrays import Bools, Floats, Ints, offsets_of, owners_of, ranges
from geoseg.vector.polygonize import Arcs

_FINEST_PX = 0.4
"""Below this tolerance hardly a vertex of a pixel staircase is dropped."""

_CELL_PX = 4
"""Side of the cells in which vertices are looked up."""

_LONGEST = 1 << 14
"""Vertices from one that stays to the next, at most."""

_AT_ONCE = 1 << 13
"""Chords whose surroundings are looked at together."""

_SLACK_PX = 1e-6
"""More than rounding moves the middle of a chord."""


def kept_vertices(arcs: Arcs, tolerance_px: float, frame: tuple[int, int]) -> Bools:
    """(V,) True for the vertices that stay when every border may move by at most `tolerance_px`.

    `frame` holds the rows of the block's upper and lower border. Arcs must end there; what meets them from the other
    side is not known here, so a chord along those borders is not taken.
    """
    keep = _pinned(arcs)
    settled = np.zeros(len(keep), bool)
    cells = _Cells(arcs.xy, max(_CELL_PX, int(2 * tolerance_px)))
    chords, tolerance = _chords(arcs, keep), tolerance_px
    while len(chords):
        thin(arcs.xy, keep, chords, tolerance)
        chords = _chords(arcs, keep)
        bad = _coinciding(arcs, keep, chords) | _along(arcs, chords, frame)
        new = np.flatnonzero(~settled[chords[:, 0]] & ~bad)
        for some in np.split(new, range(_AT_ONCE, len(new), _AT_ONCE)):
            bad[some] = _sweeping(arcs.xy, chords[some], cells, tolerance)
        settled[chords[:, 0]] = ~bad
        chords, tolerance = chords[bad], tolerance / 2 if tolerance / 2 >= _FINEST_PX else 0.0
    return keep


def thin(xy: NDArray[np.int64] | Floats, keep: Bools, chords: Ints, tolerance: float) -> None:
    """Douglas–Peucker on many chords at once: marks in `keep` what stays between their ends.

    `chords` (N, 2) holds the first and last vertex of each. All chords are split at their farthest vertex in one pass,
    and again, until every vertex is within `tolerance` of its chord. Long chords are divided first: along a spiral
    each pass settles a turn, and would go over all the others again.
    """
    chords = _divided(chords, _LONGEST)
    keep[chords] = True
    vertex = ranges(chords[:, 0] + 1, chords[:, 1] - chords[:, 0] - 1)
    if tolerance <= 0:
        keep[vertex] = True
        return
    group = np.repeat(np.arange(len(chords)), np.maximum(chords[:, 1] - chords[:, 0] - 1, 0))
    begin, end = chords[group, 0], chords[group, 1]
    x, y = _columns(xy)
    while len(vertex):
        farthest, deviation = _farthest(vertex, begin, _squared_distance(x, y, vertex, begin, end))
        deep = deviation > tolerance * tolerance
        keep[farthest[deep]] = True
        left = np.flatnonzero(deep & (vertex != farthest))
        vertex, begin, end, farthest = vertex[left], begin[left], end[left], farthest[left]
        begin, end = np.where(vertex > farthest, farthest, begin), np.where(vertex < farthest, farthest, end)


def _divided(chords: Ints, longest: int) -> Ints:
    """Chords over no more than `longest` vertices each; all but the last part of one over just as many."""
    begin, end = chords.T
    count = -(-(end - begin) // longest)
    start = np.repeat(begin, count) + longest * ranges(np.zeros_like(count), count)
    return np.stack([start, np.minimum(start + longest, np.repeat(end, count))], axis=1)


def _columns(xy: NDArray[np.int64] | Floats) -> tuple[Floats, Floats]:
    """The two columns apart: what is looked up lies side by side in memory."""
    return xy[:, 0].astype(np.float64), xy[:, 1].astype(np.float64)


def _farthest(vertex: Ints, begin: Ints, distance: Floats) -> tuple[Ints, Floats]:
    """For each vertex, the farthest vertex of its chord (the first of equals), and how far that one is."""
    first = np.flatnonzero(np.append(True, begin[1:] != begin[:-1]))
    sizes = np.diff(np.append(first, len(begin)))
    deviation = np.repeat(np.maximum.reduceat(distance, first), sizes)
    at = np.flatnonzero(distance == deviation)
    chosen = at[np.append(True, begin[at[1:]] != begin[at[:-1]])]
    return np.repeat(vertex[chosen], sizes), deviation


def _squared_distance(x: Floats, y: Floats, point: Ints, a: Ints, b: Ints) -> Floats:
    """Squared distance of vertices to the straight lines between the vertices `a` and `b`, ends included."""
    ax, ay = x[a], y[a]
    px, py = x[point] - ax, y[point] - ay
    dx, dy = x[b] - ax, y[b] - ay
    along = np.clip((px * dx + py * dy) / np.maximum(dx * dx + dy * dy, 1e-300), 0.0, 1.0)
    px -= along * dx
    py -= along * dy
    squared: Floats = px * px + py * py
    return squared


def _pinned(arcs: Arcs) -> Bools:
    """The ends of all arcs, and of a closed one the vertex farthest from them, so that none shrinks to nothing."""
    keep = np.zeros(len(arcs.xy), bool)
    first, last = arcs.offsets[:-1], arcs.offsets[1:] - 1
    keep[first], keep[last] = True, True
    closed = np.flatnonzero((arcs.xy[first] == arcs.xy[last]).all(axis=1))
    if len(closed):
        vertex = ranges(first[closed], last[closed] - first[closed])
        begin = np.repeat(first[closed], last[closed] - first[closed])
        distance = ((arcs.xy[vertex] - arcs.xy[begin]) ** 2).sum(axis=1).astype(np.float64)
        farthest, _ = _farthest(vertex, begin, distance)
        keep[farthest] = True
    return keep


def _chords(arcs: Arcs, keep: Bools) -> Ints:
    """(N, 2) first and last vertex of every chord that skips vertices."""
    kept = np.flatnonzero(keep)
    chords = np.stack([kept[:-1], kept[1:]], axis=1)
    return chords[chords[:, 1] - chords[:, 0] > 1]


def _coinciding(arcs: Arcs, keep: Bools, chords: Ints) -> Bools:
    """Chords that lie on another chord or border segment with the same ends."""
    kept = np.flatnonzero(keep)
    within = np.diff(owners_of(arcs.offsets)[kept]) == 0
    begin, end = kept[:-1][within], kept[1:][within]
    point = arcs.xy[:, 1] * (arcs.xy[:, 0].max() + 1) + arcs.xy[:, 0]
    low, high = np.minimum(point[begin], point[end]), np.maximum(point[begin], point[end])
    order = np.lexsort((high, low))
    same = (low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1])
    twin = np.zeros(len(keep), bool)
    twin[begin[order][1:][same]] = True
    twin[begin[order][:-1][same]] = True
    return twin[chords[:, 0]]


def _along(arcs: Arcs, chords: Ints, frame: tuple[int, int]) -> Bools:
    """Chords on the block's upper or lower border."""
    begin, end = arcs.xy[chords[:, 0], 1], arcs.xy[chords[:, 1], 1]
    along: Bools = (begin == end) & np.isin(begin, frame)
    return along


class _Cells:
    """Vertices by square cell."""

    def __init__(self, xy: Ints, side: int) -> None:
        self.side = side
        self.low = xy.min(axis=0) if len(xy) else np.zeros(2, np.int64)
        place = (xy - self.low) // side
        self.shape = place.max(axis=0) + 1 if len(xy) else np.ones(2, np.int64)
        cell = place[:, 1] * self.shape[0] + place[:, 0]
        self.vertices = np.argsort(cell, kind="stable")
        self.offsets = offsets_of(np.bincount(cell, minlength=int(self.shape.prod())))

    def near(self, points: Floats, reach: Floats) -> tuple[Ints, Ints]:
        """Pairs of point and vertex, with every vertex within `reach` (N, 2) of a point in x and y, and some more."""
        low = np.clip((points - reach - self.low) // self.side, 0, self.shape - 1).astype(np.int64)
        high = np.clip((points + reach - self.low) // self.side, 0, self.shape - 1).astype(np.int64)
        span = high[:, 1] - low[:, 1] + 1
        point = np.repeat(np.arange(len(points)), span)
        row = ranges(low[:, 1], span) * self.shape[0]
        start, stop = self.offsets[row + low[point, 0]], self.offsets[row + high[point, 0] + 1]
        return np.repeat(point, stop - start), self.vertices[ranges(start, stop - start)]


def _sweeping(xy: Ints, chords: Ints, cells: _Cells, tolerance: float) -> Bools:
    """Chords that have a vertex of another part of a border between them and what they replace."""
    chord, vertex = _vertices_near(xy, chords, cells, tolerance)
    foreign = np.flatnonzero((vertex < chords[chord, 0]) | (vertex > chords[chord, 1]))
    chord, vertex = chord[foreign], vertex[foreign]
    begin, end = chords[chord, 0], chords[chord, 1]
    close = np.flatnonzero(_squared_distance(*_columns(xy), vertex, begin, end) <= tolerance * tolerance)
    chord, vertex, begin, end = chord[close], vertex[close], begin[close], end[close]
    own_end = (xy[vertex] == xy[begin]).all(axis=1) | (xy[vertex] == xy[end]).all(axis=1)
    return _enclosing(xy, chords, chord[~own_end], vertex[~own_end])


def _vertices_near(xy: Ints, chords: Ints, cells: _Cells, tolerance: float) -> tuple[Ints, Ints]:
    """Pairs of chord and vertex that may be within `tolerance` of each other."""
    begin, end = xy[chords[:, 0]].astype(np.float64), xy[chords[:, 1]].astype(np.float64)
    steps = np.abs(end - begin).max(axis=1) // cells.side + 1
    count = steps.astype(np.int64)
    chord = np.repeat(np.arange(len(chords)), count)
    share = (ranges(np.zeros_like(count), count) + 0.5) / steps[chord]
    middle = begin[chord] + (end - begin)[chord] * share[:, None]
    half = np.abs(end - begin) / (2 * steps[:, None])
    near, vertex = cells.near(middle, half[chord] + (tolerance + _SLACK_PX))
    return chord[near], vertex


def _enclosing(xy: Ints, chords: Ints, chord: Ints, vertex: Ints) -> Bools:
    """Chords whose swept area holds the vertex paired with them, inside or on its edge."""
    asked, which = np.unique(chord, return_inverse=True)
    lengths = chords[asked, 1] - chords[asked, 0] + 2
    ring = ranges(chords[asked, 0], lengths)
    offsets = offsets_of(lengths)
    ring[offsets[1:] - 1] = chords[asked, 0]
    swept = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, xy[ring].astype(np.float64), (offsets, np.arange(len(asked) + 1))
    )
    hit = shapely.intersects_xy(swept[which], xy[vertex, 0], xy[vertex, 1]) if len(asked) else np.zeros(0, bool)
    found = np.zeros(len(chords), bool)
    found[chord[hit]] = True
    return found
