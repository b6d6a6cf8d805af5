"""Buildings: the outline of pixels becomes the outline of a house.

For every building several models are tried and the one kept that agrees best with its pixels for the corners it
needs: a circle, walls at right angles, walls at 45° too, and walls in any direction. Where none agrees well enough
the building keeps its simplified outline.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.arrays import Floats, Ints, offsets_of, ranges
from geoseg.vector.simplify import thin
from geoseg.vector.walls import Directions, Wall, fitted, main_direction, walls_of

SHAPES = ("outline", "right angles", "diagonal walls", "free angles", "circle")
"""What an outline can be."""

_MODELS: tuple[tuple[int, Directions], ...] = ((1, "right"), (2, "diagonal"), (3, "free"))
_TRIM_PX = 2.0
_COST = 0.002
"""Agreement (IoU) that a further corner has to bring."""

_PRIOR = (0.0, 0.0, 0.02, 0.04, 0.0)
"""Agreement that a shape has to bring more than right angles do, by number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SquaringSettings:
    """How buildings are squared; lengths in pixels."""

    tolerance_px: float
    """The raw outline may leave a wall by this much before it has a corner there."""
    shortest_px: float
    """Walls shorter than this are dropped."""
    least_iou: float = 0.85
    """Models that agree less than this with the pixels are not taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Squared:
    """Buildings after squaring, in the order they came in."""

    polygons: NDArray[Any]
    """(B,) shapely polygons; None where no model was good enough."""
    shape: Ints
    """(B,) which of `SHAPES` each is."""
    direction: Floats
    """(B,) main direction in radians, 0 ≤ θ < π/2."""


def squared(buildings: NDArray[Any], how: SquaringSettings) -> Squared:
    """Square buildings given as raw polygons on the pixel lattice, each by itself."""
    if not len(buildings):
        return Squared(buildings, np.zeros(0, np.int64), np.zeros(0))
    rings = _rings(buildings)
    corners = _corners(rings, how.tolerance_px)
    walls = [walls_of(rings.ring(ring), found, _TRIM_PX) for ring, found in enumerate(corners)]
    shells = np.flatnonzero(np.append(True, np.diff(rings.building) != 0))
    direction = np.array([main_direction(walls[shell]) for shell in shells])
    candidates = [_models(rings, walls, direction, k, how) for k in _MODELS]
    candidates.append((4, _circles(buildings)))
    return _best(buildings, candidates, direction, how)


@dataclass(frozen=True, slots=True, eq=False)
class _Rings:
    """Rings of buildings as samples, one in the middle of each pixel edge."""

    offsets: Ints
    samples: Floats
    building: Ints

    def ring(self, number: int) -> Floats:
        """Samples of one ring."""
        return self.samples[self.offsets[number] : self.offsets[number + 1]]


def _rings(buildings: NDArray[Any]) -> _Rings:
    """Samples of all rings, each beginning at the sample farthest from the ring's middle, which is at a corner."""
    rings, building = shapely.get_rings(shapely.normalize(buildings), return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    step = np.diff(xy, axis=0, append=xy[-1:])
    size = np.rint(np.abs(step).sum(axis=1)).astype(np.int64)
    size[np.append(ring[1:] != ring[:-1], True)] = 0
    along = ranges(np.zeros_like(size), size) + 0.5
    samples = np.repeat(xy, size, axis=0) + np.repeat(np.sign(step), size, axis=0) * along[:, None]
    offsets = offsets_of(np.bincount(np.repeat(ring, size), minlength=len(rings)))
    lengths = np.diff(offsets)
    middle = np.add.reduceat(samples, offsets[:-1]) / lengths[:, None]
    distance = np.hypot(*(samples - np.repeat(middle, lengths, axis=0)).T)
    far = np.array([int(distance[first:stop].argmax()) for first, stop in pairwise(offsets)])
    start, length = np.repeat(offsets[:-1], lengths), np.repeat(lengths, lengths)
    order = start + (np.arange(len(samples)) - start + np.repeat(far, lengths)) % length
    return _Rings(offsets, samples[order], building)


def _corners(rings: _Rings, tolerance_px: float) -> list[Ints]:
    """Samples at the corners of each ring, by Douglas–Peucker."""
    closed = rings.offsets + np.arange(len(rings.offsets))
    xy = np.insert(rings.samples, rings.offsets[1:], rings.samples[rings.offsets[:-1]], axis=0)
    keep = np.zeros(len(xy), bool)
    keep[closed[:-1]] = keep[closed[1:] - 1] = True
    thin(xy, keep, np.stack([closed[:-1], closed[1:] - 1], axis=1), tolerance_px)
    return [np.flatnonzero(keep[a : b - 1]) for a, b in pairwise(closed)]


def _models(
    rings: _Rings, walls: list[list[Wall]], direction: Floats, kind: tuple[int, Directions], how: SquaringSettings
) -> tuple[int, NDArray[Any]]:
    """One kind of outline for all buildings; None where there is none."""
    number, directions = kind
    made: list[Any] = [None] * len(direction)
    parts: list[list[Any]] = [[] for _ in made]
    for ring, building in enumerate(rings.building.tolist()):
        points = fitted(walls[ring], direction[building], directions, how.shortest_px)
        parts[building].append(points if len(points) >= 3 else None)
    for building, (shell, *holes) in enumerate(parts):
        if shell is not None:
            made[building] = shapely.Polygon(shell, [h for h in holes if h is not None])
    return number, np.array(made, dtype=object)


def _circles(buildings: NDArray[Any]) -> NDArray[Any]:
    """Circles of the same area around the same middle, with a corner every 15°, for compact buildings without a courtyard."""
    area, length = shapely.area(buildings), shapely.length(buildings)
    # The staircase of a circle of pixels is 4/π longer than the circle.
    compact = 4 * math.pi * area / (length * math.pi / 4) ** 2
    round_ = (compact > 0.85) & (shapely.get_num_interior_rings(buildings) == 0)
    turn = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    # A polygon of 24 sides of the same area as the circle.
    radius = np.sqrt(area / (12 * math.sin(2 * math.pi / 24)))
    center = shapely.get_coordinates(shapely.centroid(buildings))
    xy = center[:, None, :] + radius[:, None, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    circles: NDArray[Any] = shapely.polygons(xy)
    circles[~round_] = None
    return circles


def _best(
    buildings: NDArray[Any], candidates: list[tuple[int, NDArray[Any]]], direction: Floats, how: SquaringSettings
) -> Squared:
    """For each building the model with the best agreement less the cost of its corners."""
    best = np.full(len(buildings), None, dtype=object)
    shape, score = np.zeros(len(buildings), np.int64), np.full(len(buildings), -np.inf)
    for number, polygons in candidates:
        there = np.flatnonzero(shapely.is_valid(polygons) & ~shapely.is_missing(polygons))
        agreement = iou(polygons[there], buildings[there])
        cost = _PRIOR[number] + _COST * (8 if number == 4 else shapely.get_num_coordinates(polygons[there]))
        better = (agreement >= how.least_iou) & (agreement - cost > score[there])
        taken = there[better]
        best[taken], shape[taken], score[taken] = polygons[taken], number, (agreement - cost)[better]
    return Squared(best, shape, direction)


def iou(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Area of what two polygons share, over the area of both together."""
    shared = shapely.area(shapely.intersection(a, b))
    both: Floats = shared / (shapely.area(a) + shapely.area(b) - shared)
    return both
