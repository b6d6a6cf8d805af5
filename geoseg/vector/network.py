"""A network of lines from a one-pixel-wide skeleton: paths between junctions and dead ends, spurs pruned.

Pixels are linked to their eight neighbours, but diagonally only where no pixel lies between (m-adjacency; Rosenfeld),
so that the corner of a staircase is no junction. Paths run through pixels with two links.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.arrays import Bools, Bytes, Floats, Ints, chains, offsets_of, owners_of, ranges
from geoseg.vector.runs import merged

CUT, LEAF, JUNCTION, RING = 0, 1, 2, 3
"""How a path ends: cut off, in a dead end, at a junction, or in itself."""

_ROUNDS = 4
"""Pruning a spur can make a new one, a few times over."""


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


def network(skeleton: Bools, radius: NDArray[np.float32], spur_px: float, join_px: float) -> Paths:
    """Paths of a skeleton whose pixels are `radius` away from the border of what was thinned.

    Dead ends shorter than 1.2 times the radius at their junction plus `spur_px` are pruned. Junctions nearer to each
    other than the radius plus `join_px` become one, and paths go straight to it over the last radius, where a skeleton
    bends towards corners.
    """
    skeleton = skeleton.copy()
    flat = radius.ravel()
    for _ in range(_ROUNDS):
        paths = _paths(skeleton)
        spurs = _spur_pixels(paths, flat, skeleton.shape[1], spur_px)
        if not len(spurs):
            break
        skeleton.ravel()[spurs] = False
    return _anchored(paths, flat, skeleton.shape[1], join_px)


def _paths(skeleton: Bools) -> Paths:
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


def _lengths(paths: Paths, width: int) -> Floats:
    """Length of each path in pixels."""
    step = np.hypot(np.diff(paths.at // width), np.diff(paths.at % width))
    along = np.append(0.0, np.cumsum(step))
    lengths: Floats = along[paths.offsets[1:] - 1] - along[paths.offsets[:-1]]
    return lengths


def _spur_pixels(paths: Paths, radius: NDArray[np.float32], width: int, spur_px: float) -> Ints:
    """Pixels of all spurs, their junctions left out."""
    first, last = paths.offsets[:-1], paths.offsets[1:] - 1
    junction = np.where(paths.ends[:, 0] == JUNCTION, first, last)
    dangling = np.sort(paths.ends, axis=1) == [LEAF, JUNCTION]
    short = _lengths(paths, width) < 1.2 * radius[paths.at[junction]] + spur_px
    spur = np.flatnonzero(dangling.all(axis=1) & short)
    points = ranges(first[spur], last[spur] - first[spur] + 1)
    return np.setdiff1d(paths.at[points], paths.at[junction[spur]])


def _anchored(paths: Paths, radius: NDArray[np.float32], width: int, join_px: float) -> Paths:
    """Paths with near junctions made one, and their ends within its radius replaced by a straight line to it."""
    first, last = paths.offsets[:-1], paths.offsets[1:] - 1
    ends = paths.at[np.stack([first, last], axis=1)]
    length = _lengths(paths, width)
    reach = radius[ends].max(axis=1) + join_px
    near = (paths.ends == JUNCTION).all(axis=1) & (length < reach)
    anchor = _anchors(ends, near, radius)
    inside = (paths.ends == JUNCTION).all(axis=1) & (anchor[:, 0] == anchor[:, 1]) & (length < 2 * reach)
    keep = np.flatnonzero(~inside)
    at, lengths = _trimmed(paths, keep, anchor, radius, width)
    return Paths(offsets_of(lengths), at, paths.ends[keep])


def _anchors(ends: Ints, near: Bools, radius: NDArray[np.float32]) -> Ints:
    """(P, 2) where the ends of paths go when `near` paths shrink to a point: the widest place of each cluster."""
    pixels, number = np.unique(ends, return_inverse=True)
    number = number.reshape(ends.shape)
    cluster = merged(len(pixels), number[near, 0], number[near, 1])
    order = np.lexsort((pixels, -radius[pixels], cluster))
    widest = pixels[order[np.append(True, np.diff(cluster[order]) != 0)]] if len(pixels) else pixels
    anchors: Ints = widest[cluster[number]] if len(pixels) else ends
    return anchors


def _trimmed(paths: Paths, keep: Ints, anchor: Ints, radius: NDArray[np.float32], width: int) -> tuple[Ints, Ints]:
    """Points of the kept paths from anchor to anchor, and how many each has."""
    lengths = np.diff(paths.offsets)[keep]
    offsets = offsets_of(lengths)
    at = paths.at[ranges(paths.offsets[keep], lengths)]
    path, place = owners_of(offsets), ranges(np.zeros_like(lengths), lengths)
    drop = (place == 0) | (place == lengths[path] - 1)
    for side in (0, 1):
        center = anchor[keep, side]
        away = (
            np.hypot(at // width - (center // width)[path], at % width - (center % width)[path]) >= radius[center][path]
        )
        away |= (paths.ends[keep, side] != JUNCTION)[path]
        # Only what comes before the path first leaves the radius: it may come back to it later.
        seen = np.cumsum(away) if side == 0 else np.cumsum(away[::-1])[::-1]
        edge = seen - away
        before = edge[offsets[:-1]] if side == 0 else edge[offsets[1:] - 1]
        drop |= (seen == before[path]) & ~away
    inner = np.flatnonzero(~drop)
    kept = np.bincount(path[inner], minlength=len(keep))
    stops = np.cumsum(kept)
    with_start = np.insert(at[inner], stops - kept, anchor[keep, 0])
    return np.insert(with_start, stops + np.arange(1, len(keep) + 1), anchor[keep, 1]), kept + 2
