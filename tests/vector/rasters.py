"""Small class rasters, and jobs on them."""

from pathlib import Path

import cv2
import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geoseg.legend import DEFAULT_LEGEND
from geoseg.vector.settings import BuildingSettings, VectorSettings
from geoseg.vector.vectorize import VectorJob

UTM = Affine(0.3, 0, 500_000, 0, -0.3, 4_500_000)


def write_tif(path: Path, values: np.ndarray, transform: Affine, epsg: int) -> Path:
    height, width = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype="uint8",
        crs=CRS.from_epsg(epsg),
        transform=transform,
    ) as dst:
        dst.write(values, 1)
    return path


def settings(**changes) -> VectorSettings:
    """Nothing dropped, filled, simplified or squared, unless said otherwise."""
    nothing = {"min_area_m2": 0.0, "min_hole_m2": 0.0, "min_area_px": 0, "min_hole_px": 0}
    plain = {"simplify_m": 0.0, "buildings": BuildingSettings(enabled=False)}
    return VectorSettings(**plain | {"building": nothing, "road": nothing, "area": nothing} | changes)


def make_job(
    folder: Path, classes, confidence=None, *, how=None, transform=UTM, epsg=32633, legend=DEFAULT_LEGEND
) -> VectorJob:
    """A job on these classes, written into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return VectorJob(
        classes=write_tif(folder / "classes.tif", classes, transform, epsg),
        confidence=None if confidence is None else write_tif(folder / "confidence.tif", confidence, transform, epsg),
        transform=transform,
        crs=CRS.from_epsg(epsg).to_wkt(),
        shape=classes.shape,
        legend=legend,
        settings=how or settings(),
        scene="scene",
        work=folder,
    )


def noise(
    rng: np.random.Generator, shape: tuple[int, int], *, classes: int = 4, nodata: float = 0.0, smooth: float = 0.0
):
    """Random classes 0…, smoothed to blobs, with some nodata."""
    scores = rng.standard_normal((classes, *shape)).astype(np.float32)
    if smooth:
        scores = np.stack([cv2.GaussianBlur(s, (0, 0), smooth) for s in scores])
    out = scores.argmax(axis=0).astype(np.uint8)
    holes = rng.standard_normal(shape).astype(np.float32)
    if smooth:
        holes = cv2.GaussianBlur(holes, (0, 0), smooth)
    if nodata:
        out[holes < np.quantile(holes, nodata)] = 255
    return out


def town(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes and confidence of a small town: lawns, curved roads, turned houses, blurred and noisy like a U-Net's."""
    rng = np.random.default_rng(seed)
    classes = np.where(noise(rng, (size, size), classes=3, smooth=25) == 0, 3, 0).astype(np.uint8)
    for _ in range(max(3, size // 200)):
        a, b = rng.uniform(0, size, (2, 2))
        t = np.linspace(-1, 2, 200)[:, None]
        path = a + (b - a) * t + np.sin(6 * t) * rng.uniform(5, 25, 2)
        cv2.polylines(classes, [path.round().astype(np.int32)], False, 2, int(rng.choice([15, 21, 31])))
    for _ in range(size * size // 5000):
        box = cv2.boxPoints((rng.uniform(0, size, 2), rng.uniform(20, 60, 2), rng.uniform(0, 90)))
        cv2.fillPoly(classes, [box.round().astype(np.int32)], 1)
    scores = np.stack([cv2.GaussianBlur((classes == k).astype(np.float32), (0, 0), 2) for k in range(4)])
    bumps = np.stack([cv2.GaussianBlur(n, (0, 0), 3) for n in rng.standard_normal(scores.shape).astype(np.float32)])
    scores += bumps * (0.1 / bumps.std())
    return scores.argmax(axis=0).astype(np.uint8), (scores.max(axis=0).clip(0, 1) * 100).astype(np.uint8)
