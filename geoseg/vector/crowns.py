"""Trees over a roof: round bites and round holes in a building's border, below which its walls go on.

A crown hides a part of the roof and leaves an arc in the border, curved the wrong way for a wall. Where one circle fits
such a stretch about as well as straight walls do, its samples belong to no wall, and what it hides counts for no model.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from geoseg.vector.arrays import Bools, Floats, Ints, offsets_of, owners_of

_FIT = 0.28
"""Scatter about the circle (root mean square) that an arc may have, in tolerances."""

_THAN_WALLS = 2.2
"""The same against the scatter about straight walls through its corners: that of a square notch is three times as large."""

_CHORD = 4.0
"""Sides of an arc are shorter than this times the root of the product of its radius and the tolerance, √8 without noise."""

_LEAST_ARC = math.radians(80)
_LEAST_SAMPLES = 10
_MOUTH_PX = 2
"""Samples on both sides of a bite that blur has rounded off."""


@dataclass(frozen=True, slots=True)
class Crown:
    """A circle that a stretch of border follows."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Uncovered:
    """Rings without the samples along crowns."""

    samples: list[Floats]
    """(N, 2) what is left of each, in order; empty where the whole ring is a crown's."""
    gaps: list[Ints]
    """Samples of each after which some are missing."""
    crowns: list[list[Crown]]
    """Those along each."""


def uncovered(
    samples: Floats, offsets: Ints, corners: Sequence[Ints], tolerance_px: float, largest_px: float
) -> Uncovered:
    """Find the crowns along rings of samples, the building on the right, and leave out their samples.

    `corners` are those of Douglas–Peucker, as numbers of samples within each ring; crowns have a radius between
    `tolerance_px` and `largest_px`.
    """
    rings = [samples[first:stop] for first, stop in pairwise(offsets)]
    found = Uncovered(rings, [np.zeros(0, np.int64)] * len(rings), [[] for _ in rings])
    of_ring = offsets_of(np.array([len(some) for some in corners]))
    inward, side = _bends(samples, offsets, corners, of_ring)
    short = side <= _CHORD * math.sqrt(largest_px * tolerance_px)
    for number in np.unique(owners_of(of_ring)[inward]).tolist():
        ring, mine = rings[number], slice(of_ring[number], of_ring[number + 1])
        hidden = np.zeros(len(ring), bool)
        for stretch, bends in _hollows(len(ring), corners[number], inward[mine], short[mine]):
            inner = stretch if len(stretch) == len(ring) else stretch[_MOUTH_PX : len(stretch) - _MOUTH_PX]
            crown, scatter = _crown(ring[inner], tolerance_px, largest_px)
            if crown is not None and scatter < _THAN_WALLS * _wall_scatter(ring, bends):
                found.crowns[number].append(crown)
                hidden[stretch] = True
        if hidden.any():
            found.samples[number], found.gaps[number] = _left(ring, hidden)
    return found


def _bends(samples: Floats, offsets: Ints, corners: Sequence[Ints], of_ring: Ints) -> tuple[Bools, Floats]:
    """Whether each corner of all rings bends into the building, and how far it is to the next of its ring."""
    ring = owners_of(of_ring)
    xy = samples[np.concatenate([np.zeros(0, np.int64), *corners]) + offsets[ring]]
    first, count = of_ring[ring], np.diff(of_ring)[ring]
    place = np.arange(len(ring)) - first
    ahead = xy[first + (place + 1) % count] - xy
    behind = ahead[first + (place - 1) % count]
    return behind[:, 0] * ahead[:, 1] - behind[:, 1] * ahead[:, 0] > 0, np.hypot(*ahead.T)


def _hollows(size: int, corners: Ints, inward: Bools, short: Bools) -> Iterator[tuple[Ints, Ints]]:
    """Stretches of a ring whose corners all bend into the building, and those with the one before and the one after.

    Only those between whose corners all sides are short.
    """
    count = len(corners)
    if inward.all():
        if short.all():
            yield np.arange(size), np.append(corners, corners[0] + size)
        return
    for first in np.flatnonzero(inward & ~np.roll(inward, 1)).tolist():
        last = first
        while inward[(last + 1) % count]:
            last += 1
        at = np.arange(first - 1, last + 2)
        if short[at[:-1] % count].all():
            bends = corners[at % count] + size * (at // count)
            yield np.arange(bends[0] - _MOUTH_PX, bends[-1] + _MOUTH_PX) % size, bends


def _wall_scatter(samples: Floats, bends: Ints) -> float:
    """Root mean square distance of samples from straight walls between corners."""
    squares, count = 0.0, 0
    for first, stop in pairwise(bends.tolist()):
        xy = samples[np.arange(first + _MOUTH_PX, stop - _MOUTH_PX + 1) % len(samples)]
        if len(xy) > 2:
            squares += float(np.linalg.eigvalsh(np.cov(xy.T, bias=True))[0]) * len(xy)
            count += len(xy)
    return math.sqrt(max(squares, 0.0) / count) if count else 0.0


def _crown(xy: Floats, tolerance_px: float, largest_px: float) -> tuple[Crown | None, float]:
    """The circle through samples by algebraic least squares (Kåsa), None where it is no crown; and the scatter about it."""
    if len(xy) < _LEAST_SAMPLES:
        return None, math.inf
    middle = xy.mean(axis=0)
    off = xy - middle
    square = (off * off).sum(axis=1)
    sums = off.T @ off
    if abs(np.linalg.det(sums)) < 1e-6 * len(xy):
        return None, math.inf
    center = np.linalg.solve(2 * sums, off.T @ square)
    radius = math.sqrt(square.mean() + center @ center)
    if not tolerance_px < radius <= largest_px:
        return None, math.inf
    spokes = off - center
    scatter = float(np.sqrt(np.mean((np.hypot(*spokes.T) - radius) ** 2)))
    if scatter > _FIT * tolerance_px:
        return None, scatter
    turn = np.unwrap(np.arctan2(spokes[:, 1], spokes[:, 0]))
    if abs(turn[-1] - turn[0]) < _LEAST_ARC:
        return None, scatter
    return Crown(float(middle[0] + center[0]), float(middle[1] + center[1]), radius), scatter


def _left(samples: Floats, hidden: Bools) -> tuple[Floats, Ints]:
    """Samples that are not hidden, beginning after a hidden one, and after which some are missing."""
    if hidden.all():
        return samples[:0], np.zeros(0, np.int64)
    start = int(np.flatnonzero(~hidden & np.roll(hidden, 1))[0])
    order = np.roll(np.arange(len(samples)), -start)
    left = order[~hidden[order]]
    return samples[left], np.flatnonzero(np.roll(hidden[order], -1)[~hidden[order]])
