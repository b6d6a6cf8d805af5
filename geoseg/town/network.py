"""The road network: straight arterials, streets and culs-de-sac, bent together by one smooth warp.

Lines are laid straight and noded once; then every vertex is moved by the same smooth displacement, so what met still
meets exactly and every street becomes a curve. Coordinates are local metres: x right, y up, from the lower left corner.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString

from geoseg.town.geometry import lines_of, main_axis, round_coords, turned
from geoseg.town.lines import Source, cells, named, noded, without_stubs
from geoseg.town.roundabout import with_roundabouts

District = Literal["suburb", "terrace", "urban", "slabs", "industrial", "rural"]

DISTRICT_SHARES: dict[District, float] = {
    "suburb": 0.41,
    "terrace": 0.19,
    "urban": 0.17,
    "slabs": 0.10,
    "industrial": 0.09,
    "rural": 0.04,
}
"""Share of the superblocks that each kind of district takes."""

_BLOCK_M: dict[District, tuple[float, float, float, float]] = {
    "suburb": (72, 100, 140, 230),
    "terrace": (62, 80, 120, 200),
    "urban": (80, 115, 95, 150),
    "slabs": (110, 150, 140, 210),
    "industrial": (120, 180, 170, 280),
    "rural": (260, 400, 300, 500),
}
"""Least and greatest depth, then length, of a block of each district."""

_ORGANIC_SHARE: dict[District, float] = {
    "suburb": 0.5, "terrace": 0.25, "urban": 0.3, "slabs": 0.4, "industrial": 0.3, "rural": 0.7,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Network:
    """The streets and what they enclose."""

    edges: tuple[Source, ...]
    """Bent lines between junctions; the rim is left out."""
    blocks: tuple[Any, ...]
    """Polygons between the centrelines."""
    districts: tuple[District, ...]
    """The district of each block."""


def plan_network(rng: np.random.Generator, extent_m: tuple[float, float]) -> Network:
    """Lay the network over an extent (width, height) with enough around it that no border shows."""
    warp = _Warp.draw(rng, extent_m)
    region = warp.region(extent_m)
    arterials = _arterials(rng, region)
    rim = Source(region.exterior, "rim", 0.0)
    supers = cells([rim, *arterials])
    kinds = _share_out(rng, len(supers))
    sources = [rim, *arterials]
    for polygon, kind in zip(supers, kinds, strict=True):
        sources += _district_streets(rng, polygon, kind)
    edges = _thinned(rng, noded(sources))
    edges = _with_culs_de_sac(rng, edges, supers, kinds)
    bent = with_roundabouts(rng, [replace(e, line=warp.bend(e.line)) for e in edges], extent_m)
    blocks = cells(bent)
    where = [warp.bend(p) for p in supers]
    roads = tuple(e for e in bent if e.kind != "rim")
    return Network(roads, tuple(blocks), _kinds_of(blocks, where, kinds))


@dataclass(frozen=True, slots=True)
class _Warp:
    """A sum of plane waves, gentle enough (slopes sum to less than 0.7) that nothing folds."""

    waves: NDArray[np.float64]
    """(N, 5): wave numbers x, y; phase; displacement x, y."""
    center: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator, extent_m: tuple[float, float]) -> "_Warp":
        strength = rng.choice([0.25, 0.7, 1.0])
        rows = []
        for length in (240.0, 420.0, 700.0, 1300.0):
            angle, push = rng.uniform(0, 2 * np.pi, 2)
            number = 2 * np.pi / (length * rng.uniform(0.85, 1.2))
            reach = 0.16 / number * strength
            rows.append(
                (
                    number * np.cos(angle),
                    number * np.sin(angle),
                    rng.uniform(0, 6.28),
                    reach * np.cos(push),
                    reach * np.sin(push),
                )
            )
        return cls(np.array(rows), (extent_m[0] / 2, extent_m[1] / 2))

    def _shift(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        phase = xy @ self.waves[:, :2].T + self.waves[:, 2]
        shift: NDArray[np.float64] = np.sin(phase) @ self.waves[:, 3:]
        return shift

    def bend(self, geometry: Any) -> Any:
        """The geometry with vertices every 8 m, moved; the middle of the scene stays in place."""
        still = self._shift(np.array([self.center]))
        return round_coords(
            shapely.transform(shapely.segmentize(geometry, 8.0), lambda xy: xy + self._shift(xy) - still)
        )

    def region(self, extent_m: tuple[float, float]) -> Any:
        """The smallest margin of 40, 80 … metres whose bent border lies outside the extent."""
        scene = shapely.box(0, 0, *extent_m).buffer(25)
        for margin in range(40, 1000, 40):
            region = shapely.box(-margin, -margin, extent_m[0] + margin, extent_m[1] + margin)
            if self.bend(region).contains(scene):
                break
        return region


def _arterials(rng: np.random.Generator, region: Any) -> list[Source]:
    """Main roads across the whole region in two families, about 650 m apart."""
    x0, y0, x1, y1 = region.bounds
    reach = float(np.hypot(x1 - x0, y1 - y0))
    heading = rng.uniform(0, np.pi / 2)
    found: list[Source] = []
    for family in (heading, heading + np.pi / 2):
        offset = -reach / 2 + rng.uniform(0, 650)
        while offset < reach / 2:
            line = _long_line(((x0 + x1) / 2, (y0 + y1) / 2), family + rng.normal(0, 0.05), offset, reach)
            width = float(rng.choice([9.0, 10.0, 12.0, 14.0]))
            found += [Source(part, "arterial", width) for part in lines_of(line.intersection(region.buffer(0.3)))]
            offset += rng.uniform(480, 820)
    return found


def _long_line(center: tuple[float, float], heading: float, offset: float, reach: float) -> Any:
    """A line of length 2 `reach`, `offset` metres to the left of `center`."""
    along = np.array([np.cos(heading), np.sin(heading)])
    middle = np.array(center) + offset * np.array([-along[1], along[0]])
    return LineString([middle - along * reach, middle + along * reach])


def _share_out(rng: np.random.Generator, count: int) -> list[District]:
    """A district for each superblock, by systematic sampling, so that the shares hold even for a few."""
    names = list(DISTRICT_SHARES)
    bounds = np.cumsum(list(DISTRICT_SHARES.values()))
    ticks = (np.arange(count) + rng.uniform()) / max(count, 1)
    picks = np.minimum(np.searchsorted(bounds, rng.permutation(ticks)), len(names) - 1)
    return [names[i] for i in picks]


def _district_streets(rng: np.random.Generator, polygon: Any, kind: District) -> list[Source]:
    """Streets that cut a superblock into blocks: a grid, or splits of splits."""
    depth0, depth1, length0, length1 = _BLOCK_M[kind]
    depth, length = rng.uniform(depth0, depth1), rng.uniform(length0, length1)
    if rng.uniform() < _ORGANIC_SHARE[kind]:
        return _splits(rng, polygon, depth * length * 1.25)
    return _grid(rng, polygon, depth, length)


def _width(rng: np.random.Generator) -> float:
    return float(rng.choice([5.0, 6.0, 7.0, 8.0], p=[0.2, 0.35, 0.3, 0.15]))


def _splits(rng: np.random.Generator, polygon: Any, area_m2: float) -> list[Source]:
    """Cut across the longer side again and again until the pieces are smaller than `area_m2`."""
    found: list[Source] = []
    todo = [polygon]
    while todo:
        piece = todo.pop()
        if piece.area < area_m2 * rng.uniform(0.9, 1.6):
            continue
        heading, reach, *_ = main_axis(piece)
        center = shapely.line_interpolate_point(
            _axis_line(piece, heading, reach), rng.uniform(0.4, 0.6), normalized=True
        )
        cut = _long_line((center.x, center.y), heading + np.pi / 2 + rng.normal(0, 0.12), 0.0, reach + 50)
        parts = lines_of(cut.intersection(piece.buffer(0.3)))
        width = _width(rng)
        found += [Source(part, "street", width) for part in parts]
        halves = shapely.get_parts(shapely.ops.split(piece, cut))
        todo += [h for h in halves if h.area < piece.area * 0.95]
    return found


def _axis_line(polygon: Any, heading: float, reach: float) -> Any:
    return _long_line((polygon.centroid.x, polygon.centroid.y), heading, 0.0, reach / 2)


def _grid(rng: np.random.Generator, polygon: Any, depth: float, length: float) -> list[Source]:
    """Parallel streets `depth` apart along the longest side, crossed every `length` metres."""
    ring = np.array(polygon.exterior.coords)
    sides = np.diff(ring, axis=0)
    side = sides[int(np.argmax(np.hypot(sides[:, 0], sides[:, 1])))]
    heading = float(np.arctan2(side[1], side[0])) + rng.normal(0, 0.02)
    found: list[Source] = []
    for turn, step in ((0.0, depth), (np.pi / 2, length)):
        found += _parallels(rng, polygon, heading + turn, step)
    return found


def _parallels(rng: np.random.Generator, polygon: Any, heading: float, step: float) -> list[Source]:
    """Streets `step` metres apart through a polygon, less those that would run along its border."""
    center = (polygon.centroid.x, polygon.centroid.y)
    x0, y0, x1, y1 = turned(polygon, -heading, center).bounds
    rim = polygon.exterior.buffer(24)
    reach = float(np.hypot(x1 - x0, y1 - y0))
    found: list[Source] = []
    offset = y0 - center[1] + step * rng.uniform(0.35, 1.1)
    while offset < y1 - center[1] - step * 0.3:
        line, width = _long_line(center, heading, offset, reach), _width(rng)
        parts = lines_of(line.intersection(polygon.buffer(0.3)))
        found += [Source(p, "street", width) for p in parts if p.intersection(rim).length - 60 < 0.35 * p.length]
        offset += step * rng.uniform(0.9, 1.12)
    return found


def _thinned(rng: np.random.Generator, edges: list[Source]) -> list[Source]:
    """Leave out one street in nine, so that T junctions and odd blocks appear, and prune what then hangs loose."""
    draws = rng.uniform(size=len(edges))
    kept = [e for e, draw in zip(edges, draws, strict=True) if e.kind != "street" or draw > 0.11]
    pieces = without_stubs([e.line for e in kept], 45.0)
    return named(pieces, edges)


def _with_culs_de_sac(
    rng: np.random.Generator, edges: list[Source], supers: list[Any], kinds: list[District]
) -> list[Source]:
    """Add dead-end lanes into the large blocks of suburbs, terraces and slabs."""
    blocks = cells(edges)
    lanes: list[Source] = []
    for block, kind in zip(blocks, _kinds_of(blocks, supers, kinds), strict=True):
        if kind in ("suburb", "terrace", "slabs") and rng.uniform() < 0.6:
            lanes += _cul_de_sac(rng, block)
    return noded([*edges, *lanes]) if lanes else edges


def _cul_de_sac(rng: np.random.Generator, block: Any) -> list[Source]:
    """A lane from the middle of a short side to the middle of the block, if there is room for houses on both sides."""
    heading, reach, *_ = main_axis(block)
    if block.area < 9_000 or block.area / reach < 82:
        return []
    center = np.array([block.centroid.x, block.centroid.y])
    along = np.array([np.cos(heading), np.sin(heading)]) * rng.choice([-1.0, 1.0])
    tip = center + along * reach * rng.uniform(0.0, 0.12)
    ray = LineString([tip, center - along * reach]).intersection(block.buffer(0.3))
    parts = [p for p in lines_of(ray) if p.distance(shapely.Point(tip)) < 1e-6 and p.length > 45]
    return [Source(p, "lane", 5.0 if rng.uniform() < 0.6 else 6.0) for p in parts]


def _kinds_of(blocks: list[Any], where: list[Any], kinds: list[District]) -> tuple[District, ...]:
    """The district whose superblock holds each block's inner point; the first one where none does."""
    points = shapely.point_on_surface(np.array(blocks, dtype=object))
    found = np.zeros(len(blocks), dtype=int)
    index = shapely.STRtree(where).query(points, predicate="within")
    found[index[0]] = index[1]
    return tuple(kinds[i] for i in found)
