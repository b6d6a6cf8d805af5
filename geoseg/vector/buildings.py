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

from geoseg.vector.arrays import Bools, Floats, Ints, offsets_of, ranges
from geoseg.vector.crowns import Crown, Uncovered, uncovered
from geoseg.vector.overlap import shared_area
from geoseg.vector.simplify import thin
from geoseg.vector.walls import Directions, Wall, fitted, main_direction, walls_of

SHAPES = ("outline", "right angles", "diagonal walls", "free angles", "circle")
"""What an outline can be."""

_MODELS: tuple[tuple[int, Directions], ...] = ((1, "right"), (2, "diagonal"), (3, "free"))
_TRIM_PX = 2.0
_COST = 0.002
"""Agreement (IoU) that a further corner has to bring."""

_COST_PX = 10.0
"""Pixels that it has to bring too: about what a bump of noise does."""

_SHED = 10.0
"""Tolerances on a side below which a building's walls are too short to tell their direction."""

_TURNS = (-math.radians(4), math.radians(4), -math.radians(8), math.radians(8))
"""By which that of sheds is varied."""

_LEAST_RADIUS = 3.0
"""Tolerances below which blur makes a circle of any shed."""

_CIRCLE_CORNERS = 6
"""Corners that a circle is charged for: one more than a rectangle, of which noise makes none."""

_PRIOR = (0.0, 0.0, 0.02, 0.04, 0.02)
"""Agreement that a shape has to bring more than right angles do, by number."""

_PRIOR_PX = (0.0, 0.0, 4.0, 10.0, 0.0)
"""Pixels that it has to bring too: noise turns the walls of sheds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SquaringSettings:
    """How buildings are squared; lengths in pixels."""

    tolerance_px: float
    """The raw outline may leave a wall by this much before it has a corner there."""
    shortest_px: float
    """Walls shorter than this are dropped."""
    neck_px: float = 0.0
    """Parts of a building that only less than this links are buildings by themselves; up to 1: none are."""
    crown_px: float = 15.0
    """Largest radius of a crown whose bite in the border is no part of the building's shape; 0: none."""
    pixel: tuple[float, float] = (1.0, 1.0)
    """Width and height of a pixel on the ground, in pixels of a square of the same area: walls are square on the ground."""
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
    """(B,) main direction on the ground in radians, from the columns towards the rows, 0 ≤ θ < π/2."""

    def picked(self, which: NDArray[Any]) -> "Squared":
        """Some of them."""
        return Squared(self.polygons[which], self.shape[which], self.direction[which])

    def followed_by(self, other: "Squared") -> "Squared":
        """These and then others."""
        both = zip(
            (self.polygons, self.shape, self.direction), (other.polygons, other.shape, other.direction), strict=True
        )
        return Squared(*(np.concatenate(column) for column in both))


def squared(buildings: NDArray[Any], how: SquaringSettings) -> Squared:
    """Square buildings given as raw polygons on the pixel lattice, each by itself."""
    if not len(buildings):
        return Squared(buildings, np.zeros(0, np.int64), np.zeros(0))
    rings = _rings(buildings, how.pixel)
    seen, hidden = _uncovered(rings, how)
    walls = _walls(seen, how)
    shells = np.flatnonzero(np.append(True, np.diff(rings.building) != 0))
    direction = np.array([main_direction(walls[shell]) for shell in shells])
    every = np.ones(len(buildings), bool)
    candidates = [(k, direction, _models(rings, walls, direction, way, every, how)) for k, way in _MODELS]
    candidates.append((4, direction, _circles(buildings, how)))
    shed = shapely.area(buildings) < (_SHED * how.tolerance_px) ** 2
    for turn in _TURNS:
        turned = (direction + turn) % (math.pi / 2)
        candidates.append((1, turned, _models(rings, walls, turned, "right", shed, how)))
    return _best(buildings, candidates, hidden, how)


def hidden_by_crowns(buildings: NDArray[Any], how: SquaringSettings) -> NDArray[Any]:
    """What crowns hide of buildings given as raw polygons on the pixel lattice; None where there is none."""
    return _uncovered(_rings(buildings, how.pixel), how)[1]


@dataclass(frozen=True, slots=True, eq=False)
class _Rings:
    """Rings of buildings as samples, one in the middle of each pixel edge."""

    offsets: Ints
    samples: Floats
    building: Ints


def _rings(buildings: NDArray[Any], pixel: tuple[float, float]) -> _Rings:
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
    return _Rings(offsets, samples[order] * pixel, building)


def _uncovered(rings: _Rings, how: SquaringSettings) -> tuple[Uncovered, NDArray[Any]]:
    """The rings without the samples along crowns, and for each building what crowns hide of it, or None."""
    corners = _corners(rings.offsets, rings.samples, how.tolerance_px)
    seen = uncovered(rings.samples, rings.offsets, corners, how.tolerance_px, how.crown_px)
    discs: list[list[Crown]] = [[] for _ in range(int(rings.building[-1]) + 1)]
    for crowns, building in zip(seen.crowns, rings.building.tolist(), strict=True):
        discs[building] += crowns
    return seen, _in_pixels(np.array([_discs(crowns) for crowns in discs], dtype=object), how.pixel)


def _walls(seen: Uncovered, how: SquaringSettings) -> list[list[Wall]]:
    """Walls of each ring, none for a ring that is a crown's."""
    samples = np.concatenate(seen.samples)
    offsets = offsets_of(np.array([len(ring) for ring in seen.samples]))
    return walls_of(samples, offsets, _corners(offsets, samples, how.tolerance_px), _TRIM_PX, seen.gaps)


def _discs(crowns: list[Crown]) -> Any:
    """What crowns hide."""
    if not crowns:
        return None
    points = shapely.points([(c.x, c.y) for c in crowns])
    return shapely.union_all(shapely.buffer(points, [c.radius + _TRIM_PX for c in crowns], quad_segs=4))


def _corners(offsets: Ints, samples: Floats, tolerance_px: float) -> list[Ints]:
    """Samples at the corners of each ring, by Douglas–Peucker; none of an empty one."""
    there = np.diff(offsets) > 0
    closed = offsets + np.append(0, np.cumsum(there))
    xy = np.insert(samples, offsets[1:][there], samples[offsets[:-1][there]], axis=0)
    keep = np.zeros(len(xy), bool)
    first, last = closed[:-1][there], closed[1:][there] - 1
    keep[first] = keep[last] = True
    thin(xy, keep, np.stack([first, last], axis=1), tolerance_px)
    return [np.flatnonzero(keep[a : b - 1]) if b > a else np.zeros(0, np.int64) for a, b in pairwise(closed)]


def _models(
    rings: _Rings,
    walls: list[list[Wall]],
    direction: Floats,
    directions: Directions,
    wanted: Bools,
    how: SquaringSettings,
) -> NDArray[Any]:
    """One kind of outline for the wanted buildings; None where there is none."""
    made: list[Any] = [None] * len(direction)
    parts: list[list[Any]] = [[] for _ in made]
    thetas = direction.tolist()
    for ring, building in enumerate(rings.building.tolist()):
        if wanted[building]:
            parts[building].append(fitted(walls[ring], thetas[building], directions, how.shortest_px))
    for building, outlines in enumerate(parts):
        if outlines and outlines[0]:
            made[building] = shapely.Polygon(outlines[0], [hole for hole in outlines[1:] if hole])
    return _in_pixels(np.array(made, dtype=object), how.pixel)


def _in_pixels(polygons: NDArray[Any], pixel: tuple[float, float]) -> NDArray[Any]:
    """Polygons measured on the ground, in pixels."""
    scaled: NDArray[Any] = polygons if pixel == (1.0, 1.0) else shapely.transform(polygons, lambda xy: xy / pixel)
    return scaled


def _circles(buildings: NDArray[Any], how: SquaringSettings) -> NDArray[Any]:
    """Circles of the same area around the same middle, with a corner every 15°, for compact buildings without a courtyard."""
    buildings = shapely.transform(buildings, lambda xy: xy * how.pixel)
    area, length = shapely.area(buildings), shapely.length(buildings)
    # The staircase of a circle of pixels is 4/π longer than the circle.
    compact = 4 * math.pi * area / (length * math.pi / 4) ** 2
    round_ = (compact > 0.85) & (area > math.pi * (_LEAST_RADIUS * how.tolerance_px) ** 2)
    round_ &= shapely.get_num_interior_rings(buildings) == 0
    turn = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    # A polygon of 24 sides of the same area as the circle.
    radius = np.sqrt(area / (12 * math.sin(2 * math.pi / 24)))
    center = shapely.get_coordinates(shapely.centroid(buildings))
    xy = center[:, None, :] + radius[:, None, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    circles: NDArray[Any] = shapely.polygons(xy)
    circles[~round_] = None
    return _in_pixels(circles, how.pixel)


def _best(
    buildings: NDArray[Any],
    candidates: list[tuple[int, Floats, NDArray[Any]]],
    hidden: NDArray[Any],
    how: SquaringSettings,
) -> Squared:
    """For each building the model, given by shape and main direction, with the best agreement, where it is not hidden, less the cost of its corners."""
    seen = _less(buildings, hidden)
    best = np.full(len(buildings), None, dtype=object)
    shape, score = np.zeros(len(buildings), np.int64), np.full(len(buildings), -np.inf)
    direction = candidates[0][1].copy()
    for number, way, polygons in candidates:
        there = np.flatnonzero(shapely.is_valid(polygons) & ~shapely.equals_exact(polygons, best))
        agreement = _agreement(polygons[there], seen[there], hidden[there])
        corners = _CIRCLE_CORNERS if number == 4 else shapely.get_num_coordinates(polygons[there])
        area = shapely.area(buildings[there])
        cost = _PRIOR[number] + _PRIOR_PX[number] / area + np.maximum(_COST, _COST_PX / area) * corners
        better = (agreement >= how.least_iou) & (agreement - cost > score[there])
        taken = there[better]
        best[taken], shape[taken], score[taken] = polygons[taken], number, (agreement - cost)[better]
        direction[taken] = way[taken]
    return Squared(best, shape, direction)


def _agreement(polygons: NDArray[Any], seen: NDArray[Any], hidden: NDArray[Any]) -> Floats:
    """IoU of models with what is seen of the pixels."""
    bare = shapely.is_missing(hidden)
    shared = shared_area(seen[bare], polygons[bare])
    agreement = np.empty(len(polygons))
    agreement[bare] = shared / (shapely.area(seen[bare]) + shapely.area(polygons[bare]) - shared)
    agreement[~bare] = iou(_less(polygons[~bare], hidden[~bare]), seen[~bare])
    return agreement


def _less(polygons: NDArray[Any], hidden: NDArray[Any]) -> NDArray[Any]:
    """Polygons without what is hidden of them."""
    less, some = polygons.copy(), np.flatnonzero(~shapely.is_missing(hidden))
    less[some] = shapely.difference(polygons[some], hidden[some])
    return less


def iou(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Area of what two polygons share, over the area of both together."""
    shared = shapely.area(shapely.intersection(a, b))
    both: Floats = shared / (shapely.area(a) + shapely.area(b) - shared)
    return both
