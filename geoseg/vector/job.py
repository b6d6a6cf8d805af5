"""What is vectorized, and the blocks it is cut into.

Blocks are full-width runs of rows of the class raster. Their lattice belongs to the scene: it follows from its width
alone, not from how the raster came about, so the result cannot depend on strips, workers or order.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from affine import Affine

from geoseg.legend import Legend
from geoseg.raster.rows import BandSource
from geoseg.vector.arrays import Floats
from geoseg.vector.measure import Ground
from geoseg.vector.settings import VectorSettings
from geoseg.vector.sieve import SizeLimits

_BLOCK_PIXELS = 1 << 24
_BLOCK_ROWS = (256, 2048)


@dataclass(frozen=True)
class VectorJob:
    """One class raster to vectorize."""

    classes: BandSource
    """Class raster (uint8, nodata 255): a GeoTIFF, or strips."""
    confidence: BandSource | None
    """Confidence raster (uint8, 0–100), or None: the layers then have no confidence."""
    transform: Affine
    """From pixels to the map, north up."""
    crs: str
    """WKT of the map's reference system; empty: none, one map unit is taken as a metre."""
    shape: tuple[int, int]
    """Rows and columns of the class raster."""
    legend: Legend
    """What the classes are."""
    settings: VectorSettings
    """How they become features."""
    scene: str
    """Name of the scene, for the features."""
    work: Path
    """Folder for the parts."""

    @property
    def block_height(self) -> int:
        """Rows of a block; the last one may have fewer."""
        low, high = _BLOCK_ROWS
        return self.settings.block_rows or max(low, min(high, _BLOCK_PIXELS // self.shape[1] // 64 * 64))

    def rows_of(self, index: int) -> tuple[int, int]:
        """First row of a block, and the row after its last."""
        first = index * self.block_height
        return first, min(first + self.block_height, self.shape[0])

    def part(self, index: int) -> Path:
        """File with what came of a block."""
        return self.work / f"vectors_{index:05d}.npz"

    @cached_property
    def ground(self) -> Ground:
        """How the map measures."""
        return Ground.of(self.transform, self.crs, self.shape)

    def to_map(self, xy: Floats) -> Floats:
        """Map coordinates of (N, 2) pixel coordinates, column and row."""
        t, (x, y) = self.transform, xy.T
        return np.stack([t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f], axis=1)

    @property
    def pixel_m(self) -> float:
        """Side of a pixel on the ground, the mean of its two sides."""
        return math.sqrt(math.prod(self.ground.pixel_m))

    @property
    def tolerance_px(self) -> float:
        """How far a border may move when it is simplified, in pixels."""
        metres = self.settings.simplify_m
        return self.settings.simplify_px if metres is None else metres / self.pixel_m

    @property
    def cut_px(self) -> int:
        """Width of the grid that roads are cut on, in pixels; 0: they are not cut."""
        metres = self.settings.cut_m
        return max(512, round(500 / self.pixel_m)) if metres is None else math.ceil(metres / self.pixel_m)

    @property
    def limits(self) -> SizeLimits:
        """The sizes below which regions are dropped and holes filled."""
        min_area, min_hole, walled = np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(256, bool)
        for c in self.legend:
            rule = self.settings.of_rule(c.rule)
            min_area[c.id] = max(1, rule.min_area_px, math.ceil(rule.min_area_m2 / self.pixel_m**2))
            min_hole[c.id] = max(rule.min_hole_px, math.ceil(rule.min_hole_m2 / self.pixel_m**2))
            walled[c.id] = c.rule == "building"
        return SizeLimits(min_area, min_hole, walled)


def block_rows(job: VectorJob) -> int:
    """Number of blocks, top to bottom."""
    return -(-job.shape[0] // job.block_height)
