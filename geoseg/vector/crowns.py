"""Trees over a roof: round bites and round holes in a building's border, below which its walls go on.

A crown hides a part of the roof and leaves an arc in the border, curved the wrong way for a wall. Where one circle fits
such a stretch about as well as straight walls do, its samples belong to no wall, and what it hides counts for no model.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from geoseg.vector.arrays import Bools, Floats, Ints

_FIT = 0.28
"""Scatter about the circle (root mean square) that an arc may have, in tolerances."""

_THAN_WALLS = 2.2
"""The same against the scatter about straight walls through its corners: that of a square notch is three times as large."""

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
    """A ring without the samples along crowns."""

    samples: Floats
    """(N, 2) what is left, in order; empty where the whole ring is a crown's."""
    gaps: Ints
    """Samples after which some are missing."""
    crowns: list[Crown]


def uncovered(samples: Floats, corners: Ints, tolerance_px: float, largest_px: float) -> Uncovered:
    """Find the crowns along a ring of samples, the building on the right, and leave out their samples.

    `corners` are those of Douglas–Peucker; crowns have a radius between `tolerance_px` and `largest_px`.
    """
    hidden, crowns = np.zeros(len(samples), bool), []
    for stretch, bends in _hollows(samples, corners):
        inner = stretch if len(stretch) == len(samples) else stretch[_MOUTH_PX : len(stretch) - _MOUTH_PX]
        crown, scatter = _crown(samples[inner], tolerance_px, largest_px)
        if crown is not None and scatter < _THAN_WALLS * _wall_scatter(samples, bends):
            crowns.append(crown)
            hidden[stretch] = True
    if not crowns:
        return Uncovered(samples, np.zeros(0, np.int64), crowns)
    return Uncovered(*_left(samples, hidden), crowns)


def _hollows(samples: Floats, corners: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Stretches whose corners all bend into the building, and those corners with the one before and the one after."""
    count, size = len(corners), len(samples)
    ahead = np.roll(samples[corners], -1, axis=0) - samples[corners]
    behind = np.roll(ahead, 1, axis=0)
    inward = behind[:, 0] * ahead[:, 1] - behind[:, 1] * ahead[:, 0] > 0
    if inward.all():
        yield np.arange(size), np.append(corners, corners[0] + size)
        return
    for first in np.flatnonzero(inward & ~np.roll(inward, 1)).tolist():
        last = first
        while inward[(last + 1) % count]:
            last += 1
        at = np.arange(first - 1, last + 2)
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
    turn = np.unwrap(np.arctan2(spokes[:, 1], spokes[:, 0]))
    if scatter > _FIT * tolerance_px or abs(turn[-1] - turn[0]) < _LEAST_ARC:
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
