"""Buildings that share walls: squared as one, then parted along straight party walls, so that no gap or overlap appears."""

import math
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.arrays import Floats
from geoseg.vector.buildings import SquaringSettings, iou

_ALIGNED = math.radians(15)
"""Party walls this near to the main direction, or a right angle to it, follow it."""

_BEYOND = 8
"""Tolerances by which a party wall is prolonged: past the step between a tall and a short house, which lies along it."""


def parted(members: NDArray[Any], whole: Any, direction: float, how: SquaringSettings) -> NDArray[Any] | None:
    """Part the squared outline of touching buildings among them.

    `members` are their raw polygons, `direction` the main one on the ground in radians. Returns a polygon for each, sharing the party
    walls' corners; None where a part is no single polygon or agrees too little with its pixels.
    """
    members, whole = (shapely.transform(shape, lambda xy: xy * how.pixel) for shape in (members, whole))
    lines = [
        _straight(shapely.get_coordinates(line), direction, how.tolerance_px)
        for one, other in _neighbours(members)
        for line in shapely.get_parts(shapely.line_merge(_shared(members[one], members[other])))
    ]
    noded = shapely.union_all([shapely.boundary(whole), *shapely.linestrings(lines)] if lines else [])
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    faces = faces[shapely.contains(whole, shapely.point_on_surface(faces))]
    if not len(faces):
        return None
    owner = np.array([shapely.area(shapely.intersection(face, members)).argmax() for face in faces])
    parts = np.array([shapely.union_all(faces[owner == k]) for k in range(len(members))], dtype=object)
    single = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON).all() and not shapely.is_empty(parts).any()
    good = single and (iou(parts, members) >= how.least_iou).all()
    return shapely.transform(_plain(parts), lambda xy: xy / how.pixel) if good else None


def _neighbours(members: NDArray[Any]) -> list[tuple[int, int]]:
    """Pairs of polygons that touch, in order."""
    first, second = shapely.STRtree(members).query(members, predicate="intersects")
    return sorted((i, j) for i, j in zip(first.tolist(), second.tolist(), strict=True) if i < j)


def _plain(parts: NDArray[Any]) -> NDArray[Any]:
    """Parts without the points on straight walls that prolonged party walls left; those that two parts share stay."""
    points, times = np.unique(
        np.concatenate([np.unique(shapely.get_coordinates(p), axis=0) for p in parts]), axis=0, return_counts=True
    )
    nodes = shapely.multipoints(points[times > 1])
    made = []
    for part in parts:
        rings = [_without_straight(shapely.get_coordinates(ring), nodes) for ring in shapely.get_rings(part)]
        made.append(shapely.Polygon(rings[0], rings[1:]))
    return np.array(made, dtype=object)


def _without_straight(ring: Floats, nodes: Any) -> Floats:
    xy = ring[:-1]
    before, after = xy - np.roll(xy, 1, axis=0), np.roll(xy, -1, axis=0) - xy
    bend = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
    stays = (bend > 1e-6 * np.hypot(*before.T) * np.hypot(*after.T)) | shapely.intersects_xy(nodes, xy[:, 0], xy[:, 1])
    kept: Floats = xy[stays]
    return kept


def _shared(one: Any, other: Any) -> Any:
    """Border that two raw polygons share, as lines."""
    both = shapely.get_parts(shapely.intersection(shapely.boundary(one), shapely.boundary(other)))
    return shapely.multilinestrings(both[shapely.get_type_id(both) == shapely.GeometryType.LINESTRING])


def _straight(xy: Floats, direction: float, tolerance_px: float) -> Floats:
    """A staircase as a straight wall, or as several where it bends, longer at both ends so that it crosses the outline."""
    corners = shapely.get_coordinates(shapely.simplify(shapely.linestrings(xy), tolerance_px))
    if len(corners) == 2:
        corners = _fitted(xy, direction)
    return np.concatenate(
        [
            [_beyond(corners[1], corners[0], tolerance_px)],
            corners[1:-1],
            [_beyond(corners[-2], corners[-1], tolerance_px)],
        ]
    )


def _fitted(xy: Floats, direction: float) -> Floats:
    """Ends of the straight line through the middle of a staircase's edges, along the main direction if it is near it."""
    middles, length = (xy[1:] + xy[:-1]) / 2, np.hypot(*np.diff(xy, axis=0).T)
    center = np.average(middles, axis=0, weights=length)
    (xx, mixed), (_, yy) = np.cov((middles - center).T, aweights=length, bias=True) if len(middles) > 1 else np.eye(2)
    ahead = xy[-1] - xy[0]
    angle = 0.5 * math.atan2(2 * mixed, xx - yy) if len(middles) > 2 else math.atan2(ahead[1], ahead[0])
    off = math.remainder(angle - direction, math.pi / 2)
    angle -= off if abs(off) < _ALIGNED else 0.0
    along = np.array([math.cos(angle), math.sin(angle)])
    return center + np.outer([(xy[0] - center) @ along, (xy[-1] - center) @ along], along)


def _beyond(before: Floats, end: Floats, tolerance_px: float) -> Floats:
    """A point beyond the end of a line."""
    step = end - before
    further: Floats = end + step * (_BEYOND * tolerance_px / max(float(np.hypot(*step)), 1e-9))
    return further
