"""Buildings that lie in one block whole and touch no other: squared together with the block, in any process.

Most of a town is squared this way. Their borders are in the block's part as they will be in the scene, so it does not
matter to a building who squares it; those at seams and in rows of houses are left to the one that joins the blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.legend import NODATA
from geoseg.vector.arrays import Bools, Ints
from geoseg.vector.assemble import block_arcs, halves_of
from geoseg.vector.buildings import Squared, SquaringSettings, squared
from geoseg.vector.job import VectorJob
from geoseg.vector.necks import squared_apart
from geoseg.vector.parts import NO_SQUARES, Borders, Squares, Table, load_squares
from geoseg.vector.rings import Idle, rings_of
from geoseg.vector.runs import merged
from geoseg.vector.seams import Regions, Seam


def squared_alone(job: VectorJob, how: SquaringSettings, table: Table, borders: Borders) -> Squares:
    """Square the buildings of a block that touch neither its upper or lower side nor another building."""
    value, left, right = table.value, borders.left, borders.right
    inner = np.ones(len(value), bool)
    inner[table.top[1]] = inner[table.bottom[1]] = False
    least = job.limits.min_area[value]
    feature = (least > 0) & (table.pixels >= least)
    building = np.isin(value, [c.id for c in job.legend if c.rule == "building"])
    alone = building & feature & inner
    beside = building[left] & building[right]
    alone[left[beside]] = alone[right[beside]] = False
    region = np.flatnonzero(alone)
    if not len(region):
        return NO_SQUARES
    arcs = block_arcs(borders, np.arange(len(value)), _line(job.shape[1]), raw=True)
    idle = _idle(table, borders, ~feature & inner & (value != NODATA))
    rings = rings_of(halves_of(arcs, alone), idle, job.limits.min_hole[value])
    found, of = squared_apart(rings.polygons(rings.xy.astype(np.float64)), how)
    return _stored(region[of], found)


def _line(width: int) -> Seam:
    """A line as wide as the seams: that is all that the borders of inner regions need to know of them."""
    none = np.zeros(0, np.int64)
    return Seam(0, np.array([-1, width + 1]), none, none)


def _idle(table: Table, borders: Borders, idle: Bools) -> Idle:
    """Groups of inner regions that are no features; a hole of an inner building holds only inner regions."""
    both = idle[borders.left] & idle[borders.right]
    group = merged(len(idle), borders.left[both], borders.right[both])
    pixels = np.bincount(group, weights=np.where(idle, table.pixels, 0)).astype(np.int64)
    return Idle(np.where(idle, group, -1), pixels)


def _stored(region: Ints, found: Squared) -> Squares:
    there = ~shapely.is_missing(found.polygons)
    if not there.any():
        return Squares(region, found.shape, found.direction, there, NO_SQUARES.xy, NO_SQUARES.rings, NO_SQUARES.shells)
    _, xy, (rings, shells) = shapely.to_ragged_array(found.polygons[there])
    return Squares(region, found.shape, found.direction, there, xy, rings, shells)


@dataclass(frozen=True, slots=True, eq=False)
class Alone:
    """What was squared with the blocks of a scene."""

    parts: Sequence[Path]
    regions: Regions

    def squared(self, pixels: NDArray[Any], region: Ints, single: Bools, how: SquaringSettings) -> tuple[Squared, Ints]:
        """Square (B,) raw polygons, each of the scene's `region`, or the first of several; those known are taken.

        Returns what came of them and the polygon that each belongs to, ascending; a `single` building that necks link
        has several.
        """
        found, owner = Squared(np.zeros(0, object), np.zeros(0, np.int64), np.zeros(0)), [np.zeros(0, np.int64)]
        order = np.argsort(region)
        for block in np.unique(self.regions.last_block[region]):
            squares = load_squares(self.parts[block])
            of = self.regions.of_block[block][squares.region]
            at = order[np.minimum(np.searchsorted(region, of, sorter=order), len(order) - 1)]
            mine = np.flatnonzero(region[at] == of)
            found = found.followed_by(Squared(_polygons(squares), squares.shape, squares.direction).picked(mine))
            owner.append(at[mine])
        known = np.isin(np.arange(len(region)), np.concatenate(owner))
        apart, together = np.flatnonzero(~known & single), np.flatnonzero(~known & ~single)
        more, building = squared_apart(pixels[apart], how)
        found = found.followed_by(more).followed_by(squared(pixels[together], how))
        all_owners = np.concatenate([*owner, apart[building], together])
        by_owner = np.argsort(all_owners, kind="stable")
        return found.picked(by_owner), all_owners[by_owner]


def _polygons(squares: Squares) -> NDArray[Any]:
    polygons = np.full(len(squares.region), None, dtype=object)
    polygons[squares.there] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, squares.xy, (squares.rings, squares.shells)
    )
    return polygons
