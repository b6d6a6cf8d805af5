"""Lines that become roads: cut where they meet, joined where only two do, and the cells they enclose."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import shapely
from shapely import LineString, MultiLineString

from geoseg.town.geometry import lines_of
from geoseg.town.model import RoadKind

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Source:
    """A stretch of a line that becomes road."""

    line: Any
    kind: RoadKind | Literal["rim"]
    """`rim` is the border of the region, which is no road."""
    width_m: float


def cells(sources: list[Source]) -> list[Any]:
    """The polygons that lines enclose."""
    lines = shapely.node(MultiLineString([part for s in sources for part in lines_of(LineString(s.line.coords))]))
    cells: list[Any] = list(shapely.get_parts(shapely.polygonize(list(shapely.get_parts(lines)))))
    return cells


def noded(sources: list[Source]) -> list[Source]:
    """The sources cut wherever they meet, pieces joined where only two meet, each with its source's width."""
    lines = MultiLineString([LineString(s.line.coords) for s in sources])
    pieces = _contracted(without_stubs(list(shapely.get_parts(shapely.node(lines))), 1.0), 7.0)
    return named(pieces, sources)


def named(pieces: list[Any], sources: list[Source]) -> list[Source]:
    """Merge pieces through nodes of degree two and give each the kind and width of the source under its middle."""
    merged = shapely.get_parts(shapely.line_merge(MultiLineString(pieces)))
    middles = shapely.line_interpolate_point(merged, 0.5, normalized=True)
    tree = shapely.STRtree([s.line for s in sources])
    nearest = tree.query_nearest(middles, all_matches=False)[1]
    return [Source(m, sources[i].kind, sources[i].width_m) for m, i in zip(merged, nearest, strict=True)]


def _ends(line: Any) -> tuple[Point, Point]:
    coords = line.coords
    return coords[0], coords[-1]


def without_stubs(pieces: list[Any], shortest_m: float) -> list[Any]:
    """Drop pieces that end nowhere and are shorter than `shortest_m`, until there are none."""
    while True:
        degree = Counter(end for piece in pieces for end in _ends(piece))
        kept = [p for p in pieces if p.length >= shortest_m or min(degree[e] for e in _ends(p)) > 1]
        if len(kept) == len(pieces):
            return kept
        pieces = kept


def _contracted(pieces: list[Any], shortest_m: float) -> list[Any]:
    """Pull junctions closer than `shortest_m` into one: two streets that all but meet across a road do meet."""
    moved: dict[Point, Point] = {}
    for piece in pieces:
        start, end = (_followed(moved, e) for e in _ends(piece))
        if piece.length < shortest_m and start != end:
            moved[end] = start
    kept = []
    for piece in pieces:
        start, end = (_followed(moved, e) for e in _ends(piece))
        if piece.length >= shortest_m:
            kept.append(LineString([start, *piece.coords[1:-1], end]))
    return kept


def _followed(moved: dict[Point, Point], point: Point) -> Point:
    while point in moved:
        point = moved[point]
    return point
