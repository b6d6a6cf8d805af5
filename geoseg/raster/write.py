"""The rasters that a scene leaves: the class raster and, if asked, the confidence, as Cloud-Optimized GeoTIFFs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from geoseg.raster import env

# isort: split
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from geoseg.files import atomic, full_disk_told, reason_of, write_error
from geoseg.legend import NODATA
from geoseg.raster.blocks import check_written
from geoseg.raster.checks import Transform
from geoseg.raster.strips import StripRaster
from geoseg.threads import cores

_BLOCK = 512
_THREADS = 4
"""Threads that compress at most; their number changes nothing in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RasterSpec:
    """Where a raster lies and what its values mean."""

    height: int
    width: int
    crs_wkt: str
    """Empty where the scene has none."""
    transform: Transform
    palette: Mapping[int, tuple[int, int, int, int]] | None
    """Class id → RGBA; None for a grey raster."""
    tags: Mapping[str, str]
    """Metadata of the file."""
    resampling: str
    """How overviews are made: mode for classes, average for confidence."""


def is_own(path: Path, tags: Mapping[str, str]) -> bool:
    """Whether a raster has metadata of the names that geoseg's own has."""
    try:
        with rasterio.open(path, driver=env.DRIVER) as dataset:
            return bool(tags.keys() <= dataset.tags().keys())
    except (RasterioError, OSError):
        return False


def write_cog(
    target: Path, source: StripRaster, spec: RasterSpec, replacing: Callable[[Path], None] = lambda _: None
) -> None:
    """Write the rows of `source` as a Cloud-Optimized GeoTIFF, atomically and in bounded memory.

    The bytes depend on the pixels and on `spec` only, not on how the scene was cut into strips. `replacing` is called with
    the whole file before it takes its place.
    """
    with atomic(target) as tmp:
        flat = tmp.with_name(f"{tmp.name}.flat.tif")
        try:
            with full_disk_told(target):
                _write_flat(flat, source, spec)
                rasterio.shutil.copy(
                    flat,
                    tmp,
                    driver="COG",
                    # As small as DEFLATE on classes, and twice as fast.
                    compress="LZW" if spec.palette is not None else "DEFLATE",
                    blocksize=_BLOCK,
                    overview_resampling=spec.resampling.upper(),
                    bigtiff="IF_SAFER",
                    num_threads=str(min(_THREADS, cores())),
                )
                check_written(tmp, target)
                replacing(tmp)
        except CPLE_BaseError as exc:  # which rasterio lets through at the end of a file
            raise write_error(target, reason_of(exc)) from exc
        finally:
            flat.unlink(missing_ok=True)


def _write_flat(path: Path, source: StripRaster, spec: RasterSpec) -> None:
    """A tiled file of full resolution, from which GDAL makes the COG."""
    with rasterio.open(
        path,
        "w",
        driver=env.DRIVER,
        height=spec.height,
        width=spec.width,
        count=1,
        dtype="uint8",
        nodata=NODATA,
        crs=spec.crs_wkt or None,
        transform=rasterio.Affine(*spec.transform),
        tiled=True,
        blockxsize=_BLOCK,
        blockysize=_BLOCK,
        compress="deflate",
        zlevel=1,
        bigtiff="if_safer",
    ) as dst:
        dst.update_tags(**spec.tags)
        if spec.palette is not None:
            dst.write_colormap(1, dict(spec.palette))
        for row in range(0, spec.height, _BLOCK):
            stop = min(row + _BLOCK, spec.height)
            dst.write(source.rows(row, stop), 1, window=RasterioWindow(0, row, spec.width, stop - row))
