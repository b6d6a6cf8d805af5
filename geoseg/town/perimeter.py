"""Closed blocks: houses wall to wall around a court, as in the centres of old towns."""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon
from shapely.geometry.polygon import orient

from geoseg.town.geometry import round_coords
from geoseg.town.lots import Plot
from geoseg.town.shapes import Form

_ROW = -10_000
"""Row number of a closed block: its houses may touch one another."""


def perimeter_plots(rng: np.random.Generator, inner: Any) -> list[Plot]:
    """Houses around the rim of a block, sharing walls, or none where the block is too small or not convex."""
    outline = shapely.buffer(inner, -rng.uniform(0.2, 1.2)).convex_hull.simplify(2.5)
    depth = rng.uniform(11, 15)
    if outline.geom_type != "Polygon" or outline.area > inner.area or shapely.buffer(outline, -depth - 6).is_empty:
        return []
    outer = shapely.get_coordinates(orient(outline, 1.0).exterior)[:-1]
    rear = _offset(outer, depth)
    if rear is None:
        return []
    plots: list[Plot] = []
    for k in range(len(outer)):
        n = (k + 1) % len(outer)
        plots += _side(rng, (outer[k], outer[n]), (rear[k], rear[n]), depth)
    return plots


def _offset(ring: NDArray[np.float64], depth: float) -> NDArray[np.float64] | None:
    """The ring moved inward, corner by corner; None where a corner is sharp or a side vanishes."""
    step = np.roll(ring, -1, axis=0) - ring
    along = step / np.hypot(step[:, 0], step[:, 1])[:, None]
    normal = np.column_stack([-along[:, 1], along[:, 0]])
    before = np.roll(normal, 1, axis=0)
    cos = 1 + (normal * before).sum(axis=1)
    if cos.min() < 0.45:
        return None
    moved: NDArray[np.float64] = ring + depth * (normal + before) / cos[:, None]
    kept = ((np.roll(moved, -1, axis=0) - moved) * along).sum(axis=1)
    return moved if kept.min() > 1.0 else None


def _side(
    rng: np.random.Generator,
    front: tuple[NDArray[np.float64], NDArray[np.float64]],
    rear: tuple[NDArray[np.float64], NDArray[np.float64]],
    depth: float,
) -> list[Plot]:
    """The houses along one side; party walls stand square to the street, the corner walls are shared."""
    span = front[1] - front[0]
    length = float(np.hypot(*span))
    along = span / length
    normal = np.array([-along[1], along[0]])
    low = max(float((rear[0] - front[0]) @ along), 0.0) + 3.0
    high = min(float((rear[1] - front[0]) @ along), length) - 3.0
    walls = np.arange(low, high - 5, rng.uniform(9, 18))
    walls = np.append(walls[walls < high], high) if high - low > 6 else np.empty(0)
    fronts = [front[0], *(front[0] + along * w for w in walls), front[1]]
    rears = [rear[0], *(front[0] + along * w + normal * depth for w in walls), rear[1]]
    angle = float(np.arctan2(along[1], along[0]))
    plots = []
    for i in range(len(fronts) - 1):
        polygon = round_coords(Polygon([fronts[i], fronts[i + 1], rears[i + 1], rears[i]]))
        at = (np.array(fronts[i]) + fronts[i + 1]) / 2
        form = Form("block", float(np.hypot(*(fronts[i + 1] - fronts[i]))), depth)
        plots.append(Plot(polygon=polygon, shape="block", at=at, angle=angle, form=form, setback_m=0.5, row=_ROW))
    return plots
