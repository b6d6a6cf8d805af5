"""What one block holds: buildings with their yards, or a park, a wood, a field, a car park, water or waste ground."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.town.districts import HABITS, Habit, pick
from geoseg.town.downtown import plan_downtown
from geoseg.town.gardens import Part, garden_parts
from geoseg.town.geometry import clumped, main_axis, placed, polygons_of, round_coords, scattered, stalls
from geoseg.town.lots import Plot, plan_plots, with_sheds, without_conflicts
from geoseg.town.model import Building, Surface
from geoseg.town.network import District
from geoseg.town.palettes import Palette
from geoseg.town.perimeter import perimeter_plots
from geoseg.town.sites import site_parts

GREEN_COVERS = frozenset({"lawn", "meadow", "yardgrass", "park", "pitch", "crop", "wood", "hedge"})
"""Covers that a mapper calls green; the rest is background."""

OPEN_USES: dict[str, float] = {
    "built": 0.835, "park": 0.042, "wood": 0.018, "carpark": 0.025, "waste": 0.04, "pitch": 0.02, "crop": 0.01, "lake": 0.01,
}  # fmt: skip
RURAL_USES: dict[str, float] = {
    "built": 0.22, "crop": 0.22, "plough": 0.34, "wood": 0.1, "meadow": 0.07, "lake": 0.05,
}  # fmt: skip

_COURT_HALF_M = np.array([17.5, 8.7])
"""Half the length and width of a tennis court with its margins."""

_LUSH_USES = frozenset({"park", "wood", "pitch", "crop", "meadow", "lake"})


@dataclass(slots=True)
class BlockPlan:
    """What stands in a block, collected as it is planned."""

    buildings: list[Building] = field(default_factory=list)
    surfaces: list[Surface] = field(default_factory=list)
    trees: list[NDArray[np.float64]] = field(default_factory=list)
    """Arrays of (x, y, radius, height)."""
    cars: list[NDArray[np.float64]] = field(default_factory=list)
    """Arrays of (x, y, heading, colour)."""


@dataclass(frozen=True, slots=True)
class Site:
    """A block to plan: its ground and whose habits hold there."""

    rng: np.random.Generator
    inner: Any
    """The block less roads and pavements; may be in several parts."""
    district: District
    palette: Palette
    sheds: bool
    """Whether houses have sheds."""
    downtown: float
    """Share of the built-up blocks that hold podiums and towers, or are still building sites."""
    plan: BlockPlan

    def cover(self, area: Any, cover: str, level: int | None = None) -> None:
        """Lay a cover on every part of an area of at least 1.5 m² (a decoration: 0.1 m²)."""
        level = (1 if cover in GREEN_COVERS else 0) if level is None else level
        for part in polygons_of(round_coords(area), 1.5 if level < 3 else 0.1):
            seed = int(self.rng.integers(2**31))
            self.plan.surfaces.append(Surface(area=part, cover=cover, level=level, seed=seed))

    def cover_all(self, parts: list[Part]) -> None:
        """Lay parts of gardens: cut to the block, drives to its pavement; a decoration must fit whole."""
        if not parts:
            return
        areas = np.array([polygon for polygon, _, _ in parts], dtype=object)
        levels = np.array([level for _, _, level in parts])
        reach = shapely.buffer(self.inner, 3.0)
        shapely.prepare([self.inner, reach])
        for room, chosen in ((self.inner, levels != 2), (reach, levels == 2)):
            cut = np.flatnonzero(chosen & ~shapely.contains(room, areas))
            areas[cut] = shapely.intersection(room, areas[cut])
            areas[cut[levels[cut] == 3]] = shapely.Polygon()
        for area, (_, cover, level) in zip(areas, parts, strict=True):
            self.cover(area, cover, level)

    def plant(self, area: Any, per_ha: float, radius_m: tuple[float, float] = (1.2, 5.2)) -> None:
        """Scatter trees over an area."""
        points = clumped(self.rng, area, per_ha * self.palette.tree_density / 10_000)
        low, high = radius_m
        radius = low + (high - low) * self.rng.beta(1.4, 2.2, len(points))
        height = radius * self.rng.uniform(1.5, 2.6, len(points)) + 1.0
        self.plan.trees.append(np.column_stack([points, radius, height]))


def plan_block(site: Site) -> BlockPlan:
    """Decide what a block is for and fill it."""
    area = site.inner.area
    uses = RURAL_USES if site.district == "rural" else OPEN_USES
    # Where yards are bare, parks and fields are rare too.
    lush = min(1.0, 0.25 + 1.25 * site.palette.lawn_share)
    uses = {name: share * (lush if name in _LUSH_USES else 1.0) for name, share in uses.items()}
    use = "verge" if area < 900 else pick(site.rng, uses)
    if use == "lake" and area < 5000:
        use = "park"
    _USES[use](site)
    return site.plan


def _built(site: Site) -> None:
    # Where none is wanted no number is drawn: the other towns stay what they were.
    if site.downtown and site.rng.uniform() < site.downtown:
        _downtown(site)
        return
    habit = HABITS[site.district]
    base = pick(site.rng, habit.base)
    if base == "yardgrass" and site.rng.uniform() > site.palette.lawn_share * 1.4:
        base = "soil"
    site.cover(site.inner, base)
    plots = _plots(site, habit)
    houses = len(plots)
    if site.sheds:
        plots = with_sheds(site.rng, plots, site.inner, habit)
    gardens: list[Part] = []
    for number, plot in enumerate(plots):
        site.plan.buildings.append(_building(site, habit, plot, number >= houses))
        if number < houses and site.rng.uniform() < habit.yard:
            gardens += garden_parts(site.rng, plot, site.palette)
    site.cover_all(gardens)
    if site.district in ("industrial", "slabs", "urban"):
        _car_parks(site)
    _litter(site, site.inner.area / 260)
    site.plant(site.inner, habit.trees_per_ha)


def _downtown(site: Site) -> None:
    """Podiums and towers, or the site where they will stand."""
    if site.rng.uniform() < 0.3:
        site.cover(site.inner, pick(site.rng, {"soil": 0.8, "gravel": 0.2}))
        site.cover_all(site_parts(site.rng, site.inner))
        return
    site.cover(site.inner, pick(site.rng, {"paving": 0.5, "soil": 0.25, "gravel": 0.1, "yardgrass": 0.15}))
    site.plan.buildings += plan_downtown(site.rng, site.inner)
    _car_parks(site)
    _litter(site, site.inner.area / 200)
    site.plant(site.inner, 30)


def _plots(site: Site, habit: Habit) -> list[Plot]:
    """Places for houses: a closed block now and then in town, else along the streets."""
    if site.district == "urban" and site.rng.uniform() < 0.4:
        plots = perimeter_plots(site.rng, site.inner)
        if plots:
            if site.rng.uniform() < habit.filled:
                plots += plan_plots(site.rng, shapely.buffer(site.inner, -18), replace(habit, filled=0.0))
            return without_conflicts(plots, shapely.buffer(site.inner, -0.05))
    return plan_plots(site.rng, site.inner, habit)


def _litter(site: Site, count: float) -> None:
    """Small things that lie about, too small for a map: crates, beds, stains."""
    axis = main_axis(site.inner)[0]
    points = scattered(site.rng, site.inner, count / max(site.inner.area, 1.0))
    parts: list[Part] = []
    for at in points[site.rng.uniform(size=len(points)) < 0.7]:
        cover = pick(site.rng, {"bed": 0.35, "object": 0.3, "stain": 0.35})
        u, v = site.rng.uniform(0.3, 1.1, 2) * (1.0 if cover == "object" else 1.8)
        angle = axis if site.rng.uniform() < 0.7 else site.rng.uniform(0, np.pi)
        corners = np.array([(-u, -v), (u, -v), (u, v), (-u, v)])
        parts.append((shapely.Polygon(placed(corners, at, angle)), cover, 3))
    site.cover_all(parts)


def _building(site: Site, habit: Habit, plot: Plot, shed: bool) -> Building:
    """The plot's building with a roof and a height."""
    rng = site.rng
    roof = pick(rng, {str(k): v for k, v in habit.roofs.items()})
    if site.district in ("suburb", "terrace", "rural") and rng.uniform() < site.palette.flat_share:
        roof = "flat"
    if shed:
        roof = "shed" if rng.uniform() < 0.6 else "flat"
    if plot.shape == "circle":
        roof = "dome"
    height = rng.uniform(2.2, 3.0) if shed else rng.uniform(*habit.height_m)
    return Building(
        footprint=plot.polygon,
        height_m=round(float(height), 2),
        shape=plot.shape,
        roof=roof,  # type: ignore[arg-type]  # the keys of a habit's roofs are roofs
        orientation_deg=round(float(np.degrees(plot.angle)) % 90.0, 6),
        seed=int(rng.integers(2**31)),
    )


def _car_parks(site: Site) -> None:
    """Up to three car parks where there is room between the buildings."""
    angle, length, width, center = main_axis(site.inner)
    taken = shapely.union_all([b.footprint for b in site.plan.buildings])
    room = shapely.difference(shapely.buffer(site.inner, -1.0), shapely.buffer(taken, 1.5))
    shapely.prepare(room)
    for _ in range(14):
        u, v = site.rng.uniform(-0.5, 0.5, 2) * (length, width)
        half = np.array([site.rng.uniform(9, 26), site.rng.choice([8.3, 16.6])])
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half + (u, v)
        polygon = shapely.Polygon(placed(corners, center, angle))
        if shapely.contains_properly(room, polygon):
            _park_cars(site, polygon, 2)
            room = shapely.difference(room, shapely.buffer(polygon, 3.0))
            shapely.prepare(room)


def _park_cars(site: Site, polygon: Any, level: int) -> None:
    """A car park with some of its stalls taken."""
    site.cover(polygon, "carpark", level)
    spots = stalls(polygon)
    if len(spots):
        taken = spots[site.rng.uniform(size=len(spots)) < site.rng.uniform(0.15, 0.8)]
        site.plan.cars.append(np.column_stack([taken, site.rng.uniform(size=len(taken))]))


def _park(site: Site) -> None:
    site.cover(site.inner, "park")
    angle, length, width, center = main_axis(site.inner)
    for turn in (0.0, np.pi / 2):
        heading = angle + turn + site.rng.normal(0, 0.25)
        reach = np.array([np.cos(heading), np.sin(heading)]) * (length + width)
        side = site.rng.uniform(-0.2, 0.2, 2) * width
        path = shapely.LineString([center - reach + side, center + side, center + reach - side])
        site.cover(shapely.intersection(shapely.buffer(path, site.rng.uniform(1.0, 2.0)), site.inner), "path", 2)
    if site.rng.uniform() < 0.35:
        site.cover(shapely.intersection(_blob(site.rng, center, min(length, width) * 0.16), site.inner), "water", 2)
    for _ in range(int(site.rng.integers(2, 6))):
        where = center + site.rng.uniform(-0.45, 0.45, 2) * min(length, width)
        site.plant(shapely.intersection(_blob(site.rng, where, min(length, width) * 0.14), site.inner), 200, (2.2, 5.0))
    # Old parks are half roofed by crowns, new ones nearly bare.
    site.plant(site.inner, _park_density(site.rng), (1.8, 5.4))


def _park_density(rng: np.random.Generator) -> float:
    """Trees for a hectare of park."""
    return float(rng.choice([25.0, 60.0, 130.0, 210.0]))


def _blob(rng: np.random.Generator, center: NDArray[np.float64], radius: float) -> Any:
    """A round, wavy polygon."""
    turn = 2 * np.pi * np.arange(40) / 40
    wave = np.ones(40)
    for k in range(1, 6):
        wave += rng.uniform(-0.14, 0.14) * np.cos(k * turn + rng.uniform(0, 6.28))
    return shapely.Polygon(center + np.column_stack([np.cos(turn), np.sin(turn)]) * (radius * wave)[:, None])


def _wood(site: Site) -> None:
    site.cover(site.inner, "wood")
    points = scattered(site.rng, shapely.buffer(site.inner, -1.5), 0.036)
    radius = site.rng.uniform(2.0, 4.6, len(points))
    site.plan.trees.append(np.column_stack([points, radius, radius * 2.2 + 1.0]))


def _field(cover: str) -> Any:
    def fill(site: Site) -> None:
        site.cover(site.inner, cover)
        site.plant(shapely.difference(site.inner, shapely.buffer(site.inner, -4)), 60, (1.6, 4.0))

    return fill


def _car_park(site: Site) -> None:
    site.cover(site.inner, "paving")
    for part in polygons_of(shapely.buffer(site.inner, -3.0), 200):
        _park_cars(site, part, 2)
    site.plant(site.inner, 25, (1.2, 2.6))


def _waste(site: Site) -> None:
    """Building land: bare earth with weeds, heaps and the tracks of lorries."""
    site.cover(site.inner, pick(site.rng, {"soil": 0.6, "gravel": 0.4}))
    _, length, width, center = main_axis(site.inner)
    for _ in range(int(site.rng.integers(3, 9))):
        where = center + site.rng.uniform(-0.45, 0.45, 2) * (length, width)
        cover = pick(site.rng, {"meadow": 0.4, "gravel": 0.25, "plough": 0.2, "soil": 0.15})
        site.cover(shapely.intersection(_blob(site.rng, where, site.rng.uniform(3, 16)), site.inner), cover)
    for _ in range(3):
        ends = center + site.rng.uniform(-0.6, 0.6, (2, 2)) * (length, width)
        bend = center + site.rng.uniform(-0.2, 0.2, 2) * (length, width)
        track = shapely.buffer(shapely.LineString([ends[0], bend, ends[1]]), 1.4)
        site.cover(shapely.intersection(track, site.inner), "path", 0)
    _litter(site, site.inner.area / 90)


def _pitch(site: Site) -> None:
    """A sports ground: a pitch in a park, or hard courts."""
    if site.rng.uniform() < 0.5:
        _courts(site)
        return
    site.cover(site.inner, "yardgrass")
    angle, length, width, center = main_axis(site.inner)
    half = np.array([min(length * 0.36, 52.0), min(width * 0.34, 34.0)])
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    pitch = shapely.Polygon(placed(corners, center, angle))
    around = shapely.Polygon(placed(corners * 1.12, center, angle))
    site.cover(shapely.intersection(shapely.difference(around, pitch), site.inner), "track", 2)
    site.cover(shapely.intersection(pitch, site.inner), "pitch")
    site.plant(shapely.difference(site.inner, shapely.buffer(site.inner, -6)), 120)


def _courts(site: Site) -> None:
    """Tennis and ball courts side by side: as flat, straight and red or grey as a roof, but no roof."""
    site.cover(site.inner, pick(site.rng, {"paving": 0.4, "yardgrass": 0.4, "soil": 0.2}))
    surface = pick(site.rng, {"clay": 0.6, "acrylic": 0.4})
    angle, length, width, center = main_axis(site.inner)
    room = shapely.buffer(site.inner, -2.0)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * _COURT_HALF_M
    for u in np.arange(-length / 2, length / 2, 2 * _COURT_HALF_M[0] + 3):
        for v in np.arange(-width / 2, width / 2, 2 * _COURT_HALF_M[1] + 1.5):
            court = shapely.Polygon(placed(corners + np.array([u, v]), center, angle))
            if site.rng.uniform() < 0.85 and shapely.contains(room, court):
                site.cover(court, surface, 2)
    site.plant(shapely.difference(site.inner, shapely.buffer(site.inner, -6)), 120)


def _lake(site: Site) -> None:
    site.cover(site.inner, "park")
    _, length, width, center = main_axis(site.inner)
    lake = shapely.intersection(_blob(site.rng, center, min(length, width) * 0.42), shapely.buffer(site.inner, -5))
    site.cover(lake, "water", 2)
    site.plant(shapely.difference(site.inner, lake), 70, (1.8, 4.6))


def _verge(site: Site) -> None:
    site.cover(site.inner, pick(site.rng, {"lawn": 0.6, "paving": 0.2, "soil": 0.2}))
    site.plant(site.inner, 50)


_USES: dict[str, Any] = {
    "built": _built, "park": _park, "wood": _wood, "crop": _field("crop"), "plough": _field("plough"),
    "meadow": _field("meadow"), "carpark": _car_park, "waste": _waste, "pitch": _pitch, "lake": _lake, "verge": _verge,
}  # fmt: skip
