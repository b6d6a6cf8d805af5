"""A picture of a map beside its imagery, small enough to look at."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from geoseg.raster import env

# isort: split
import rasterio
from rasterio.enums import Resampling
from rasterio.windows import Window as RasterioWindow

from geoseg.files import atomic
from geoseg.legend import BACKGROUND, Legend

_GAP_PX = 16


def write_preview(target: Path, scene: Path, classes: Path, legend: Legend, *, size: int = 1000) -> None:
    """Write a PNG: the imagery, and the same with its classes laid over it; the middle at full resolution below.

    Args:
        target: PNG file.
        scene: GeoTIFF with red, green, blue in its first bands (or one grey band).
        classes: its class raster.
        legend: colours of the classes.
        size: side of each of the four panels in pixels.
    """
    with rasterio.open(scene, driver=env.DRIVER) as src, rasterio.open(classes, driver=env.DRIVER) as cls:
        side = min(size, src.height, src.width)
        middle = RasterioWindow((src.width - side) // 2, (src.height - side) // 2, side, side)
        whole = RasterioWindow(0, 0, src.width, src.height)
        rows = [_panels(src, cls, window, legend, size) for window in (whole, middle)]
    width = max(r.shape[1] for r in rows)
    picture = np.vstack(
        [cv2.copyMakeBorder(r, 0, _GAP_PX, 0, width - r.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3) for r in rows]
    )
    with atomic(target) as tmp:
        tmp.write_bytes(cv2.imencode(".png", np.ascontiguousarray(picture[:-_GAP_PX, :, ::-1]))[1].tobytes())


def _panels(
    src: rasterio.io.DatasetReader, cls: rasterio.io.DatasetReader, window: RasterioWindow, legend: Legend, size: int
) -> NDArray[np.uint8]:
    """Imagery and map of a window side by side, `(rows, cols, 3)`."""
    scale = min(1.0, size / max(window.width, window.height))
    shape = (max(1, round(window.height * scale)), max(1, round(window.width * scale)))
    bands = [1, 2, 3] if src.count >= 3 else [1, 1, 1]
    image = src.read(bands, window=window, out_shape=(3, *shape), resampling=Resampling.average).transpose(1, 2, 0)
    image = image.astype(np.uint8) if image.dtype == np.uint8 else _stretched(image)
    ids = cls.read(1, window=window, out_shape=shape, resampling=Resampling.mode)
    gap = np.full((shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.hstack([image, gap, _laid_over(image, ids, legend)])


def _laid_over(image: NDArray[np.uint8], ids: NDArray[np.uint8], legend: Legend) -> NDArray[np.uint8]:
    colors = np.full((256, 3), 255, np.float32)
    for c in legend:
        colors[c.id] = c.rgb
    opacity = np.where(ids == BACKGROUND, 0.0, 0.6)[:, :, None].astype(np.float32)
    mixed: NDArray[np.uint8] = (image * (1 - opacity) + colors[ids] * opacity).astype(np.uint8)
    return mixed


def _stretched(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    values = np.nan_to_num(image.astype(np.float32))
    low, high = np.percentile(values, (2, 98))
    scaled: NDArray[np.uint8] = np.clip((values - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    return scaled


def confusion(truth: Path, classes: Path) -> NDArray[np.int64]:
    """Pixels by true and mapped class id, `(256, 256)`, of two class rasters on the same grid; read by rows."""
    counts = np.zeros(256 * 256, np.int64)
    with rasterio.open(truth, driver=env.DRIVER) as a, rasterio.open(classes, driver=env.DRIVER) as b:
        for row in range(0, a.height, 512):
            window = RasterioWindow(0, row, a.width, min(512, a.height - row))
            pairs = a.read(1, window=window).astype(np.int64) * 256 + b.read(1, window=window)
            counts += np.bincount(pairs.ravel(), minlength=256 * 256)
    return counts.reshape(256, 256)
