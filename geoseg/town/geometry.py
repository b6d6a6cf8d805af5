"""Small geometry that the planning shares."""

from typing import Any

import numpy as np
import shapely
import shapely.ops
from numpy.typing import NDArray
from shapely import LineString

GRID = 1024.0
"""Coordinates are multiples of 1/1024 m: shared points are equal, whatever the last bit of a sine was."""


def round_coords(geometry: Any) -> Any:
    """The geometry (or array of them) on the grid of 1/1024 m."""
    return shapely.transform(geometry, lambda xy: np.round(xy * GRID) / GRID)


def lines_of(geometry: Any) -> list[Any]:
    """The non-empty LineStrings in a geometry."""
    return [g for g in shapely.get_parts(geometry) if isinstance(g, LineString) and not g.is_empty]


def polygons_of(geometry: Any, least_m2: float = 0.0) -> list[Any]:
    """The polygons in a geometry, less those smaller than `least_m2`."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return [g for g in parts if shapely.get_dimensions(g) == 2 and g.area > least_m2]


def turned(geometry: Any, angle: float, center: tuple[float, float]) -> Any:
    """The geometry turned counter-clockwise by `angle` radians about `center`."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, sin], [-sin, cos]])
    return shapely.transform(geometry, lambda xy: (xy - center) @ matrix + center)


def placed(local: NDArray[np.float64], at: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Points of a local frame (u along `angle`, v to its left) in the plane of the town; (N, 2)."""
    cos, sin = np.cos(angle), np.sin(angle)
    points: NDArray[np.float64] = local @ np.array([[cos, sin], [-sin, cos]]) + at
    return points


def box_at(at: NDArray[np.float64], angle: float, half_u: float, half_v: float) -> NDArray[np.float64]:
    """Corners of a turned box in map coordinates; (4, 2)."""
    half = np.array([(-half_u, -half_v), (half_u, -half_v), (half_u, half_v), (-half_u, half_v)])
    return placed(half, at, angle)


def main_axis(geometry: Any) -> tuple[float, float, float, NDArray[np.float64]]:
    """Heading of the longer side of the least rectangle around a geometry, its length and width, and the middle."""
    corners = np.array(geometry.minimum_rotated_rectangle.exterior.coords)
    sides = np.diff(corners, axis=0)[:2]
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    long = int(np.argmax(lengths))
    heading = float(np.arctan2(sides[long, 1], sides[long, 0]))
    return heading, float(lengths[long]), float(lengths[1 - long]), corners[:4].mean(axis=0)


def scattered(rng: np.random.Generator, area: Any, per_m2: float) -> NDArray[np.float64]:
    """Points in an area on a shaken lattice of the given density; (N, 2)."""
    if area.is_empty or per_m2 <= 0:
        return np.empty((0, 2))
    x0, y0, x1, y1 = area.bounds
    step = 1.0 / np.sqrt(per_m2)
    x, y = np.meshgrid(np.arange(x0 - step, x1 + step, step), np.arange(y0 - step, y1 + step, step))
    points = np.column_stack([x.ravel(), y.ravel()]) + rng.uniform(0, step, (x.size, 2))
    shapely.prepare(area)
    inside: NDArray[np.float64] = points[shapely.contains_xy(area, points[:, 0], points[:, 1])]
    return inside


def clumped(rng: np.random.Generator, area: Any, per_m2: float) -> NDArray[np.float64]:
    """Points in an area, half of them alone and half in groups of about four; (N, 2)."""
    seeds = scattered(rng, area, per_m2 * 0.62)
    groups = seeds[rng.uniform(size=len(seeds)) < 0.2]
    near = np.repeat(groups, 3, axis=0) + rng.normal(0, 4.0, (3 * len(groups), 2))
    kept = near[shapely.contains_xy(area, near[:, 0], near[:, 1])] if len(near) else near
    return np.concatenate([seeds, kept])


STALL_M = 2.6
"""Width of a parking stall; rows are 16.6 m apart, two stalls of 5 m and an aisle."""


def stalls(polygon: Any) -> NDArray[np.float64]:
    """Middles and headings of the parking stalls that fit in a car park; (N, 3): x, y, radians."""
    angle, length, width, center = main_axis(polygon)
    u = np.arange(-length / 2 + 1.5, length / 2, STALL_M)
    v = np.concatenate([[row + 2.6, row + 14.0] for row in np.arange(-width / 2, width / 2, 16.6)])
    grid_u, grid_v = np.meshgrid(u, v)
    points = placed(np.column_stack([grid_u.ravel(), grid_v.ravel()]), center, angle)
    room = shapely.buffer(polygon, -2.4)
    shapely.prepare(room)
    inside = points[shapely.contains_xy(room, points[:, 0], points[:, 1])]
    return np.column_stack([inside, np.full(len(inside), angle + np.pi / 2)])
