"""Buildings and yards of one block, set along its streets."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon
from shapely.geometry.polygon import orient

from geoseg.town.districts import Habit, draw_form
from geoseg.town.geometry import placed, polygons_of, round_coords
from geoseg.town.shapes import Form, footprint

SPACING_M = 0.95
"""Least distance between buildings that share no wall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A place for a building: its footprint and the frame of the street before it."""

    polygon: Any
    shape: str
    at: NDArray[np.float64]
    """Middle of the front wall."""
    angle: float
    """Direction of the street in radians."""
    form: Form
    setback_m: float
    row: int
    """Plots of one row share walls and may touch."""


@dataclass(slots=True)
class Frontage:
    """A ring that front walls follow, addressed by the distance along it."""

    coords: NDArray[np.float64]
    reach: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        steps = np.diff(self.coords, axis=0)
        self.reach = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])

    def at(self, distance: float) -> NDArray[np.float64]:
        """The point at a distance along the ring."""
        x = np.interp(distance, self.reach, self.coords[:, 0])
        return np.array([x, np.interp(distance, self.reach, self.coords[:, 1])])

    @property
    def length(self) -> float:
        """Length of the ring in metres."""
        return float(self.reach[-1])


def plan_plots(rng: np.random.Generator, inner: Any, habit: Habit) -> list[Plot]:
    """Places along the streets of a block, in order of precedence; `inner` is the block less roads and pavements."""
    setback = rng.uniform(*habit.setback_m)
    wanted: list[Plot] = []
    for polygon in polygons_of(shapely.buffer(inner, -setback, join_style="mitre"), 60.0):
        wanted += _along(rng, Frontage(np.array(orient(polygon, 1.0).exterior.coords)), habit, setback, len(wanted))
    if rng.uniform() < habit.filled:
        wanted += _inside(rng, inner, habit, len(wanted) + 1000)
    return without_conflicts(wanted, shapely.buffer(inner, -0.3))


def _along(rng: np.random.Generator, ring: Frontage, habit: Habit, setback: float, first_row: int) -> list[Plot]:
    """Plots one after the other along a ring; corners too sharp for a front wall are stepped over."""
    plots: list[Plot] = []
    distance, row = rng.uniform(0, 4), first_row
    while distance < ring.length - 5:
        form = draw_form(rng, habit)
        count = int(rng.integers(habit.row[0], habit.row[1] + 1)) if form.shape in ("terrace", "block") else 1
        start, end = ring.at(distance), ring.at(min(distance + form.width_m * count, ring.length))
        chord = float(np.hypot(*(end - start)))
        count = min(count, int(chord / form.width_m + 0.08))
        if count < 1:
            distance += 2.5
            continue
        if rng.uniform() >= habit.empty:
            angle = float(np.arctan2(end[1] - start[1], end[0] - start[0]))
            plots += _row(rng, form, start, angle, setback, (count, row))
        row += 1
        distance += form.width_m * count + rng.uniform(*habit.gap_m)
    return plots


def _row(
    rng: np.random.Generator, form: Form, start: NDArray[np.float64], angle: float, setback: float, row: tuple[int, int]
) -> list[Plot]:
    """`row[0]` units side by side from `start`; corners are computed once, so neighbours share them exactly."""
    count, number = row
    back = 0.0 if count > 1 else rng.uniform(0, 1.5)
    u = np.arange(count + 1) * form.width_m
    front = round_coords(shapely.points(placed(np.column_stack([u, np.full(count + 1, back)]), start, angle)))
    rear = round_coords(
        shapely.points(placed(np.column_stack([u, np.full(count + 1, back + form.depth_m)]), start, angle))
    )
    plots = []
    for i in range(count):
        at = placed(np.array([[(i + 0.5) * form.width_m, back]]), start, angle)[0]
        if form.shape in ("terrace", "block"):
            polygon = Polygon([front[i], front[i + 1], rear[i + 1], rear[i]])
        else:
            polygon = footprint(rng, form, at, angle)
        plots.append(
            Plot(polygon=polygon, shape=form.shape, at=at, angle=angle, form=form, setback_m=setback, row=number)
        )
    return plots


def _inside(rng: np.random.Generator, inner: Any, habit: Habit, first_row: int) -> list[Plot]:
    """Plots in parallel rows across the block."""
    corners = np.array(inner.minimum_rotated_rectangle.exterior.coords)
    sides = np.diff(corners, axis=0)[:2]
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    order = int(np.argmax(lengths))
    side = sides[order]
    angle = float(np.arctan2(side[1], side[0]))
    start = corners[order] + placed(np.array([[6.0, 20.0]]), np.zeros(2), angle)[0]
    plots: list[Plot] = []
    v = 0.0
    while v < lengths.min():
        u = 0.0
        while u < lengths.max():
            form = draw_form(rng, habit)
            at = start + placed(np.array([[u + form.width_m / 2, v]]), np.zeros(2), angle)[0]
            plots += _row(rng, form, at, angle, 0.0, (1, first_row + len(plots)))
            u += form.width_m + rng.uniform(*habit.gap_m) * 1.2
        v += habit.depth_m[1] + rng.uniform(*habit.gap_m) * 1.3
    return plots


def without_conflicts(plots: list[Plot], room: Any) -> list[Plot]:
    """The plots that lie in `room` and keep their distance from all that come before them."""
    if not plots:
        return []
    polygons = np.array([p.polygon for p in plots], dtype=object)
    shapely.prepare(room)
    keep = shapely.contains_properly(room, polygons) & shapely.is_valid(polygons)
    first, second = shapely.STRtree(polygons).query(polygons, predicate="dwithin", distance=SPACING_M)
    order = np.lexsort((first, second))
    for i, j in zip(first[order], second[order], strict=True):
        if (
            i < j
            and keep[i]
            and keep[j]
            and (plots[i].row != plots[j].row or shapely.relate_pattern(polygons[i], polygons[j], "2********"))
        ):
            keep[j] = False
    return [p for p, k in zip(plots, keep, strict=True) if k]


def with_sheds(rng: np.random.Generator, plots: list[Plot], inner: Any, habit: Habit) -> list[Plot]:
    """The plots, and behind or beside some of them a shed or garage."""
    sheds: list[Plot] = []
    for number, plot in enumerate(plots):
        if rng.uniform() >= habit.shed:
            continue
        form = Form("rectangle", rng.uniform(2.8, 5.5), rng.uniform(3.5, 6.5))
        u = (
            (plot.form.width_m / 2 + form.width_m / 2 + 1.1) * rng.choice([-1.0, 1.0])
            if plot.shape != "terrace"
            else 0.0
        )
        v = rng.uniform(1.0, 6.0) if plot.shape != "terrace" else plot.form.depth_m + rng.uniform(3, 9)
        if rng.uniform() < 0.4:
            u, v = rng.uniform(-0.5, 0.5) * plot.form.width_m, plot.form.depth_m + rng.uniform(3, 8)
        at = placed(np.array([[u, v]]), plot.at, plot.angle)[0]
        polygon = footprint(rng, form, at, plot.angle)
        sheds.append(
            Plot(polygon=polygon, shape="rectangle", at=at, angle=plot.angle, form=form, setback_m=0.0, row=-1 - number)
        )
    return without_conflicts([*plots, *sheds], shapely.buffer(inner, -0.3))
