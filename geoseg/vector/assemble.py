"""Arcs of all blocks, streamed from top to bottom, to the polygons of some classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.legend import NODATA
from geoseg.vector.arrays import Bools, Ints, offsets_of, ranges
from geoseg.vector.parts import Borders, load_borders, load_sides
from geoseg.vector.rings import Halves, Idle, Rings, rings_of
from geoseg.vector.runs import merged
from geoseg.vector.seams import Regions, Seam
from geoseg.vector.sieve import SizeLimits


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which regions become polygons."""

    wanted: Bools
    """By region: True for those that this stream makes."""
    idle: Idle
    """What may lie in a hole that is filled."""
    limits: SizeLimits
    """Sizes of holes that are filled."""


@dataclass(frozen=True, slots=True, eq=False)
class _Arcs:
    """Arcs of a block or a seam, with the regions of the scene."""

    offsets: Ints
    xy: Ints
    left: Ints
    right: Ints
    tail: Ints
    head: Ints
    out_way: Ints
    in_way: Ints
    twice_area: Ints


def delivered(regions: Regions, limits: SizeLimits) -> Bools:
    """Regions that are features: of a class that has a limit, and not under it."""
    smallest = limits.min_area[regions.value]
    return (smallest > 0) & (regions.pixels >= smallest)


def idle_of(parts: Sequence[Path], regions: Regions, features: Bools) -> Idle:
    """Groups of neighbouring regions that are no features: what may lie in a hole that is filled."""
    idle = ~features & (regions.value != NODATA)
    pairs = [(s.upper, s.lower) for s in regions.seams]
    for path, of_block in zip(parts, regions.of_block, strict=True):
        left, right = load_sides(path)
        pairs.append((of_block[left], of_block[right]))
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    both = idle[one] & idle[other]
    group = merged(len(idle), one[both], other[both])
    pixels = np.bincount(group, weights=np.where(idle, regions.pixels, 0)).astype(np.int64)
    return Idle(np.where(idle, group, -1), pixels)


def rings_by_block(
    parts: Sequence[Path], regions: Regions, selection: Selection, *, raw: bool = False
) -> Iterator[Rings]:
    """The wanted polygons, each once its last block was seen; only those still open are held.

    `raw` gives the borders as polygonized, before simplification.
    """
    min_hole = selection.limits.min_hole[regions.value]
    held: list[Halves] = []
    above: _Arcs | None = None
    for step, seam in enumerate(regions.seams):
        below = block_arcs(load_borders(parts[step]), regions.of_block[step], seam, raw) if step < len(parts) else None
        between = _seam_arcs(seam)
        new = [arcs for arcs in (between, below) if arcs is not None]
        held = [halves_of(arcs, selection.wanted) for arcs in new] + held
        _fix_nodes(held, seam, [arcs for arcs in (above, *new) if arcs is not None])
        closed, held = _closed(held, regions.last_block < step, selection.idle, min_hole)
        above = below
        if closed is not None:
            yield closed


def _closed(held: list[Halves], over: Bools, idle: Idle, min_hole: Ints) -> tuple[Rings | None, list[Halves]]:
    """Rings of the regions that are `over`, None where there is none, and the halves of the others."""
    halves = Halves.joined(held)
    closing = over[halves.owner]
    if not closing.any():
        return None, [halves]
    return rings_of(halves.picked(np.flatnonzero(closing)), idle, min_hole), [halves.picked(np.flatnonzero(~closing))]


def block_arcs(borders: Borders, of_block: Ints, seam: Seam, raw: bool) -> _Arcs:
    """Arcs of a block, raw or simplified; directions and areas are those of the raw ones."""
    xy, first, last = borders.xy, borders.offsets[:-1], borders.offsets[1:] - 1
    cross = np.zeros(len(xy) + 1, np.int64)
    np.cumsum(xy[:-1, 1] * xy[1:, 0] - xy[:-1, 0] * xy[1:, 1], out=cross[1 : len(xy)])
    kept = np.ones(len(xy), bool) if raw else borders.keep
    return _Arcs(
        offsets=np.append(0, np.cumsum(kept))[borders.offsets],
        xy=xy[kept],
        left=of_block[borders.left],
        right=of_block[borders.right],
        tail=_key(xy[first], seam),
        head=_key(xy[last], seam),
        out_way=_way(xy[first + 1] - xy[first]),
        in_way=_way(xy[last] - xy[last - 1]),
        twice_area=cross[last] - cross[first],
    )


def _seam_arcs(seam: Seam) -> _Arcs:
    """Borders along a seam, eastward: what is above lies on the left."""
    border = np.flatnonzero(seam.upper != seam.lower)
    x = np.stack([seam.x[border], seam.x[border + 1]], axis=1)
    xy = np.stack([x.ravel(), np.full(x.size, seam.row)], axis=1)
    east = np.zeros(len(border), np.int64)
    return _Arcs(
        offsets=2 * np.arange(len(border) + 1),
        xy=xy,
        left=seam.upper[border],
        right=seam.lower[border],
        tail=_key(xy[0::2], seam),
        head=_key(xy[1::2], seam),
        out_way=east,
        in_way=east,
        twice_area=seam.row * (x[:, 1] - x[:, 0]),
    )


def _key(xy: Ints, seam: Seam) -> Ints:
    """One number for each lattice point of the scene."""
    key: Ints = xy[:, 1] * (seam.x[-1] + 2) + xy[:, 0]
    return key


def _way(step: Ints) -> Ints:
    """0 east, 1 south, 2 west, 3 north."""
    dx, dy = step.T
    return np.where(dy == 0, np.where(dx > 0, 0, 2), np.where(dy > 0, 1, 3))


def halves_of(arcs: _Arcs, wanted: Bools) -> Halves:
    """The wanted sides of the arcs, each with its region on the left."""
    ahead, back = np.flatnonzero(wanted[arcs.left]), np.flatnonzero(wanted[arcs.right])
    lengths = np.diff(arcs.offsets)
    backward = np.repeat(arcs.offsets[back + 1] - 1, lengths[back]) - ranges(np.zeros_like(back), lengths[back])
    vertex = np.concatenate([ranges(arcs.offsets[ahead], lengths[ahead]), backward])

    def both(forward: Ints, reverse: Ints) -> Ints:
        return np.concatenate([forward[ahead], reverse[back]])

    tail, head = both(arcs.tail, arcs.head), both(arcs.head, arcs.tail)
    points, degrees = np.unique(np.concatenate([arcs.tail, arcs.head]), return_counts=True)
    return Halves(
        owner=both(arcs.left, arcs.right),
        other=both(arcs.right, arcs.left),
        tail=tail,
        head=head,
        out_way=both(arcs.out_way, (arcs.in_way + 2) % 4),
        in_way=both(arcs.in_way, (arcs.out_way + 2) % 4),
        twice_area=both(arcs.twice_area, -arcs.twice_area),
        fixed=degrees[np.searchsorted(points, tail)] > 2,
        offsets=offsets_of(both(lengths, lengths)),
        xy=arcs.xy[vertex].astype(np.int32),
    )


def _fix_nodes(held: list[Halves], seam: Seam, meeting: list[_Arcs]) -> None:
    """Mark in place which points of a seam are nodes, now that all arcs that meet there are known."""
    width = int(seam.x[-1]) + 2
    ends = np.concatenate([end for arcs in meeting for end in (arcs.tail, arcs.head)]) - seam.row * width
    degree = np.bincount(ends[(ends >= 0) & (ends < width)], minlength=width)
    for halves in held:
        at = halves.tail - seam.row * width
        here = np.flatnonzero((at >= 0) & (at < width))
        halves.fixed[here] = degree[at[here]] > 2
