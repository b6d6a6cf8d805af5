"""A scene: one GeoTIFF, or a mosaic of several, known by their headers. Nothing here reads pixels."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError

from geoseg.errors import BrokenRaster, NotARaster, NotGeoreferenced
from geoseg.raster.blocks import BlockTable
from geoseg.raster.checks import Limits, Transform, check_file, check_mask_file, check_sizes, georeference
from geoseg.raster.geotiff import open_geotiff

_SAMPLE_BYTES = 64 * 1024
_SAMPLES = 16


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a mosaic, and where its first pixel lies."""

    scene: "Scene"
    row: int
    col: int

    @property
    def row_stop(self) -> int:
        """Row of the mosaic after its last."""
        return self.row + self.scene.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the header of a GeoTIFF says; pickles in about a kilobyte and holds no open file."""

    path: Path
    """The file; of a mosaic, the folder that all of its files lie in."""
    height: int
    width: int
    band_count: int
    """Bands in the file, an alpha band included."""
    alpha_band: int | None
    """1-based band that says where the scene is valid."""
    colors: tuple[str, ...]
    """What the file calls each band: `red`, `green`, `blue`, `gray`, `undefined` …"""
    has_palette: bool
    """Whether pixels are indices of colours."""
    dtype: str
    """numpy name, the same for all bands."""
    nodata: float | None
    mask_file: Path | None
    """External mask beside the scene: `scene.tif.msk`."""
    has_mask: bool
    """Whether the file holds an internal mask."""
    crs_wkt: str
    """Empty where the scene has no CRS."""
    transform: Transform
    block_height: int
    block_width: int
    unwritten_blocks: int
    """Blocks that were never written; they hold no data."""
    blocks: int
    file_bytes: int
    identity: str
    """sha256 over size, time of change and samples of the content of file and mask."""
    parts: tuple[Part, ...] = ()
    """The files of a mosaic from the lowest to the topmost; a single file has none."""

    @property
    def files(self) -> tuple["Scene", ...]:
        """The scene itself, or each file of a mosaic."""
        return tuple(part.scene for part in self.parts) or (self,)

    @property
    def label(self) -> str:
        """What it is called in texts for people."""
        return f"{self.path.name} (a mosaic of {len(self.parts)})" if self.parts else self.path.name

    def bands_called(self, names: tuple[str, ...]) -> tuple[int, ...] | None:
        """The 1-based bands that the file calls so, in the order of `names`; None unless it calls one band by each."""
        if any(self.colors.count(name) != 1 for name in names):
            return None
        return tuple(self.colors.index(name) + 1 for name in names)

    @property
    def color_bands(self) -> tuple[int, ...]:
        """1-based bands without the alpha band."""
        return tuple(b for b in range(1, self.band_count + 1) if b != self.alpha_band)


def inspect(path: Path, limits: Limits | None = None, *, allow_ungeoreferenced: bool = False) -> Scene:
    """Read the header of a GeoTIFF and refuse, each with one line, what cannot be mapped exactly or safely.

    Raises:
        NotARaster: not a GeoTIFF, or a VRT or XML that is named like one.
        BrokenRaster: truncated, or a size beyond the limits.
        NotGeoreferenced: no CRS or geotransform, or a rotated, sheared, south-up or non-finite one.
        ContractError: pixels of a type that no model takes.
    """
    limits = limits or Limits()
    check_file(path)
    try:
        blocks = BlockTable.read(path)
        blocks.check_whole()
        with open_geotiff(path) as src:
            check_sizes(path, src, blocks, limits)
            return _scene(path, src, blocks, limits, optional=allow_ungeoreferenced)
    except RasterioError as exc:
        raise BrokenRaster(f"{path}: GDAL cannot open it as a GeoTIFF ({exc}). Copy it again from its source.") from exc
    except UnicodeEncodeError as exc:
        raise NotARaster(f"{path}: its name is not UTF-8 text, which GDAL needs. Rename it.") from exc
    except UnicodeDecodeError as exc:  # rasterio reads the name of the CRS as it opens the file
        raise NotGeoreferenced(
            f"{path}: the name of its CRS is not UTF-8 text. Set the CRS anew with gdal_edit.py -a_srs."
        ) from exc
    except OSError as exc:
        raise NotARaster(f"{path}: cannot be read ({exc.strerror}). Check the disk it lies on.") from exc


def _scene(path: Path, src: Any, blocks: BlockTable, limits: Limits, *, optional: bool) -> Scene:
    crs, transform = georeference(path, src, optional=optional)
    colors = src.colorinterp
    flags = src.mask_flag_enums[0]
    mask_file = Path(f"{path}.msk")
    if mask_file.is_file():
        check_mask_file(mask_file, src.shape, limits)
    return Scene(
        path=path.absolute(),  # workers may run elsewhere
        height=src.height,
        width=src.width,
        band_count=src.count,
        alpha_band=colors.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colors else None,
        colors=tuple(c.name for c in colors),
        has_palette=ColorInterp.palette in colors,
        dtype=src.dtypes[0],
        nodata=src.nodata,
        mask_file=mask_file.absolute() if mask_file.is_file() else None,
        has_mask=MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags,
        crs_wkt=crs.to_wkt() if crs else "",
        transform=transform,
        block_height=src.block_shapes[0][0],
        block_width=src.block_shapes[0][1],
        unwritten_blocks=blocks.count - blocks.written_blocks,
        blocks=blocks.count,
        file_bytes=path.stat().st_size,
        identity=identity(path, mask_file),
    )


def replaced(scene: Scene) -> Path | None:
    """A file of a scene in whose place another file, or another mask, is now; one that went away was not replaced."""
    return next((file.path for file in scene.files if _was_replaced(file)), None)


def _was_replaced(file: Scene) -> bool:
    try:
        return file.path.is_file() and identity(file.path, Path(f"{file.path}.msk")) != file.identity
    except OSError:
        return False


def identity(*paths: Path) -> str:
    """sha256 over size, time of change and samples of the content; names do not count, missing files do nothing."""
    digest = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            continue
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            digest.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
            for i in range(_SAMPLES + 1):
                file.seek(max(0, (stat.st_size - _SAMPLE_BYTES) * i // _SAMPLES))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
