"""What makes a file unfit to be mapped. Each check looks at the header and raises with one line."""

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from rasterio.crs import CRS
from rasterio.enums import Interleaving
from rasterio.errors import CRSError, RasterioError

from geoseg.errors import BrokenRaster, ConfigError, ContractError, NotARaster, NotGeoreferenced
from geoseg.raster.blocks import BlockTable
from geoseg.raster.geotiff import open_geotiff

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUSPECT_BYTES = 64 * 2**20
"""Decoded sizes below this are not asked how they fit into so small a file."""
_TURN_PX = 1e-3
"""A grid whose corners a rotation moves by less than this, in pixels, is north-up: rounding did it."""

Transform = tuple[float, float, float, float, float, float]
"""Affine coefficients (a, b, c, d, e, f): x = a·col + b·row + c, y = d·col + e·row + f."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes beyond which a header is not believed."""

    max_pixels: int = 400_000_000_000
    """Height × width of a scene."""
    max_block_bytes: int = 256 * 2**20
    """One decoded TIFF block: GDAL allocates it whole, whatever part is read."""
    max_bands: int = 64
    max_ratio: int = 100_000
    """Decoded bytes per stored byte; deflate reaches 1,032 and zstd 32,768 on a scene of one colour."""


def check_file(path: Path) -> None:
    """Raise NotARaster unless `path` is a regular file that begins like a TIFF, without waiting on a pipe."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            raise NotARaster(f"{path}: {what}, but a GeoTIFF file is needed. Name a file.")
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as exc:
        raise NotARaster(
            f"{path}: cannot be read ({exc.strerror}). Check that it is there and that you may read it."
        ) from exc
    if head[:4] in _TIFF_MAGIC:
        return
    if not head:
        raise NotARaster(f"{path}: empty (0 bytes), but a GeoTIFF is needed. Copy it again from its source.")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise NotARaster(
            f"{path}: an XML description (VRT, WMS …) named .tif, but geoseg opens only GeoTIFFs. Name the file it points to."
        )
    raise NotARaster(
        f"{path}: not a TIFF (begins with {head[:4]!r}), but geoseg reads only GeoTIFFs. Convert it with gdal_translate."
    )


def check_sizes(path: Path, src: Any, blocks: BlockTable, limits: Limits) -> None:
    """Raise BrokenRaster where the header declares more than the limits, ContractError for pixels of no usable type."""
    if src.width * src.height > limits.max_pixels:
        raise BrokenRaster(
            f"{path}: declares {src.width} × {src.height} pixels, over the limit of {limits.max_pixels:,}. If that is true, `geoseg map` takes it with a higher limits.max_pixels."
        )
    if src.count > limits.max_bands:
        raise BrokenRaster(
            f"{path}: declares {src.count} bands, over the limit of {limits.max_bands}. If that is true, `geoseg map` takes it with a higher limits.max_bands."
        )
    rows, cols = src.block_shapes[0]
    per_block = src.count if src.interleaving == Interleaving.pixel else 1
    block_bytes = rows * cols * _itemsize(path, src) * per_block
    if block_bytes > limits.max_block_bytes:
        raise BrokenRaster(
            f"{path}: one block of {cols} × {rows} pixels takes {block_bytes / 2**20:,.0f} MiB, over the limit of "
            f"{limits.max_block_bytes / 2**20:,.0f}. Rewrite it tiled (gdal_translate -co TILED=YES), or give `geoseg map` a higher limits.max_block_bytes."
        )
    # GDAL shows a tall strip as many blocks of one row, but reads it whole where it is compressed.
    stored = max(int(directory.sizes.max(initial=0)) for directory in blocks.directories)
    if src.compression is not None and stored > limits.max_block_bytes:
        raise BrokenRaster(
            f"{path}: one compressed block takes {stored / 2**20:,.0f} MiB in the file, over the limit of "
            f"{limits.max_block_bytes / 2**20:,.0f}. Rewrite it tiled (gdal_translate -co TILED=YES), or give `geoseg map` a higher limits.max_block_bytes."
        )
    stored_rows, stored_cols = blocks.block_shape
    _check_ratio(path, block_bytes * stored_rows * stored_cols // (rows * cols), blocks, limits)


def _check_ratio(path: Path, block_bytes: int, blocks: BlockTable, limits: Limits) -> None:
    """Blocks that were never written take no place, so they do not count."""
    declared = block_bytes * blocks.written_blocks
    stored = path.stat().st_size
    if declared > _SUSPECT_BYTES and declared > limits.max_ratio * stored:
        raise BrokenRaster(
            f"{path}: {stored:,} bytes declare {declared:,} bytes of pixels, over {limits.max_ratio:,} to 1. If that is true, `geoseg map` takes it with a higher limits.max_ratio."
        )


def _itemsize(path: Path, src: Any) -> int:
    """Bytes of a value; raises ContractError unless all bands hold whole or real numbers of one type."""
    kinds = sorted(set(src.dtypes))
    kind = str(kinds[0])
    known = kind in np.sctypeDict and np.dtype(kind).kind in "uif"
    if len(kinds) > 1 or not known:
        raise ContractError(
            f"{path}: pixels of type {', '.join(map(str, kinds))}, but one type of whole or real numbers is needed. "
            "Convert it with gdal_translate -ot."
        )
    return np.dtype(kind).itemsize


def check_mask_file(mask: Path, shape: tuple[int, int], limits: Limits) -> None:
    """Raise BrokenRaster unless the mask beside a scene is a whole GeoTIFF of the scene's `shape` (rows, columns)."""
    advice = "Remove it to map without a mask, or copy it again from its source."
    try:
        check_file(mask)
        blocks = BlockTable.read(mask)
        blocks.check_whole()
        with open_geotiff(mask) as src:
            check_sizes(mask, src, blocks, limits)
            got = src.shape
    except (NotARaster, ContractError, RasterioError) as exc:
        raise BrokenRaster(f"{mask}: not a mask ({exc}). {advice}") from exc
    if got != shape:
        raise BrokenRaster(
            f"{mask}: a mask of {got[1]} × {got[0]} pixels, but its scene has {shape[1]} × {shape[0]}. {advice}"
        )


def georeference(path: Path, src: Any, *, optional: bool) -> tuple[CRS | None, Transform]:
    """The CRS and the north-up geotransform of an open scene; no CRS where it has none and that is `optional`.

    Raises NotGeoreferenced.
    """
    try:
        crs = _crs(path, src)
    except NotGeoreferenced:
        if not optional:
            raise
        crs = None
    transform: Transform = tuple(src.transform[:6])
    if crs is None:
        return None, transform
    transform = north_up(path, transform, src.shape)
    _check_on_earth(path, crs, transform, src.shape)
    return crs, transform


def _check_proj() -> None:
    """Raise ConfigError where PROJ cannot read its own database: then every CRS looks like none."""
    try:
        works = CRS.from_epsg(4326).is_geographic
    except CRSError:
        works = False
    if not works:
        places = [f"{k}={os.environ[k]}" for k in ("PROJ_DATA", "PROJ_LIB") if k in os.environ]
        raise ConfigError(
            f"no CRS can be understood: PROJ cannot read its database ({', '.join(places) or 'its installation is broken'}). "
            "Unset PROJ_DATA and PROJ_LIB where they are those of another program."
        )


def _crs(path: Path, src: Any) -> CRS:
    """The CRS of a scene that has a grid; raises NotGeoreferenced where either is missing."""
    as_is = "or take it as it is with --allow-ungeoreferenced"
    if src.transform.is_identity:
        points = len(src.gcps[0])
        by = f"{points} ground control points" if points else "rational polynomials (RPC)" if src.rpcs else ""
        if by:
            raise NotGeoreferenced(
                f"{path}: georeferenced by {by}, but a regular grid is needed. Warp it with gdalwarp, {as_is}."
            )
        raise NotGeoreferenced(
            f"{path}: no geotransform, but a north-up grid is needed. Set it with gdal_edit.py -a_ullr, {as_is}."
        )
    try:
        crs = src.crs
    except CRSError as exc:
        raise NotGeoreferenced(
            f"{path}: its CRS cannot be understood ({exc}). Set it with gdal_edit.py -a_srs, {as_is}."
        ) from exc
    if not crs:
        raise NotGeoreferenced(
            f"{path}: no CRS, but a projected or geographic one is needed. Set it with gdal_edit.py -a_srs, {as_is}."
        )
    if not (crs.is_projected or crs.is_geographic):
        _check_proj()
        raise NotGeoreferenced(
            f"{path}: its CRS '{_crs_name(crs)}' is local, geocentric or vertical, but a projected or geographic one "
            f"is needed. Set it with gdal_edit.py -a_srs, {as_is}."
        )
    return crs


def _crs_name(crs: CRS) -> str:
    parts = crs.to_wkt().split('"')
    return parts[1] if len(parts) > 1 else "unknown"


def north_up(path: Path, transform: Transform, shape: tuple[int, int]) -> Transform:
    """The transform without rotation; raises NotGeoreferenced unless it is north-up, finite and believable."""
    a, b, c, d, e, f = transform
    if not all(math.isfinite(v) for v in transform):
        raise NotGeoreferenced(f"{path}: its geotransform {transform} is not finite. Georeference it anew.")
    if abs(b) * shape[0] > _TURN_PX * abs(a) or abs(d) * shape[1] > _TURN_PX * abs(e):
        raise NotGeoreferenced(
            f"{path}: its grid is rotated or sheared {transform}, but must be north-up. Warp it with gdalwarp."
        )
    if a < 0 or e > 0:
        raise NotGeoreferenced(
            f"{path}: its grid is south-up or mirrored (pixel size {a}, {e}), but must be north-up. Warp it with gdalwarp."
        )
    if not (1e-12 < a < 1e7 and 1e-12 < -e < 1e7):
        raise NotGeoreferenced(f"{path}: its pixel size {a}, {e} is not believable. Georeference it anew.")
    return a, 0.0, c, 0.0, e, f


def _has_place(crs: CRS, west: float, east: float, south: float, north: float) -> bool:
    """Whether the middle of a projected grid has a longitude and a latitude; a site's own system is nowhere on the Earth."""
    flat = pyproj.CRS.from_wkt(crs.to_wkt()).to_2d()
    if flat.geodetic_crs is None:
        return True
    to_degrees = pyproj.Transformer.from_crs(flat, flat.geodetic_crs.to_2d(), always_xy=True)
    return all(map(math.isfinite, to_degrees.transform((west + east) / 2, (south + north) / 2)))


def _check_on_earth(path: Path, crs: CRS, transform: Transform, shape: tuple[int, int]) -> None:
    """Raise NotGeoreferenced where the scene has no place in its CRS: its grid is that of another one."""
    a, _, west, _, e, north = transform
    south, east = north + e * shape[0], west + a * shape[1]
    if crs.is_geographic:
        turn = 2 * math.pi / crs.units_factor[1]
        believable = max(abs(south), abs(north)) <= turn / 4 - e and max(abs(west), abs(east)) <= turn + a
    else:
        believable = max(map(abs, (south, north, west, east))) < 1e9 and _has_place(crs, west, east, south, north)
    if not believable:
        raise NotGeoreferenced(
            f"{path}: its corners ({west:g}, {north:g}) and ({east:g}, {south:g}) do not lie in '{_crs_name(crs)}'. "
            "Set the right CRS with gdal_edit.py -a_srs."
        )
