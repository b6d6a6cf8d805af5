"""The borders between the regions of a block, as arcs on the pixel lattice.

An arc runs from node to node (a lattice point where three or more borders meet, or where a border leaves the block)
or closes on itself. Each border between two regions is traced once, with the region of the higher number on its left,
so two neighbours can never disagree about it. Corners are lattice points: `x` is a column, `y` a row of the scene.

           |          A border is made of straight segments: a run of equal intervals of a line between two rows,
       ----+----      or a run of equal edges in a column. At a corner exactly one segment ends and one begins, which
           |    |     links them; the links are put in order by `arrays.chains`.
"""

from dataclasses import dataclass

import numpy as np

from geoseg.vector.arrays import Bools, Ints, chains, offsets_of
from geoseg.vector.runs import Runs


@dataclass(frozen=True, slots=True, eq=False)
class Arcs:
    """Borders between regions."""

    offsets: Ints
    """(A + 1,) first vertex of each arc, and the end of the last."""
    xy: Ints
    """(V, 2) vertices on the pixel lattice, column and row; the first and the last of a closed arc are the same."""
    left: Ints
    """(A,) region on the left of each arc, as seen on the picture."""
    right: Ints
    """(A,) region on its right."""


@dataclass(frozen=True, slots=True, eq=False)
class _Segments:
    """Straight parts of borders; −1 as key stands for a point on the block's upper or lower border."""

    tail: Ints
    """Lattice point where each begins."""
    head: Ints
    """Lattice point where each ends."""
    tail_key: Ints
    """Number of the interval that begins at the tail."""
    head_key: Ints
    """Number of the interval that begins at the head."""
    left: Ints
    """Region on the left."""
    right: Ints
    """Region on the right."""


@dataclass(frozen=True, slots=True, eq=False)
class _Crossing:
    """What meets at the start of each interval: the borders towards the four sides, and the kind of the point."""

    right: Bools
    straight_down: Bools
    straight_right: Bools
    corner: Bools


def arcs_of(runs: Runs, region: Ints, first_row: int) -> Arcs:
    """Arcs of a block whose first row is `first_row` of the scene; `region` holds the region of each run."""
    crossing, edge = _crossings(runs, region)
    segments = _joined(_across(runs, region, crossing), _down(runs, region, crossing, edge))
    order, offsets, _ = chains(_next(segments, crossing.corner))
    first, last = order[offsets[:-1]], order[offsets[1:] - 1]
    points = np.insert(segments.tail[order], offsets[1:], segments.head[last])
    x, y = points % runs.width - 1, points // runs.width + first_row
    return Arcs(offsets_of(np.diff(offsets) + 1), np.stack([x, y], axis=1), segments.left[first], segments.right[first])


def _crossings(runs: Runs, region: Ints) -> tuple[_Crossing, Bools]:
    """The kinds of the points where intervals start, and for each run whether a border is on its left side."""
    edge = np.zeros(len(region), bool)
    edge[1:] = region[1:] != region[:-1]
    edge &= runs.column > 0
    lines = runs.lines
    right = region[lines.upper] != region[lines.lower]
    left = np.zeros_like(right)
    left[1:] = right[:-1]
    up, down = lines.opens_upper & edge[lines.upper], lines.opens_lower & edge[lines.lower]
    meeting = right.astype(np.int8) + left + up + down
    straight_down, straight_right = up & down & (meeting == 2), left & right & (meeting == 2)
    return _Crossing(right, straight_down, straight_right, (meeting == 2) & ~straight_down & ~straight_right), edge


def _across(runs: Runs, region: Ints, crossing: _Crossing) -> _Segments:
    """Horizontal segments, the higher region on the left: eastward where it is above."""
    lines = runs.lines
    first = np.flatnonzero(crossing.right & ~crossing.straight_right)
    ending = np.zeros_like(crossing.right)
    ending[1:] = crossing.right[:-1] & ~crossing.straight_right[1:]
    last = np.flatnonzero(ending)
    upper, lower = region[lines.upper[first]], region[lines.lower[first]]
    return _directed(first, last, lines.key[first], lines.key[last], (upper, lower))


def _down(runs: Runs, region: Ints, crossing: _Crossing, edge: Bools) -> _Segments:
    """Vertical segments, the higher region on the left: southward where it is in the east."""
    lines, width = runs.lines, runs.width
    edges = np.flatnonzero(edge)
    column = runs.column[edges]
    # Sixteen bits make this a radix sort; the edges are in row order, so a stable sort stacks each column.
    edges = edges[np.argsort(column.astype(np.uint16) if width < 1 << 16 else column, kind="stable")]
    above = _interval_at(lines.opens_lower, len(region), at_end=True)[edges]
    below = _interval_at(lines.opens_upper, len(region), at_end=False)[edges]
    first = np.flatnonzero(~np.append(crossing.straight_down, False)[above])
    last = np.append(first[1:], len(edges))[: len(first)] - 1
    east, west = region[edges[first]], region[edges[first] - 1]
    top, bottom = runs.start[edges[first]], runs.start[edges[last]] + width
    return _directed(above[first], below[last], top, bottom, (east, west))


def _interval_at(opens: Bools, count: int, *, at_end: bool) -> Ints:
    """Interval at each run's upper (`at_end`: the first row's runs have none) or lower end, or −1."""
    found = np.flatnonzero(opens)
    missing = np.full(count - len(found), -1)
    return np.concatenate([missing, found] if at_end else [found, missing])


def _directed(first: Ints, last: Ints, begin: Ints, end: Ints, sides: tuple[Ints, Ints]) -> _Segments:
    """Segments turned so that the higher of the two regions is on the left; `sides` has the left one first."""
    left, right = sides
    turn = right > left
    return _Segments(
        tail=np.where(turn, end, begin),
        head=np.where(turn, begin, end),
        tail_key=np.where(turn, last, first),
        head_key=np.where(turn, first, last),
        left=np.maximum(left, right),
        right=np.minimum(left, right),
    )


def _joined(a: _Segments, b: _Segments) -> _Segments:
    def both(x: Ints, y: Ints) -> Ints:
        return np.concatenate([x, y])

    return _Segments(
        both(a.tail, b.tail),
        both(a.head, b.head),
        both(a.tail_key, b.tail_key),
        both(a.head_key, b.head_key),
        both(a.left, b.left),
        both(a.right, b.right),
    )


def _next(segments: _Segments, corner: Bools) -> Ints:
    """The segment that begins where each ends, or −1 where it ends at a node or at the block's border."""
    count = len(corner)
    is_corner = np.append(corner, False)  # so that key −1, outside of the block's lines, is no corner
    leaving = np.full(count + 1, -1)
    starts = np.flatnonzero(is_corner[segments.tail_key])
    leaving[segments.tail_key[starts]] = starts
    leaving[count] = -1
    return np.where(is_corner[segments.head_key], leaving[segments.head_key], -1)
