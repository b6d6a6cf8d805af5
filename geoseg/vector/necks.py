"""Buildings linked by a neck: their pixels touch, but over less than any building is wide, so each part is one itself.

A network makes such necks where houses stand a metre or two apart. The parts are what a building's pixels fall into when
they are eroded; each then takes back the pixels nearest to it.
"""

from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from scipy.ndimage import distance_transform_edt
from shapely.geometry import shape

from geoseg.vector.arrays import Bools, Ints
from geoseg.vector.buildings import Squared, SquaringSettings, hidden_by_crowns, squared

_PART = 1.2
"""Widths of a neck that a square as large as the smallest part has on a side."""

_GAP = 1.0
"""Widths of a neck up to which what lies beside it is a gap."""

_FACING = 1.25
"""Widths of a neck over which two buildings face one another across the gap, at least."""

_WAIST = 0.15
"""Squares of half a neck that a gap fills on either side of a waist, at least."""

_TOUCH_PX = 1.0
"""How far apart shapes may come to lie that touch: eroding and growing rounds their corners."""

_EPS_PX = 0.1
"""By which a core is grown beyond where it began, lest slivers are left along its walls."""

_STAIR_PX = 0.75
"""By which the border is simplified before it is eroded: staircases of pixels take fifteen times as long."""

_WHOLE = 0.95
"""Share of a part's pixels that have to hang together."""

_LARGEST_PX = 1 << 22
"""Pixels of the largest box that is looked at: buildings of more are halls or mistakes."""


def squared_apart(buildings: NDArray[Any], how: SquaringSettings) -> tuple[Squared, Ints]:
    """Square buildings given as raw polygons on the pixel lattice, parts linked by a neck each by itself.

    Returns what came of them, and the building that each belongs to, ascending. Where a part finds no model that is
    good enough, the building was no two, and is squared whole.
    """
    parts, building = parted_at_necks(buildings, how)
    found = squared(parts, how)
    several = np.bincount(building, minlength=len(buildings)) > 1
    poor = np.unique(building[several[building] & shapely.is_missing(found.polygons)])
    if not len(poor):
        return found, building
    stays, whole = np.flatnonzero(~np.isin(building, poor)), squared(buildings[poor], how)
    both = np.concatenate([building[stays], poor])
    return found.picked(stays).followed_by(whole).picked(order := np.argsort(both, kind="stable")), both[order]


def parted_at_necks(buildings: NDArray[Any], how: SquaringSettings) -> tuple[NDArray[Any], Ints]:
    """Parts of buildings on the pixel lattice and the building of each; larger parts come first."""
    whole = [[building] for building in buildings]
    least = (_PART * how.neck_px) ** 2
    left, top, right, bottom = shapely.bounds(buildings).T
    large = (shapely.area(buildings) >= 2 * least) & ((right - left) * (bottom - top) <= _LARGEST_PX)
    found = np.flatnonzero(large & (how.neck_px > 1))
    half = how.neck_px / 2
    plain = _plain(buildings[found])
    several = shapely.get_num_geometries(_eroded(plain, half, how)) > 1
    found, plain = found[several], plain[several]
    bare = _uncovered(buildings[found], plain, how)
    cores = _eroded(bare, half, how)
    closed = _eroded(_eroded(plain, -_GAP * half, how), _GAP * half, how)
    faces = _eroded(closed, _FACING * half, how)
    gaps = shapely.difference(closed, bare)
    for building, core, face, roof, gap in zip(found.tolist(), cores, faces, bare, gaps, strict=True):
        core = shapely.get_parts(core)
        chosen = _face_to_face(core, face)
        if not chosen.all():
            chosen |= _waisted(core, roof, gap, how)
        whole[building] = _parts(buildings[building], core[chosen], least, how.pixel)
    parts = np.array([part for some in whole for part in some], dtype=object)
    return parts, np.repeat(np.arange(len(whole)), [len(some) for some in whole])


def _plain(buildings: NDArray[Any]) -> NDArray[Any]:
    """Buildings without their staircases: ten times as fast as keeping to their topology, which few would lose."""
    plain: NDArray[Any] = shapely.simplify(buildings, _STAIR_PX, preserve_topology=False)
    lost = shapely.is_empty(plain) | ~shapely.is_valid(plain)
    plain[lost] = shapely.simplify(buildings[lost], _STAIR_PX)
    return plain


def _face_to_face(core: NDArray[Any], faces: Any) -> Bools:
    """Cores that lie in one face with others: a gap ran beside their neck, as long as they face one another.

    Beside the neck that a crown leaves of a roof there is no gap, and closing it joins nothing.
    """
    face = shapely.get_parts(faces)
    shared = shapely.area(shapely.intersection(core[:, None], face[None, :]))
    if not shared.size:
        return np.zeros(len(core), bool)
    own = np.where(shared.max(axis=1) > 0, shared.argmax(axis=1) + 1, 0)
    facing: Bools = (np.bincount(own)[own] > 1) & (own > 0)
    return facing


def _waisted(core: NDArray[Any], roof: Any, gaps: Any, how: SquaringSettings) -> Bools:
    """Cores linked by a waist, which has a gap from one to the other on either side: two corners that touch.

    The neck that a crown leaves of a roof runs along a wall, on the other side of which there is no gap.
    """
    waisted = np.zeros(len(core), bool)
    gap = shapely.get_parts(gaps)
    gap = gap[shapely.area(gap) > _WAIST * (how.neck_px / 2) ** 2]
    if len(gap) < 2:
        return waisted
    opened = _eroded(core, -how.neck_px / 2 - _EPS_PX, how)
    necks = shapely.get_parts(shapely.difference(roof, shapely.union_all(opened)))
    linked, beside = _touching(necks, opened), _touching(necks, gap)
    for neck in range(len(necks)):
        between = shapely.dwithin(gap[beside[neck], None], opened[linked[neck]], _TOUCH_PX).sum(axis=1) > 1
        if between.sum() > 1:
            waisted[linked[neck]] = True
    return waisted


def _touching(necks: NDArray[Any], others: NDArray[Any]) -> list[Ints]:
    """For each neck, which of the others touch it."""
    neck, other = shapely.STRtree(others).query(necks, predicate="dwithin", distance=_TOUCH_PX)
    order = np.argsort(neck, kind="stable")
    return np.split(other[order], np.searchsorted(neck[order], np.arange(1, len(necks))))


def _uncovered(buildings: NDArray[Any], plain: NDArray[Any], how: SquaringSettings) -> NDArray[Any]:
    """Buildings, given raw and simplified, simplified with what crowns hide of them."""
    if not len(buildings):
        return plain
    hidden = hidden_by_crowns(buildings, how)
    return np.where(shapely.is_missing(hidden), plain, shapely.union(plain, hidden))


def _eroded(buildings: NDArray[Any], by_px: float, how: SquaringSettings) -> NDArray[Any]:
    """What is left of buildings that far from their borders; what comes to them where it is negative."""
    on_ground = shapely.transform(buildings, lambda xy: xy * how.pixel)
    eroded: NDArray[Any] = shapely.transform(shapely.buffer(on_ground, -by_px, quad_segs=2), lambda xy: xy / how.pixel)
    return eroded


def _parts(building: Any, cores: NDArray[Any], least: float, pixel: tuple[float, float]) -> list[Any]:
    """Polygons of the pixels nearest to each of a building's cores; the building where there are no two large ones."""
    if len(cores) < 2:
        return [building]
    left, top, right, bottom = (int(bound) for bound in building.bounds)
    frame = {"out_shape": (bottom - top, right - left), "transform": Affine.translation(left, top)}
    inside = rasterize([building], dtype=np.uint8, **frame) > 0
    core = rasterize(zip(cores, range(1, len(cores) + 1), strict=True), dtype=np.int32, **frame)
    near = _nearest(core, pixel) * inside
    core[np.bincount(near.ravel(), minlength=len(cores) + 1)[core] < least] = 0
    if len(np.unique(core)) < 3:
        return [building]
    near = _nearest(core, pixel) * inside
    found: dict[int, Any] = {}
    for geometry, number in shapes(near, mask=inside, connectivity=4, transform=frame["transform"]):
        polygon = shape(geometry)
        if polygon.area > found.get(int(number), shapely.Polygon()).area:
            found[int(number)] = polygon
    parts = sorted(found.values(), key=lambda part: part.area, reverse=True)
    hang_together = sum(part.area for part in parts) >= _WHOLE * building.area
    return parts if hang_together else [building]


def _nearest(core: NDArray[np.int32], pixel: tuple[float, float]) -> NDArray[np.int32]:
    """Number of the core nearest to each pixel."""
    width, height = pixel
    row, column = distance_transform_edt(
        core == 0, sampling=(height, width), return_distances=False, return_indices=True
    )
    nearest: NDArray[np.int32] = core[row, column]
    return nearest
