"""Squared buildings of a whole scene: no two overlap, and what they grew over is cut out of the other layers.

A building is squared from its raw border alone, whole whatever seams it lies on, so nothing depends on blocks; most
are squared with their block (`alone`), the rest here. Squared walls move by a pixel or so and may come to lie over a
neighbour; then the smaller of two buildings gives way.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.legend import NODATA
from geoseg.vector.alone import Alone
from geoseg.vector.arrays import Bools, Floats, Ints, ranges
from geoseg.vector.assemble import Selection, rings_by_block
from geoseg.vector.buildings import SHAPES, SquaringSettings
from geoseg.vector.footprints import Footprints, Polygons, Shelf
from geoseg.vector.holes import put_back, set_aside
from geoseg.vector.job import VectorJob
from geoseg.vector.parts import Borders, load_borders
from geoseg.vector.rings import Rings
from geoseg.vector.runs import merged
from geoseg.vector.seams import Regions
from geoseg.vector.terraces import parted

GRID_PX = 1 / 1024
"""Corners of squared buildings are rounded to this: finer than any right angle needs, coarser than what a last bit does."""

_SQUARE = 0.01
"""Share by which a pixel's sides may differ on the ground and count as equal."""

_TAKEN = 0.1
"""Share of a neighbour that a squared building may lie over; else it keeps its outline."""

_MANY_VERTICES = 1000
"""Vertices of a polygon from which on it pays to set holes aside."""


def squaring_settings(job: VectorJob) -> SquaringSettings:
    """The settings of a job in its pixels."""
    how, (height, width) = job.settings.buildings, job.ground.pixel_m
    return SquaringSettings(
        tolerance_px=max(how.tolerance_px, how.tolerance_m / job.pixel_m),
        shortest_px=max(how.shortest_px, how.shortest_m / job.pixel_m),
        neck_px=how.neck_m / job.pixel_m,
        crown_px=how.crown_m / job.pixel_m,
        pixel=(width / job.pixel_m, height / job.pixel_m) if abs(width / height - 1) > _SQUARE else (1.0, 1.0),
        least_iou=how.least_iou,
    )


def squared_scene(job: VectorJob, parts: Sequence[Path], regions: Regions, features: Selection) -> Shelf:
    """Square the buildings among the features; leaves files in the job's folder."""
    building = features.wanted & np.isin(regions.value, [c.id for c in job.legend if c.rule == "building"])
    kept, group = _touching(job, parts, regions, building)
    together = _ending_together(regions, group)
    selection = replace(features, wanted=building)
    streams = (rings_by_block(parts, together, selection, raw=raw) for raw in (False, True))
    first = Shelf(job.work, "squared")
    for simple, raw in zip(*streams, strict=True):
        first.add(_squared(job, Alone(parts, regions), simple, raw, (kept, group)))
    return _apart(first)


def _touching(job: VectorJob, parts: Sequence[Path], regions: Regions, building: Bools) -> tuple[Bools, Ints]:
    """By region: whether its outline has to stay, as nodata begins there, and the group of buildings that share walls."""
    pairs = [(s.upper, s.lower) for s in regions.seams]
    unseen = [(s.upper, s.lower) for s in regions.seams[1:-1]]
    for path, of_block in zip(parts, regions.of_block, strict=True):
        borders = load_borders(path)
        left, right = of_block[borders.left], of_block[borders.right]
        inside = _inside(borders, job.shape)
        pairs.append((left, right))
        unseen.append((left[inside], right[inside]))
    kept = np.zeros(len(building), bool)
    nodata = regions.value == NODATA
    for one, other in unseen:
        kept[one[nodata[other]]] = kept[other[nodata[one]]] = True
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    both = building[one] & building[other]
    return kept, merged(len(building), one[both], other[both])


def _inside(borders: Borders, shape: tuple[int, int]) -> Bools:
    """(A,) arcs that do not run along the sides of the scene all the way."""
    xy, after = borders.xy[:-1], borders.xy[1:]
    side = ((xy == after) & ((xy == 0) | (xy == (shape[1], shape[0])))).any(axis=1)
    side[borders.offsets[1:-1] - 1] = True  # from one arc to the next
    inner: Bools = np.add.reduceat(np.append(~side, False), borders.offsets[:-1]) > 0
    return inner


def _ending_together(regions: Regions, group: Ints) -> Regions:
    """Regions of a group all last until the last of them ends."""
    last = np.zeros(int(group.max()) + 1, np.int64)
    np.maximum.at(last, group, regions.last_block)
    return replace(regions, last_block=last[group])


def _squared(job: VectorJob, alone: Alone, simple: Rings, raw: Rings, touching: tuple[Bools, Ints]) -> Footprints:
    """The buildings of a stream's step; whole groups of those that share walls."""
    how, (kept, group) = squaring_settings(job), touching
    region = simple.owner[simple.shell]
    outlines = simple.polygons(simple.xy.astype(np.float64))
    pixels = raw.polygons(raw.xy.astype(np.float64))
    _, first, of_unit = np.unique(group[region], return_index=True, return_inverse=True)
    size = np.bincount(of_unit)
    found, unit = alone.squared(_united(pixels, of_unit), region[first], size == 1, how)
    rows = np.bincount(unit, minlength=len(size))
    whose = np.repeat(np.arange(len(region)), rows[of_unit])
    row = ranges((np.cumsum(rows) - rows)[of_unit], rows[of_unit])
    unit, polygons = of_unit[whose], found.polygons[row]
    for k in np.flatnonzero(size > 1):
        members = np.flatnonzero(unit == k)
        if (whole := polygons[members[0]]) is not None:
            parts = parted(pixels[whose[members]], whole, found.direction[row[members[0]]], how)
            polygons[members] = None if parts is None else parts
    polygons = _on_scene(on_grid(polygons), job.shape)
    part, own = rows[unit] > 1, outlines[whose]
    own[part] = _within(polygons[part], own[part])
    good = ~shapely.is_missing(polygons) & ~shapely.is_missing(own) & ~kept[region[whose]]
    good = (np.bincount(unit, weights=~good) == 0)[unit]
    outlines = np.where(good, own, outlines[whose])
    made = Footprints(
        region=region[whose],
        pixels=alone.regions.pixels[region[whose]],
        outlines=outlines,
        polygons=np.where(good, polygons, outlines),
        shape=np.where(good, found.shape[row], 0),
        direction=found.direction[row],
    )
    again = np.append(False, whose[1:] == whose[:-1])
    return made.picked(~(part & ~good & again))


def _within(polygons: Polygons, outlines: Polygons) -> Polygons:
    """What lies of polygons in outlines, the largest piece of each: outlines of parts; None where there is none."""
    largest = np.array([largest_part(shared) for shared in shapely.intersection(polygons, outlines)], dtype=object)
    largest[shapely.is_empty(largest) | (shapely.get_type_id(largest) != shapely.GeometryType.POLYGON)] = None
    return largest


def _united(polygons: Polygons, of_unit: Ints) -> Polygons:
    """One polygon for each unit."""
    size = np.bincount(of_unit)
    united: Polygons = polygons[np.argsort(of_unit, kind="stable")][np.cumsum(size) - size]
    for k in np.flatnonzero(size > 1):
        united[k] = shapely.union_all(polygons[of_unit == k])
    return united


def on_grid(polygons: Polygons) -> Polygons:
    """Polygons with rounded corners; None where one is no longer valid, or was None."""
    rounded: Polygons = shapely.transform(polygons, lambda xy: np.round(xy / GRID_PX) * GRID_PX)
    rounded[~shapely.is_valid(rounded)] = None
    return rounded


def _on_scene(polygons: Polygons, shape: tuple[int, int]) -> Polygons:
    """Polygons cut off at the sides of the scene; None where that leaves several parts."""
    left, top, right, bottom = shapely.bounds(polygons).T
    out = np.flatnonzero((left < 0) | (top < 0) | (right > shape[1]) | (bottom > shape[0]))
    cut = shapely.intersection(polygons[out], shapely.box(0, 0, shape[1], shape[0]))
    cut[shapely.get_type_id(cut) != shapely.GeometryType.POLYGON] = None
    polygons[out] = cut
    return polygons


def _apart(first: Shelf) -> Shelf:
    """Buildings that do not overlap: those that take too much keep their outline, then the smaller ones are cut."""
    yielding, apart = Shelf(first.folder, "yielding"), Shelf(first.folder, "buildings")
    for index in range(len(first)):
        yielding.add(_yielding(first, index))
    for index in range(len(first)):
        apart.add(_cut_by_larger(yielding, index))
    return apart


def _yielding(shelf: Shelf, index: int) -> Footprints:
    """Buildings of a file, with their outline where the squared one takes too much of a neighbour."""
    mine = shelf[index]
    greedy = np.zeros(len(mine.region), bool)
    for other in shelf.near(shelf.bounds[index]):
        at, to = shapely.STRtree(mine.polygons).query(other.outlines, predicate="intersects")[::-1]
        strange = (mine.region[at] != other.region[to]) & mine.squared[at]
        at, to = at[strange], to[strange]
        taken = shapely.area(shapely.intersection(mine.polygons[at], other.outlines[to]))
        greedy[at[taken > _TAKEN * shapely.area(other.outlines[to])]] = True
    return mine.unsquared(greedy)


def _cut_by_larger(shelf: Shelf, index: int) -> Footprints:
    """Buildings of a file without what lies in larger ones."""
    mine = shelf[index]

    def larger(at: Ints, other: Footprints, to: Ints) -> Bools:
        one, two = (mine.pixels[at], -mine.region[at]), (other.pixels[to], -other.region[to])
        bigger = (two[0] > one[0]) | ((two[0] == one[0]) & (two[1] > one[1]))
        # Parts of one building lie in one file, larger ones first.
        bigger |= (one[1] == two[1]) & (to < at)
        over: Bools = bigger & shapely.relate_pattern(mine.polygons[at], other.polygons[to], "T********")
        return over

    cut = cut_out(mine.polygons, shelf, larger)
    polygons = np.array([largest_part(p) for p in cut], dtype=object)
    return replace(mine, polygons=polygons)


def cut_out(
    polygons: Polygons, shelf: Shelf, wanted: Callable[[Ints, Footprints, Ints], Bools] | None = None
) -> Polygons:
    """Polygons in pixels without the buildings that overlap them.

    `wanted(at, buildings, to)` says which pairs of polygon and building count; without it all that are squared. A polygon
    is cut once, however many files its buildings lie in: a road network may meet all of them.
    """
    left = polygons.copy()
    if not len(polygons):
        return left
    whose, over = [np.zeros(0, np.int64)], [np.zeros(0, object)]
    for buildings in shelf.near(tuple(shapely.total_bounds(polygons).tolist())):
        at, to = shapely.STRtree(buildings.polygons).query(polygons, predicate="intersects")
        counts = buildings.squared[to] if wanted is None else wanted(at, buildings, to)
        whose.append(at[counts])
        over.append(buildings.polygons[to[counts]])
    owner, cutters = np.concatenate(whose), np.concatenate(over)
    order = np.argsort(owner, kind="stable")
    changed, first = np.unique(owner[order], return_index=True)
    for index, near in zip(changed, np.split(cutters[order], first[1:]), strict=False):
        left[index] = _less(left[index], near)
    return left


def _less(polygon: Any, buildings: Polygons) -> Any:
    """A polygon, or several, without buildings."""
    over = shapely.union_all(buildings)
    if shapely.get_num_coordinates(polygon) < _MANY_VERTICES:
        return shapely.difference(polygon, over)
    tree = shapely.STRtree(buildings)

    def untouched(bounds: Floats) -> Bools:
        free = np.ones(len(bounds), bool)
        free[tree.query(shapely.box(*bounds.T))[0]] = False
        return free

    rest, holes = set_aside(shapely.get_parts(polygon), untouched)
    left, owner = shapely.get_parts(shapely.difference(rest, over), return_index=True)
    return shapely.multipolygons(put_back(left, owner, holes))


def largest_part(geometry: Any) -> Any:
    """The largest polygon of a geometry, the first of equals."""
    parts = shapely.get_parts(geometry)
    return parts[int(np.argmax(shapely.area(parts)))] if len(parts) > 1 else geometry


def without(polygons: Polygons, shelf: Shelf, min_area_px: Ints) -> tuple[Polygons, Ints]:
    """Polygons in pixels without the squared buildings, in single parts, and which polygon each is of, the largest first.

    Parts of a polygon that changed are dropped under `min_area_px` (one for each polygon).
    """
    cut = cut_out(polygons, shelf)
    parts, whole = shapely.get_parts(cut, return_index=True)
    area = shapely.area(parts)
    changed = ~shapely.equals_exact(cut, polygons)
    stays = ~changed[whole] | (area >= min_area_px[whole])
    order = np.lexsort((-area, whole))
    order = order[stays[order]]
    return parts[order], whole[order]


def outlines(job: VectorJob, parts: Sequence[Path], regions: Regions, buildings: Selection) -> Iterator[Footprints]:
    """Buildings as they are where none is squared."""
    for rings in rings_by_block(parts, regions, buildings):
        region = rings.owner[rings.shell]
        polygons = rings.polygons(rings.xy.astype(np.float64))
        none = np.zeros(len(region), np.int64)
        yield Footprints(region, regions.pixels[region], polygons, polygons, none, np.zeros(len(region)))


def orientation_deg(job: VectorJob, buildings: Footprints) -> Floats:
    """Direction of the main walls on the map, counter-clockwise from east, 0–90; NaN for circles and outlines."""
    t, cos, sin = job.transform, np.cos(buildings.direction), np.sin(buildings.direction)
    column, row = math.hypot(t.a, t.d), math.hypot(t.b, t.e)
    east, north = t.a / column * cos + t.b / row * sin, t.d / column * cos + t.e / row * sin
    angle: Floats = np.round(np.degrees(np.arctan2(north, east)), 3) % 90
    return np.where(np.isin(buildings.shape, (0, SHAPES.index("circle"))), np.nan, angle)
