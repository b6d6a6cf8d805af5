"""Junctions opened into a ring of road."""

from collections import defaultdict

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString

from geoseg.town.geometry import round_coords
from geoseg.town.lines import Point, Source


def with_roundabouts(rng: np.random.Generator, edges: list[Source], extent_m: tuple[float, float]) -> list[Source]:
    """The edges with the widest junctions inside the extent turned into roundabouts, one for each 2.5 km² and at least one.

    A small extent (a training chip) gets one only now and then.
    """
    area = extent_m[0] * extent_m[1]
    wanted = 1 + int(area / 2.5e6) if area > 120_000 or rng.uniform() < 0.12 else 0
    for node in _candidates(edges, extent_m):
        if wanted == 0:
            break
        opened = _opened(edges, node, float(rng.uniform(12, 19)))
        if opened is not None:
            edges, wanted = opened, wanted - 1
    return edges


def _candidates(edges: list[Source], extent_m: tuple[float, float]) -> list[Point]:
    """Junctions well inside the extent, the widest roads first."""
    total: defaultdict[Point, float] = defaultdict(float)
    degree: defaultdict[Point, int] = defaultdict(int)
    for edge in edges:
        for end in (edge.line.coords[0], edge.line.coords[-1]):
            total[end] += edge.width_m
            degree[end] += 1
    near = min(extent_m) * 0.08
    inside = [p for p in total if near < p[0] < extent_m[0] - near and near < p[1] < extent_m[1] - near]
    return sorted((p for p in inside if degree[p] >= 3), key=lambda p: (-total[p], p))


def _opened(edges: list[Source], node: Point, radius: float) -> list[Source] | None:
    """The edges with a ring around a node, or None where there is no room for one."""
    arms = [e for e in edges if node in (e.line.coords[0], e.line.coords[-1])]
    rest = [e for e in edges if e not in arms]
    lines = [e.line for e in rest]
    clear = min((float(d) for d in shapely.distance(shapely.Point(node), lines)), default=1e9)
    if any(e.line.length < radius + 14 or e.line.is_ring for e in arms) or clear < radius + 14:
        return None
    cut = [_cut(_outward(e.line, node), node, radius) for e in arms]
    ends = sorted((np.arctan2(c[0, 1] - node[1], c[0, 0] - node[0]), i) for i, c in enumerate(cut))
    width = min(max(max(e.width_m for e in arms) * 0.75, 6.0), 9.0)
    ring = []
    for (start, i), (stop, j) in zip(ends, [*ends[1:], (ends[0][0] + 2 * np.pi, ends[0][1])], strict=True):
        ring.append(
            Source(_arc(cut[i][0], cut[j][0], (float(start), float(stop)), (node, radius)), "roundabout", width)
        )
    return rest + [Source(LineString(c), e.kind, e.width_m) for c, e in zip(cut, arms, strict=True)] + ring


def _outward(line: LineString, node: Point) -> NDArray[np.float64]:
    coords = np.array(line.coords)
    return coords if line.coords[0] == node else coords[::-1]


def _cut(coords: NDArray[np.float64], node: Point, radius: float) -> NDArray[np.float64]:
    """The part of an outward line beyond `radius`, its new first point on the circle and on the grid."""
    away = np.hypot(coords[:, 0] - node[0], coords[:, 1] - node[1])
    first = int(np.argmax(away > radius))
    share = (radius - away[first - 1]) / (away[first] - away[first - 1])
    start = coords[first - 1] + share * (coords[first] - coords[first - 1])
    start = np.array(round_coords(shapely.Point(start)).coords[0])
    return np.vstack([start, coords[first:]])


def _arc(
    start: NDArray[np.float64], stop: NDArray[np.float64], span: tuple[float, float], circle: tuple[Point, float]
) -> LineString:
    """Counter-clockwise arc between two points of a circle, a vertex every 2 m."""
    (x, y), radius = circle
    count = max(int((span[1] - span[0]) * radius / 2), 2)
    turn = np.linspace(span[0], span[1], count + 1)[1:-1]
    middle = np.column_stack([x + radius * np.cos(turn), y + radius * np.sin(turn)])
    line: LineString = round_coords(LineString(np.vstack([start, middle, stop])))
    return line
