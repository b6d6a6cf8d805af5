"""A mosaic: GeoTIFFs on one lattice of pixels, seen as one scene.

    a.tif  +-------+
           |   +---+---+  b.tif
           +---+---+   |
               +-------+

The mosaic is the rectangle around all of them. Where files overlap, the last one in the order of their paths that has data
there is seen, the others below it; where none has, there is no data.
"""

import hashlib
import os
import resource
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from geoseg.errors import BrokenRaster, ContractError, NotGeoreferenced
from geoseg.raster.aligned import PixelGrid
from geoseg.raster.checks import Limits
from geoseg.raster.read import Buffers, Rows, SceneReader, set_cache, tall_block_bytes
from geoseg.raster.scene import Part, Scene


def mosaic_of(files: Sequence[Scene], limits: Limits | None = None) -> Scene:
    """The files as one scene, from the lowest to the topmost; its path is the folder that they all lie in.

    Raises:
        NotGeoreferenced: files without a CRS, or that lie on different lattices of pixels.
        ContractError: pixels of different types.
        BrokenRaster: a rectangle around the files beyond the limits.
    """
    limits = limits or Limits()
    offsets = np.array(_offsets(files))
    sizes = np.array([(file.height, file.width) for file in files])
    start, stop = offsets.min(axis=0), (offsets + sizes).max(axis=0)
    height, width = (int(n) for n in stop - start)
    folder = folder_of([file.path for file in files])
    if height * width > limits.max_pixels:
        raise BrokenRaster(
            f"{folder}: a mosaic of {width} × {height} pixels, over the limit of {limits.max_pixels:,}. Make one of each "
            "place, or give `geoseg map` a higher limits.max_pixels."
        )
    # One object for all that spell CRS and colours alike: a mosaic travels with each of its strips.
    crs: dict[str, str] = {}
    colors: dict[tuple[str, ...], tuple[str, ...]] = {}
    alike = (
        replace(f, crs_wkt=crs.setdefault(f.crs_wkt, f.crs_wkt), colors=colors.setdefault(f.colors, f.colors))
        for f in files
    )
    parts = tuple(Part(f, *place) for f, place in zip(alike, (offsets - start).tolist(), strict=True))
    a, b, _, d, e, _ = files[0].transform
    top, left = (files[int(i)] for i in offsets.argmin(axis=0))  # their origins are taken as they are, to the last bit
    return Scene(
        path=folder,
        height=height,
        width=width,
        band_count=files[0].band_count,
        alpha_band=files[0].alpha_band,
        colors=files[0].colors,
        has_palette=any(file.has_palette for file in files),
        dtype=files[0].dtype,
        nodata=None,
        mask_file=None,
        has_mask=any(file.has_mask for file in files),
        crs_wkt=files[0].crs_wkt,
        transform=(a, b, left.transform[2], d, e, top.transform[5]),
        block_height=max(file.block_height for file in files),
        block_width=max(file.block_width for file in files),
        unwritten_blocks=sum(file.unwritten_blocks for file in files),
        blocks=sum(file.blocks for file in files),
        file_bytes=sum(file.file_bytes for file in files),
        identity=_identity(parts),
        parts=parts,
    )


def folder_of(paths: Sequence[Path]) -> Path:
    """The folder that all files of a mosaic lie in."""
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def _offsets(files: Sequence[Scene]) -> list[tuple[int, int]]:
    """Row and column of the first pixel of each file, counted from those of the first file."""
    for file in files:
        if not file.crs_wkt:
            raise NotGeoreferenced(
                f"{file.path}: no CRS, but the files of a mosaic need one to be laid side by side. Set it with "
                "gdal_edit.py -a_srs."
            )
    common, count = Counter(file.dtype for file in files).most_common(1)[0]
    for file in files:
        if file.dtype != common:
            raise ContractError(
                f"{file.path}: pixels of type {file.dtype}, but {count} of the {len(files)} files of the mosaic have {common}. "
                "Convert it with gdal_translate -ot."
            )
    found = _offsets_from(files[0], files)
    if None in found:
        # The odd one is to be named, and that may be the first.
        other = files[found.index(None)]
        back = _offsets_from(other, files)
        first, found = (files[0], found) if found.count(None) <= back.count(None) else (other, back)
        odd = files[found.index(None)]
        raise NotGeoreferenced(
            f"{odd.path}: its pixels do not lie on the lattice of the mosaic, on which {len(files) - found.count(None)} of "
            f"its {len(files)} files lie, such as {first.path}: "
            f"{PixelGrid.of_scene(first).unlike(PixelGrid.of_scene(odd))}. Warp it there with gdalwarp -t_srs -tr -te, or leave it out."
        )
    return [offset for offset in found if offset is not None]


def _offsets_from(first: Scene, files: Sequence[Scene]) -> list[tuple[int, int] | None]:
    grid = PixelGrid.of_scene(first)
    return [grid.offset_of(PixelGrid.of_scene(file)) for file in files]


def _identity(parts: tuple[Part, ...]) -> str:
    """sha256 over what the files are and where they lie."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part.scene.identity} {part.row} {part.col}\n".encode())
    return digest.hexdigest()


def covered(scene: Scene) -> float:
    """At most this share of a mosaic's rectangle has a file; 1 of a single file."""
    return min(1.0, sum(file.height * file.width for file in scene.files) / (scene.height * scene.width))


def side_by_side(scene: Scene, weight: Callable[[Scene], int]) -> int:
    """The largest sum of `weight` over files of a scene that share a row: they are open at the same time."""
    if not scene.parts:
        return weight(scene)
    # Those that end come before those that begin.
    ends = sorted(
        (row, w) for p in scene.parts for row, w in ((p.row, weight(p.scene)), (p.row_stop, -weight(p.scene)))
    )
    return int(np.cumsum([w for _, w in ends]).max())


def cache_bytes(scene: Scene) -> int:
    """What GDAL's block cache needs above the usual while a scene is read."""
    return side_by_side(scene, tall_block_bytes)


def open_rows(scene: Scene, bands: tuple[int, ...], *, tolerant: bool = False) -> "SceneReader | MosaicReader":
    """A reader of `bands` (1-based) of a file or a mosaic; see `SceneReader`."""
    kind = MosaicReader if scene.parts else SceneReader
    return kind(scene, bands, tolerant=tolerant)


def _allow_open_files() -> None:
    """As many as the system lets this process ask for: a wide mosaic of small files has many side by side."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class MosaicReader:
    """Reads rows of a mosaic in order as a `SceneReader` does those of a file. One reader per thread.

    Files are opened when their first row is asked for, and closed after their last.
    """

    def __init__(self, scene: Scene, bands: tuple[int, ...], *, tolerant: bool = False) -> None:
        """Prepare to read `bands` (1-based) of every file; opens none."""
        self._scene = scene
        self._bands = bands
        self._tolerant = tolerant
        self._open: dict[int, SceneReader] = {}
        self._closed: dict[int, SceneReader] = {}  # they know what was lost
        self._cache = cache_bytes(scene)
        _allow_open_files()
        self._buffers = Buffers(len(bands), scene.width, scene.dtype)

    def close(self) -> None:
        """Close the files."""
        for index in tuple(self._open):
            self._close(index)
        set_cache(0)

    def rows(self, start: int, stop: int) -> Rows:
        """Rows start … stop − 1, valid until the call after the next.

        Raises BrokenRaster where a file is no longer what it was, or, unless tolerant, where a block cannot be decoded.
        """
        out = self._buffers.next(start, stop)
        out.pixels[:] = 0
        out.valid[:] = False
        for index, part in enumerate(self._scene.parts):
            if part.row_stop <= start:
                self._close(index)
            elif part.row < stop:
                self._lay(out, part, self._reader(index))
        return out

    def lost_pixels(self, start: int, stop: int) -> int:
        """Pixels of rows start … stop − 1 of the files whose block could not be decoded."""
        parts = self._scene.parts
        # Those that are open first: while a thread reads on, one may be closed between the two, and is found again.
        readers = dict(self._open) | dict(self._closed)
        return sum(r.lost_pixels(start - parts[i].row, stop - parts[i].row) for i, r in readers.items())

    def _lay(self, out: Rows, part: Part, reader: SceneReader) -> None:
        """Lay a file over what lies below it; where it has no data, that stays, and where nothing lies its own pixels do."""
        first, last = max(out.start, part.row), min(out.stop, part.row_stop)
        rows = reader.rows(first - part.row, last - part.row)
        down, across = slice(first - out.start, last - out.start), slice(part.col, part.col + part.scene.width)
        pixels, valid = out.pixels[:, down, across], out.valid[down, across]
        if valid.any():
            np.copyto(pixels, rows.pixels, where=rows.valid | ~valid)
        else:
            pixels[:] = rows.pixels
        valid |= rows.valid

    def _reader(self, index: int) -> SceneReader:
        if index not in self._open:
            self._closed.pop(index, None)
            self._open[index] = SceneReader(self._scene.parts[index].scene, self._bands, tolerant=self._tolerant)
            set_cache(self._cache)  # the file asked for what it needs alone
        return self._open[index]

    def _close(self, index: int) -> None:
        if (reader := self._open.get(index)) is not None:
            reader.close()
            self._closed[index] = reader
            del self._open[index]
            set_cache(self._cache)
