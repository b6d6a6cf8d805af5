"""Lines from a one-pixel-wide skeleton: paths between junctions and dead ends.

Pixels are linked to their eight neighbours, but diagonally only where no pixel lies between (m-adjacency; Rosenfeld),
so that the corner of a staircase is no junction. Paths run through pixels with two links.
"""

from dataclasses import dataclass

import numpy as np

from geoseg.vector.arrays import Bools, Bytes, Ints, chains, offsets_of, ranges

CUT, LEAF, JUNCTION, RING = 0, 1, 2, 3
"""How a path ends: cut off, in a dead end, at a junction, or in itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Lines through pixels."""

    offsets: Ints
    """(P + 1,) first point of each path, and the end of the last."""
    at: Ints
    """(Q,) flat position of each point in the picture."""
    ends: Bytes
    """(P, 2) how each begins and ends."""


def traced(tail: Ints, head: Ints, through: Bools) -> tuple[Ints, Ints, Bools]:
    """Chain edges that meet at nodes which lines run `through`, each with exactly two edge ends.

    Edge i runs from `tail[i]` to `head[i]`; number i + N is the same edge backwards. Returns the edges of each line in
    order, the offsets of the lines, and which close on themselves. Every line comes once, in one of its directions.
    """
    count = len(tail)
    begin, end = np.concatenate([tail, head]), np.concatenate([head, tail])
    leaving = np.argsort(begin, kind="stable")
    first = offsets_of(np.bincount(begin, minlength=len(through)))
    place = np.empty(2 * count, np.int64)
    place[leaving] = np.arange(2 * count)
    back = np.concatenate([np.arange(count, 2 * count), np.arange(count)])
    on = np.flatnonzero(through[end])
    following = np.full(2 * count, -1)
    # Of the two edges that leave the node ahead, the one that is not this edge backwards.
    following[on] = leaving[2 * first[end[on]] + 1 - place[back[on]]]
    order, offsets, closed = chains(following)
    start, stop = order[offsets[:-1]], order[offsets[1:] - 1]
    once = np.where(closed, start < _smallest_backwards(order, offsets, back), start < back[stop])
    picked = np.flatnonzero(once)
    lengths = np.diff(offsets)[picked]
    return order[ranges(offsets[picked], lengths)], offsets_of(lengths), closed[picked]


def _smallest_backwards(order: Ints, offsets: Ints, back: Ints) -> Ints:
    """For each line, the smallest of its edges when walked backwards; a closed line starts at its smallest."""
    return np.minimum.reduceat(back[order], offsets[:-1]) if len(order) else order


def paths_of(skeleton: Bools) -> Paths:
    """Paths through the pixels of an (H, W) skeleton, from junction or dead end to the next."""
    at = np.flatnonzero(skeleton)
    tail, head = _links(skeleton, at)
    degree = np.bincount(np.concatenate([tail, head]), minlength=len(at))
    edges, offsets, closed = traced(tail, head, degree == 2)
    begin, end = np.concatenate([tail, head])[edges], np.concatenate([head, tail])[edges]
    points = np.insert(begin, offsets[1:], end[offsets[1:] - 1]) if len(edges) else edges
    kind = np.where(degree == 1, LEAF, JUNCTION)
    ends = np.stack([kind[begin[offsets[:-1]]], kind[end[offsets[1:] - 1]]], axis=1)
    ends[closed] = RING
    return Paths(offsets + np.arange(len(offsets)), at[points], ends.astype(np.uint8))


def _links(skeleton: Bools, at: Ints) -> tuple[Ints, Ints]:
    """Pairs of pixels, by their number in `at`, that are linked."""
    width = skeleton.shape[1]
    number = np.full(skeleton.size + 2 * width + 2, -1)
    number[at] = np.arange(len(at))
    east, south, west = number[at + 1], number[at + width], number[at - 1]
    south_east, south_west = number[at + width + 1], number[at + width - 1]
    ahead = [
        (east, east >= 0),
        (south, south >= 0),
        (south_east, (south_east >= 0) & (east < 0) & (south < 0)),
        (south_west, (south_west >= 0) & (west < 0) & (south < 0)),
    ]
    tail = np.concatenate([np.flatnonzero(linked) for _, linked in ahead])
    return tail, np.concatenate([other[linked] for other, linked in ahead])
