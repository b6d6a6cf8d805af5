"""The pixels of a scene, in full-width rows from top to bottom, each block decoded once."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.raster import env

# isort: split
from rasterio._env import set_gdal_config
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import BrokenRaster
from geoseg.files import reason_of
from geoseg.raster.blocks import BlockTable
from geoseg.raster.geotiff import open_geotiff
from geoseg.raster.scene import Scene

_TALL_BLOCK = 1024
"""Blocks taller than this are not read whole at once, but left to GDAL's block cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Full-width rows of a scene."""

    start: int
    """First row."""
    pixels: NDArray[Any]
    """`(bands, rows, width)` in the scene's own type."""
    valid: NDArray[np.bool_]
    """`(rows, width)`, True where every mask of the scene says that there is data."""

    @property
    def stop(self) -> int:
        """Row after the last."""
        return self.start + len(self.valid)


class Buffers:
    """Two buffers of rows that take turns, so that rows given out stay as they are until the call after the next.

    Fresh memory for every read would cost more than the copying.
    """

    def __init__(self, bands: int, width: int, dtype: str) -> None:
        """Of so many bands and columns; they grow as they are asked for."""
        self._shape, self._dtype = (bands, width), dtype
        self._pair = [self._new(0)] * 2

    def next(self, start: int, stop: int) -> Rows:
        """Rows start … stop − 1 of the other buffer, to be filled."""
        self._pair.reverse()
        if len(self._pair[0].valid) < stop - start:
            self._pair[0] = self._new(stop - start)
        return _cut(self._pair[0], 0, stop - start, start)

    def none(self, start: int) -> Rows:
        """No rows, before row `start`."""
        return _cut(self._pair[0], 0, 0, start)

    def _new(self, rows: int) -> Rows:
        bands, width = self._shape
        return Rows(0, np.empty((bands, rows, width), self._dtype), np.empty((rows, width), np.bool_))


class SceneReader:
    """Reads rows in order, keeping those that the next tile row shares. One reader per thread."""

    def __init__(self, scene: Scene, bands: tuple[int, ...], *, tolerant: bool = False) -> None:
        """Open the scene to read `bands` (1-based); raises BrokenRaster where it is no longer what it was.

        A `tolerant` reader takes blocks that cannot be decoded for blocks without data.
        """
        self._scene = scene
        self._tolerant = tolerant
        self._lost: set[_Block] = set()
        self._cut_off: dict[int, int] = {}
        self._bands = bands
        # Alpha is read together with the bands: where pixels are interleaved it lies in the same blocks.
        alpha = scene.alpha_band
        self._reads = bands if alpha is None or alpha in bands else (*bands, alpha)
        self._files = _Files(scene, self._reads)
        self._buffers = Buffers(len(self._reads), scene.width, scene.dtype)
        self._kept: Rows | None = None

    def close(self) -> None:
        """Close the files and give the memory back."""
        self._files.close()
        self._kept = None
        self._buffers = Buffers(len(self._reads), self._scene.width, self._scene.dtype)

    def rows(self, start: int, stop: int) -> Rows:
        """Rows start … stop − 1; cheap when it overlaps the rows asked for before. Valid until the call after the next.

        Raises BrokenRaster where a block cannot be decoded, unless tolerant.
        """
        kept = self._kept
        if kept is None or not kept.start <= start <= kept.stop:
            kept = self._buffers.none(start)
        if kept.stop < stop:
            kept = self._extend(kept, start, self._aligned(stop))
        self._kept = kept
        rows = _cut(kept, start - kept.start, stop - kept.start, start)
        return Rows(start, rows.pixels[: len(self._bands)], rows.valid)

    def lost_pixels(self, start: int, stop: int) -> int:
        """Pixels of rows start … stop − 1 whose block could not be decoded."""
        lost = tuple(self._lost)  # a thread may be reading on
        return sum(max(0, min(stop, b.stop) - max(start, b.start)) * (b.right - b.left) for b in lost)

    def _extend(self, kept: Rows, start: int, stop: int) -> Rows:
        """Rows start … stop − 1 in the other buffer: those at hand are copied, the rest is read."""
        self._kept = None  # until the buffer is full: a read that fails must not leave old rows to be taken for new
        out = self._buffers.next(start, stop)
        have = kept.stop - start
        if have:
            out.pixels[:, :have] = kept.pixels[:, start - kept.start :]
            out.valid[:have] = kept.valid[start - kept.start :]
        for first, last in self._pieces(kept.stop, stop):
            self._read(_cut(out, first - start, last - start, first))
        return out

    def _aligned(self, stop: int) -> int:
        block = self._scene.block_height
        if block > _TALL_BLOCK:
            return stop
        return min(self._scene.height, -(-stop // block) * block)

    def _pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The rows in one read, or in as many as keep GDAL's cache from having to hold two rows of tall blocks."""
        block = self._scene.block_height
        inner = range(-(-start // block) * block, stop, block) if block > _TALL_BLOCK else []
        return list(pairwise(sorted({start, *inner, stop})))

    def _read(self, out: Rows) -> None:
        """Fill `out` from the files."""
        scene = self._scene
        try:
            self._files.read(out)
        except RasterioError as exc:
            if not self._tolerant:
                raise BrokenRaster(
                    f"{scene.path}: rows {out.start}–{out.stop - 1} cannot be decoded ({reason_of(exc)}). Copy the file again from "
                    "its source, or map all but the bad blocks with --on-bad-block nodata."
                ) from exc
            self._salvage(out)
        colors = out.pixels[: len(self._bands)]
        missing = nodata_pixels(colors, scene.nodata)
        if missing is not None:
            np.logical_and(out.valid, ~missing, out=out.valid)
        if len(self._reads) > len(self._bands):
            np.logical_and(out.valid, out.pixels[-1] > 0, out=out.valid)

    def _salvage(self, out: Rows) -> None:
        """Fill `out` block by block, where one of them is bad; raises BrokenRaster where the file itself is gone."""
        scene = self._scene
        try:
            open_geotiff(scene.path).close()
        except RasterioError as exc:
            raise BrokenRaster(f"{scene.path}: can no longer be opened ({exc}).") from exc
        stored_rows = self._files.stored_rows
        for block in _blocks(scene, out.start, out.stop):
            part, strip = _window(out, block), block.start // stored_rows
            try:
                # A tall strip is decoded from its top for each of its rows; from the first bad one on all are lost.
                if block.start < self._cut_off.get(strip, scene.height):
                    self._files.read(part, block.left)
                    continue
            except RasterioError:
                if stored_rows > scene.block_height:
                    self._cut_off[strip] = block.start
            self._lost.add(block)
            part.pixels[:] = 0
            part.valid[:] = False


@dataclass(frozen=True, slots=True)
class _Block:
    """The part of a block that was asked for."""

    start: int
    stop: int
    left: int
    right: int


def _blocks(scene: Scene, start: int, stop: int) -> Iterator[_Block]:
    """The blocks of rows start … stop − 1."""
    high, wide = scene.block_height, scene.block_width
    for top in range(start // high * high, stop, high):
        for left in range(0, scene.width, wide):
            yield _Block(max(start, top), min(stop, top + high), left, min(left + wide, scene.width))


def _window(rows: Rows, block: _Block) -> Rows:
    down, across = slice(block.start - rows.start, block.stop - rows.start), slice(block.left, block.right)
    return Rows(block.start, rows.pixels[:, down, across], rows.valid[down, across])


class _Files:
    """The open files of a scene: the scene itself and the mask beside it."""

    def __init__(self, scene: Scene, bands: tuple[int, ...]) -> None:
        self._scene = scene
        self._bands = bands
        try:
            self._blocks = BlockTable.read(scene.path)
            self._src = open_geotiff(scene.path)
            self._by_band = self._one_each()
            self._mask = open_geotiff(scene.mask_file) if scene.mask_file else None
        except (RasterioError, OSError) as exc:
            raise BrokenRaster(f"{scene.path}: can no longer be opened ({exc}). Start the run anew.") from exc
        is_ = (self._src.shape, self._src.dtypes[0], scene.path.stat().st_size)
        if is_ != ((scene.height, scene.width), scene.dtype, scene.file_bytes):
            raise BrokenRaster(f"{scene.path}: is not the file that was planned with. Start the run anew.")
        set_cache(tall_block_bytes(scene))

    def close(self) -> None:
        """Close the files and give back the cache."""
        for file in (self._src, self._mask, *self._by_band):
            if file is not None:
                file.close()
        set_cache(0)

    def read(self, out: Rows, left: int = 0) -> None:
        """Fill `out`, which begins at column `left`, with pixels, and with what the masks in the files say.

        Raises RasterioError.
        """
        scene, valid = self._scene, out.valid
        height, width = valid.shape
        window = RasterioWindow(left, out.start, width, height)
        if self._by_band:
            for file, band, plane in zip(self._by_band, self._bands, out.pixels, strict=True):
                file.read(band, out=plane, window=window)
        else:
            self._src.read(list(self._bands), out=out.pixels, window=window)
        blocks = self._blocks
        valid[:] = True
        if blocks.any_missing:
            valid[:] = blocks.written(out.start, out.stop, scene.width, self._bands)[:, left : left + width]
        if scene.has_mask:
            valid &= self._src.read_masks(self._bands[0], window=window) > 0
        if self._mask is not None:
            valid &= (self._mask.read(window=window) > 0).all(axis=0)

    @property
    def stored_rows(self) -> int:
        """Rows of a block as stored."""
        return self._blocks.block_shape[0]

    def _one_each(self) -> list[Any]:
        """A file for each band, where bands are stored apart in strips so tall that GDAL decodes them row by row.

        One file would start again from the top of the strip whenever it changes the band.
        """
        split = self._blocks.block_shape[0] > self._src.block_shapes[0][0]
        apart = self._blocks.planes > 1 and len(self._bands) > 1
        return [open_geotiff(self._scene.path) for _ in self._bands] if split and apart else []


def tall_block_bytes(scene: Scene) -> int:
    """What GDAL's block cache needs for a file above the usual: room for a whole row of blocks where they are tall."""
    if scene.block_height <= _TALL_BLOCK:
        return 0
    width = -(-scene.width // scene.block_width) * scene.block_width
    return int(1.1 * scene.block_height * width * scene.band_count * np.dtype(scene.dtype).itemsize)


def set_cache(extra_bytes: int) -> None:
    """Give GDAL's block cache its usual size and so much more; for all of the process, as there is one."""
    set_gdal_config("GDAL_CACHEMAX", env.CACHE_BYTES + extra_bytes)


def nodata_pixels(pixels: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Where there is no data, `(rows, width)`: all bands equal `nodata`, or any band is not finite.

    None where neither can be. All bands and not any: 0 is a common nodata value and a legitimate value of a dark band.
    """
    missing: NDArray[np.bool_] | None = None
    if nodata is not None and np.isfinite(nodata) and _representable(nodata, pixels.dtype):
        missing = np.logical_and.reduce([band == pixels.dtype.type(nodata) for band in pixels])
    if np.issubdtype(pixels.dtype, np.floating):
        broken = ~np.logical_and.reduce([np.isfinite(band) for band in pixels])
        missing = broken if missing is None else missing | broken
    return missing


def _representable(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a pixel of this type can hold the value; a nodata value of −9999 marks nothing among bytes."""
    if np.issubdtype(dtype, np.floating):
        return abs(value) <= float(np.finfo(dtype).max)
    info = np.iinfo(dtype)
    return info.min <= value <= info.max and float(value).is_integer()


def _cut(rows: Rows, first: int, stop: int, start: int) -> Rows:
    """Rows first … stop − 1 of the buffer, which are row `start` and on of the scene."""
    return Rows(start, rows.pixels[:, first:stop], rows.valid[first:stop])
