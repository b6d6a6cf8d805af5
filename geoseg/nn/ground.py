"""Where training images lie: pixel size on the ground, split by ground, mosaics."""

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.transform import Affine
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.errors import TrainingError
from geoseg.raster.aligned import PixelGrid
from geoseg.raster.read import SceneReader
from geoseg.raster.scene import Scene, inspect
from geoseg.train_config import Ground as Degrees

_ROWS = 1024
"""Rows that are read at once."""
_GEOD = pyproj.Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class ImageGrid:
    """The pixel grid of a georeferenced image."""

    transform: Affine
    crs_wkt: str
    shape: tuple[int, int]
    """Height and width in pixels."""

    @property
    def pixel_size_m(self) -> float:
        """Mean side of the centre pixel on the ground, in metres, whatever the CRS."""
        row, col = self.shape[0] / 2, self.shape[1] / 2
        to_degrees = pyproj.Transformer.from_crs(self.crs_wkt, "EPSG:4326", always_xy=True)
        xs, ys = zip(*(self.transform @ p for p in ((col, row), (col + 1, row), (col, row + 1))), strict=True)
        lon, lat = to_degrees.transform(xs, ys)
        _, _, along = _GEOD.inv([lon[0]] * 2, [lat[0]] * 2, lon[1:], lat[1:])
        return float(np.sqrt(along[0] * along[1]))

    @property
    def outline(self) -> Any:
        """As a shapely polygon in its CRS."""
        height, width = self.shape
        return shapely.Polygon([self.transform @ p for p in ((0, 0), (width, 0), (width, height), (0, height))])

    @property
    def footprint(self) -> Any:
        """The outline in degrees (EPSG:4326)."""
        return _reproject(self.outline, self.crs_wkt, "EPSG:4326")

    def moved(self, row: int, col: int, shape: tuple[int, ...]) -> "ImageGrid":
        """The grid of a window of this one."""
        return ImageGrid(self.transform @ Affine.translation(col, row), self.crs_wkt, (shape[0], shape[1]))


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Images that lie on one pixel grid."""

    grid: ImageGrid
    indices: tuple[int, ...]
    """Which of the images."""
    offsets: tuple[tuple[int, int], ...]
    """Row and column of each one's first pixel."""


def read_geotiff(
    path: Path, bands: tuple[str, ...], dtype: str, numbers: tuple[int, ...] | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_], ImageGrid | None]:
    """A GeoTIFF whole: pixels (H, W, bands), 0 where they are not valid, valid (H, W), and its grid where it has a CRS.

    Bands are the `numbers`, else those that the file calls by the names in `bands`, else all but alpha. Raises TrainingError
    where these are not as many, and for pixels of another type or indices into a palette.
    """
    scene = inspect(path, allow_ungeoreferenced=True)
    if scene.dtype != dtype:
        raise TrainingError(f"{path}: pixels of type {scene.dtype}, but the model takes {dtype}. Convert it first.")
    if scene.has_palette:
        raise TrainingError(f"{path}: indices into a palette. Expand its colours with gdal_translate -expand rgb.")
    chosen = numbers or scene.bands_called(bands) or scene.color_bands
    if max(chosen) > scene.band_count:
        raise TrainingError(
            f"{path}: `bands` of the source name {max(chosen)}, but there are {scene.band_count} bands."
        )
    if len(chosen) > len(bands):
        raise TrainingError(
            f"{path}: {scene.band_count} bands, but {len(bands)} are needed ({', '.join(bands)}). Name those under `bands` of "
            "the source, such as [3, 2, 1]."
        )
    return *_read(scene, chosen, len(bands)), _grid(scene)


def read_labels(path: Path, named: Collection[int], grid: ImageGrid | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The first band of a GeoTIFF, (H, W), and where it says something.

    Nodata says nothing, unless that value is one of those `named`: 0/1 masks often call their 0 nodata.
    Raises TrainingError where it does not lie on the `grid` of its image; where one has no CRS, that is taken on trust.
    """
    scene = inspect(path, allow_ungeoreferenced=True)
    own = _grid(scene)
    if grid is not None and own is not None and _pixel_grid(grid).offset_of(_pixel_grid(own)) != (0, 0):
        raise TrainingError(
            f"{path}: does not lie on the pixels of its image (another place, pixel size or CRS). Warp it there with gdalwarp."
        )
    if scene.nodata in named:
        scene = replace(scene, nodata=None)
    values, says = _read(scene, scene.color_bands[:1], 1)
    return values[..., 0], says


def _grid(scene: Scene) -> ImageGrid | None:
    shape = scene.height, scene.width
    return ImageGrid(Affine(*scene.transform), scene.crs_wkt, shape) if scene.crs_wkt else None


def _pixel_grid(grid: ImageGrid) -> PixelGrid:
    a, b, c, d, e, f = grid.transform[:6]
    return PixelGrid(*grid.shape, grid.crs_wkt, (a, b, c, d, e, f))


def _read(scene: Scene, bands: tuple[int, ...], needed: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pixels (H, W, bands), 0 where they are not valid: NaN would spread when windows are resampled."""
    if len(bands) < needed:
        raise TrainingError(f"{scene.path}: {len(bands)} bands, but {needed} are needed.")
    pixels = np.empty((scene.height, scene.width, len(bands)), scene.dtype)
    valid = np.empty(pixels.shape[:2], np.bool_)
    with closing(SceneReader(scene, bands)) as reader:
        for start in range(0, scene.height, _ROWS):
            own = slice(start, min(start + _ROWS, scene.height))
            rows = reader.rows(own.start, own.stop)
            valid[own] = rows.valid
            pixels[own] = np.moveaxis(np.where(rows.valid, rows.pixels, 0), 0, -1)
    return pixels, valid


def ground_mask(grid: ImageGrid, ground: Degrees) -> NDArray[np.bool_]:
    """(H, W) true for pixels whose centre lies in the box of degrees `ground`."""
    box = shapely.segmentize(shapely.box(*ground), max(ground[2] - ground[0], ground[3] - ground[1]) / 64)
    outline = _reproject(box, "EPSG:4326", grid.crs_wkt)
    return np.asarray(geometry_mask([outline], grid.shape, grid.transform, invert=True), np.bool_)


def mosaic_offsets(grids: list[ImageGrid | None], paths: list[Path]) -> list[Mosaic]:
    """Groups of images with the same CRS and pixel size that touch, each laid out on one grid."""
    groups: dict[tuple[str, float], list[tuple[int, ImageGrid]]] = {}
    for index, (grid, path) in enumerate(zip(grids, paths, strict=True)):
        if grid is None:
            raise TrainingError(f"{path}: no CRS, so it cannot be put into a mosaic.")
        groups.setdefault((grid.crs_wkt, float(f"{grid.transform.a:.3g}")), []).append((index, grid))
    return [mosaic for members in groups.values() for mosaic in _lay_out(members)]


def _lay_out(members: list[tuple[int, ImageGrid]]) -> Iterator[Mosaic]:
    """One mosaic for each set of images that touch: between others would be nothing but emptiness."""
    first = members[0][1]
    corners = np.array([~first.transform @ (g.transform.c, g.transform.f) for _, g in members])
    start = np.rint(corners[:, ::-1]).astype(np.int64)
    stop = start + [g.shape for _, g in members]
    boxes = shapely.box(start[:, 1], start[:, 0], stop[:, 1], stop[:, 0])
    touching = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    links = coo_array((np.ones(touching.shape[1]), touching), shape=(len(boxes),) * 2)
    count, part = connected_components(links, directed=False)
    for own in (np.flatnonzero(part == i) for i in range(count)):
        low, high = start[own].min(axis=0), stop[own].max(axis=0)
        grid = first.moved(int(low[0]), int(low[1]), (int(high[0] - low[0]), int(high[1] - low[1])))
        offsets = tuple((int(row), int(col)) for row, col in start[own] - low)
        yield Mosaic(grid, tuple(members[i][0] for i in own), offsets)


def _reproject(shape: Any, source_crs: str, target_crs: str) -> Any:
    transform = pyproj.Transformer.from_crs(source_crs, target_crs, always_xy=True).transform
    return shapely.transform(shape, transform, interleaved=False)
