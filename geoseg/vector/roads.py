"""The road classes of one block, thinned to lines.

A block is thinned together with rows around it, as many as the widest road reaches, so that its own rows come out as if
the whole scene had been thinned. Lines are handed over in pieces: each step from point to point belongs
to the block that holds the upper of the two.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from geoseg.legend import NODATA
from geoseg.vector.arrays import Bytes, Ints, offsets_of, owners_of, ranges
from geoseg.vector.job import VectorJob
from geoseg.vector.network import CUT, RING, Paths, paths_of
from geoseg.vector.parts import NO_PIECES, Pieces

_LEAST_HALO = 16
"""Pixels of the thinned raster around a block, where pixels are so large that roads are narrow."""

_SPARE = 8
"""Pixels of the thinned raster beyond the half-width of the widest road."""


@dataclass(frozen=True, slots=True)
class View:
    """The rows that are looked at to thin the roads of a block, in pixels of the thinned raster."""

    factor: int
    """Side of a pixel in pixels of the scene."""
    halo: int
    """Pixels added around the block; where the scene ends its rim is repeated, so that lines reach it."""
    first: int
    """First row that belongs to the block."""
    stop: int
    """Row after the last that does."""
    height: int
    """Rows of the whole scene."""
    width: int
    """Columns of the whole scene."""

    @property
    def rows(self) -> tuple[int, int]:
        """First row looked at, and the row after the last."""
        return max(0, self.first - self.halo), min(self.height, self.stop + self.halo)

    @property
    def margins(self) -> tuple[int, int]:
        """Rows to be repeated above and below, where the scene ends."""
        first, stop = self.rows
        return self.halo if first == 0 else 0, self.halo if stop == self.height else 0

    def scene_rows(self, height: int) -> tuple[int, int]:
        """The rows looked at, in pixels of a scene of some height."""
        first, stop = self.rows
        return first * self.factor, min(stop * self.factor, height)


def view_of(job: VectorJob, index: int) -> View:
    """What has to be looked at to thin the roads of a block."""
    lines, factor = job.settings.centerlines, thinning_factor(job)
    roads = [c.id for c in job.legend if c.rule == "road"]
    speck = max((max(_limits_px(job, i)) for i in roads), default=0)
    # What is smaller than a speck is seen whole, even where it is one pixel wide.
    halo = max(
        _LEAST_HALO, math.ceil(0.5 * lines.max_width_m / (job.pixel_m * factor)) + _SPARE, speck // factor**2 + 1
    )
    (first, stop), (rows, cols) = job.rows_of(index), job.shape
    return View(factor, halo, -(-first // factor), -(-stop // factor), -(-rows // factor), -(-cols // factor))


def thinning_factor(job: VectorJob) -> int:
    """Side of a pixel of the thinned raster in pixels of the scene, a power of two."""
    ratio = job.settings.centerlines.resolution_m / job.pixel_m
    return 1 << max(0, int(ratio).bit_length() - 1)


def pieces_of(job: VectorJob, view: View, classes: Bytes, value: int) -> Pieces:
    """Skeleton lines of one road class in the rows of a block, from the rows of the class raster that `view` asks for."""
    mask = (classes == value).view(np.uint8)
    roads = _cleaned(job, _reduced(mask, view), view.factor, value)
    if not roads.any():
        return NO_PIECES
    (above, below), side = view.margins, view.halo
    roads = cv2.copyMakeBorder(roads, above, below, side, side, cv2.BORDER_REPLICATE)
    pieces = _owned(paths_of(skeletonize(roads > 0)), roads.shape[1], view, value)
    return replace(pieces, radius=_radii(mask, pieces.xy, view))


def _reduced(roads: Bytes, view: View) -> Bytes:
    """Roads in pixels of the thinned raster: what most of the pixels around the middle of each are.

    An odd window around a sampled pixel keeps widths as they are; the share of an even block would widen or narrow them.
    """
    first, stop = view.rows
    below, right = (stop - first) * view.factor - roads.shape[0], view.width * view.factor - roads.shape[1]
    full = cv2.copyMakeBorder(roads, 0, below, 0, right, cv2.BORDER_REPLICATE)
    if view.factor > 1:
        full = cv2.medianBlur(full, 3 if view.factor == 2 else 5)[
            view.factor // 2 :: view.factor, view.factor // 2 :: view.factor
        ]
    return np.ascontiguousarray(full)


def _cleaned(job: VectorJob, roads: Bytes, factor: int, value: int) -> Bytes:
    """Roads without specks, pinholes and islands."""
    speck, hole = (limit / factor**2 for limit in _limits_px(job, value))
    return 1 - _without_small(1 - _without_small(roads, speck), hole)


def _limits_px(job: VectorJob, value: int) -> tuple[int, int]:
    """Pixels below which a part of a road is a speck, and those below which a hole in it is filled."""
    islands = math.ceil(job.settings.centerlines.island_m2 / job.pixel_m**2)
    return int(job.limits.min_area[value]), max(int(job.limits.min_hole[value]), islands)


def _without_small(mask: Bytes, least: float) -> Bytes:
    """The mask without 4-connected parts of fewer than `least` pixels."""
    if least <= 1 or not mask.any():
        return mask
    _, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= least
    large[0] = False
    kept: Bytes = large[label].astype(np.uint8)
    return kept


def _radii(mask: Bytes, xy: Ints, view: View) -> NDArray[np.float32]:
    """Distance to the road's border in pixels of the scene: the largest near each point, for a skeleton runs off the middle."""
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    middle = xy * view.factor + view.factor // 2 - [0, view.rows[0] * view.factor]
    reach = max(1, view.factor // 2 + view.factor // 4)
    radii = np.zeros(len(xy), np.float32)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            x = np.clip(middle[:, 0] + dx, 0, mask.shape[1] - 1)
            y = np.clip(middle[:, 1] + dy, 0, mask.shape[0] - 1)
            np.maximum(radii, distance[y, x], out=radii)
    return np.minimum(radii, np.float32(max(mask.shape)))


def _owned(paths: Paths, view_width: int, view: View, value: int) -> Pieces:
    """The pieces of paths whose steps belong to the block."""
    y = paths.at // view_width + view.rows[0] - view.margins[0]
    x = paths.at % view_width - view.halo
    on_scene = (y >= 0) & (y < view.height) & (x >= 0) & (x < view.width)
    upper = np.minimum(y[:-1], y[1:])
    owned = np.append(on_scene[:-1] & on_scene[1:] & (upper >= view.first) & (upper < view.stop), False)
    owned[paths.offsets[1:] - 1] = False
    before = np.append(False, owned[:-1])
    start, stop = np.flatnonzero(owned & ~before), np.flatnonzero(before & ~owned)
    lengths = stop - start + 1
    points = ranges(start, lengths)
    return Pieces(
        value=np.full(len(start), value, np.uint8),
        offsets=offsets_of(lengths),
        xy=np.stack([x[points], y[points]], axis=1),
        radius=np.zeros(len(points), np.float32),
        confidence=np.full(len(points), np.nan, np.float32),
        ends=_piece_ends(paths, start, stop),
    )


def _piece_ends(paths: Paths, start: Ints, stop: Ints) -> Bytes:
    """How pieces begin and end: as their path where they reach its end, else cut. A ring in pieces has only cuts."""
    path = owners_of(paths.offsets)[start]
    whole = (start == paths.offsets[path]), (stop == paths.offsets[path + 1] - 1)
    ring = (paths.ends[path] == RING).any(axis=1) & ~(whole[0] & whole[1])
    ends = [np.where(reached & ~ring, paths.ends[path, side], CUT) for side, reached in enumerate(whole)]
    return np.stack(ends, axis=1).astype(np.uint8)


def sampled(pieces: Pieces, confidence: Bytes, first_row: int, factor: int) -> Pieces:
    """The pieces with the confidence under their points, from rows of the confidence raster that begin at `first_row`."""
    x = np.minimum(pieces.xy[:, 0] * factor + factor // 2, confidence.shape[1] - 1)
    y = pieces.xy[:, 1] * factor + factor // 2 - first_row
    known = (y >= 0) & (y < len(confidence))
    values = np.full(len(y), np.nan, np.float32)
    values[known] = confidence[y[known], x[known]]
    values[values == NODATA] = np.nan  # a speck of no data in a road
    return replace(pieces, confidence=values)
