"""What a run will need, told before it starts: pixels to forward, memory, disk."""

from dataclasses import dataclass

import numpy as np

from geoseg.raster.mosaic import cache_bytes, side_by_side
from geoseg.run.plan import RunPlan, ScenePlan

_PROCESS_BYTES = 650 * 2**20
"""A worker with torch, smp, GDAL and a small model, before the first tile."""
_FORWARD_BYTES_PER_PIXEL = 900
"""Activations of the default model in float32 for one pixel of the tile, and what of them is kept in pieces; measured
670–930. In bfloat16 it is half, which a plan cannot know: it does without PyTorch."""
_STRIP_BYTES_PER_PIXEL = 1.0
"""Classes and confidence of a strip, compressed; real maps take about 0.4."""
_VECTOR_PROCESS_BYTES = 300 * 2**20
"""A worker without torch, with GDAL and geopandas."""
_VECTOR_BYTES_PER_PIXEL = 2.0
"""Features that are still open where one wood or street network fills the scene; those of a town take 0.5."""
_OUTPUT_BYTES_PER_PIXEL = 0.3
"""Class raster, GeoPackage and project; real maps take about 0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Needs of a run."""

    tiles: int
    strips: int
    scene_pixels: int
    """Pixels still to map."""
    forwarded_pixels: int
    """Pixels the network will see."""
    peak_bytes: int
    """Memory of one worker process that runs the network."""
    vector_bytes: int
    """Memory of the one that makes the layers of the largest scene."""
    disk_bytes: int
    """Outputs of all scenes and the strips of the largest."""

    @property
    def forwarded_per_pixel(self) -> float:
        """Pixels the network sees for each pixel of the scenes."""
        return self.forwarded_pixels / self.scene_pixels if self.scene_pixels else 0.0


def estimate(plan: RunPlan) -> Estimate:
    """Needs of what is left to do."""
    pending = plan.pending
    pixels = [s.pending_pixels for s in pending]
    work = max(pixels, default=0) * _STRIP_BYTES_PER_PIXEL
    return Estimate(
        tiles=sum(len(s.grid.cols) * (strip.stop - strip.first) for s in pending for strip in s.missing),
        strips=sum(len(s.missing) for s in pending),
        scene_pixels=sum(pixels),
        forwarded_pixels=sum(_forwarded(s) for s in pending),
        peak_bytes=max((peak_bytes(s, plan.contract.legend.channels) for s in pending), default=0),
        vector_bytes=max((_vector_bytes(s) for s in pending), default=0),
        disk_bytes=int(work + sum(pixels) * _OUTPUT_BYTES_PER_PIXEL),
    )


def peak_bytes(scene: ScenePlan, channels: int) -> int:
    """Memory of a worker on this scene: grows with its width and the tile size, not with its height."""
    grid = scene.grid
    rows = min(grid.tile_size, grid.height)
    itemsize = np.dtype(scene.scene.dtype).itemsize
    blend = channels * grid.overlap * (grid.width + rows) * 4
    width = side_by_side(scene.scene, lambda file: file.width)  # of the files that are read together
    per_pixel = len(scene.bands) * itemsize + 1
    buffers = 2 * (rows + min(scene.scene.block_height, 1024)) * width * per_pixel
    if scene.scene.parts:  # each file has its own, and the mosaic one more
        buffers += 2 * rows * grid.width * per_pixel
    forward = int(_FORWARD_BYTES_PER_PIXEL * min(grid.tile_size, grid.width) * rows * scene.enlargement**2)
    return _PROCESS_BYTES + blend + buffers + forward + cache_bytes(scene.scene) + 4 * rows * grid.width


def _vector_bytes(scene: ScenePlan) -> int:
    return _VECTOR_PROCESS_BYTES + int(_VECTOR_BYTES_PER_PIXEL * scene.grid.height * scene.grid.width)


def _forwarded(scene: ScenePlan) -> int:
    """Pixels of the tile rows of the strips that are left, those that strips share apart."""
    grid = scene.grid
    across = sum(c.padded for c in grid.cols)
    down = sum(grid.rows[i].padded for strip in scene.missing for i in range(strip.first, strip.stop))
    return int(across * down * scene.enlargement**2)
