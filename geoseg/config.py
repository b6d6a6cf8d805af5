"""The settings of a run: one strict model for the YAML file, the command line and the pipelines."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from geoseg.contract import DEFAULT_MODEL
from geoseg.errors import ConfigError
from geoseg.grid.tiling import check_tiling, default_overlap
from geoseg.strict import Strict, load
from geoseg.vector.formats import LayerFormat
from geoseg.vector.settings import VectorSettings


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError(f"{value} must be low, high with low < high")
    return value


BandNumbers = tuple[Annotated[int, Field(ge=1)], ...]
"""1-based."""
ValueRange = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""Lowest and highest pixel value."""


class LimitSettings(Strict):
    """Sizes beyond which a header is not believed."""

    max_pixels: int = Field(400_000_000_000, gt=0)
    """Height × width of a scene."""
    max_block_bytes: int = Field(256 * 2**20, gt=0)
    """One decoded TIFF block, which GDAL allocates whole."""
    max_bands: int = Field(64, gt=0)
    """Bands of a scene."""
    max_ratio: int = Field(100_000, gt=0)
    """Decoded bytes per stored byte."""


class RunSettings(Strict):
    """Every key of a configuration file, and every option of `geoseg map`."""

    inputs: tuple[str, ...] = ()
    """Files, folders (searched for .tif and .tiff) and globs."""
    output: Path | None = None
    """Folder for the outputs; made if absent."""
    model: Path | None = None
    """Model directory; None is the model that ships with geoseg."""
    tile_size: int | None = None
    """Side of the square window the network sees, in pixels; a multiple of 32. None takes the model's own."""
    overlap: int | None = None
    """Pixels that neighbouring tiles share; a multiple of 32, at most half the tile size, which None takes if under 128."""
    strip_rows: Annotated[int, Field(ge=1)] | None = None
    """Tile rows in a strip, the unit that is scheduled and resumed; None chooses by size and workers."""
    mosaic: Annotated[str, Field(min_length=1)] | None = None
    """Map all scenes as one that is called so; None maps each by itself."""
    bands: BandNumbers | None = None
    """1-based bands of the scenes in the order of the model's; None takes all but an alpha band."""
    value_range: ValueRange | None = None
    """Low and high pixel value that the model's full range is stretched to, for scenes of another dtype."""
    any_pixel_size: bool = False
    """Map scenes outside the model's range of pixel sizes all the same, with a warning."""
    allow_ungeoreferenced: bool = False
    """Map scenes without CRS or geotransform, in pixels of the model's native size."""
    on_bad_block: Literal["fail", "nodata"] = "fail"
    """What becomes of a block of a scene that cannot be decoded: its strip fails, or the block is nodata."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Dask workers that run networks; 0 maps in this process without Dask; None chooses by cores and GPUs."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, or its scheduler file."""
    cluster: Path | None = None
    """File that describes the cluster to run on, see configs/cluster."""
    insecure_network: bool = False
    """Let Dask speak over the network without TLS, where nobody else is on it."""
    shard: str | None = None
    """`I/N`: map only the I-th of N parts of the scenes, chosen by the hash of their path; N such runs map all."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the network runs; auto takes a GPU where there is one."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Arithmetic of the network; auto takes bfloat16 where the device computes in it."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads of each worker; None shares the cores evenly."""
    format: LayerFormat = "geopackage"
    """One styled GeoPackage and its QGIS project, or a file for each layer, without styles."""
    keep_confidence: bool = False
    """Also write NAME_confidence.tif."""
    overwrite: bool = False
    """Map again what is up to date."""
    dry_run: bool = False
    """Print the plan and stop."""
    quiet: bool = False
    """Print errors and the summary only."""
    verbose: bool = False
    """Print every step."""
    log_json: Path | None = None
    """Append one JSON line per event to this file."""
    limits: LimitSettings = LimitSettings()
    """Sizes beyond which a header is not believed."""
    vector: VectorSettings = VectorSettings()
    """How classes become features."""

    @model_validator(mode="after")
    def _consistent(self) -> "RunSettings":
        try:
            self.tiling(64 * max(1, -(-(self.overlap or 0) // 32)))  # the model's tiles are looked at with the model
        except ConfigError as exc:
            raise ValueError(str(exc)) from None
        if self.quiet and self.verbose:
            raise ValueError("quiet and verbose exclude each other")
        places = [k for k in ("cluster", "scheduler", "workers") if getattr(self, k) is not None]
        if len(places) > 1:
            raise ValueError(f"{' and '.join(places)} exclude each other: each says where the work is done")
        if self.mosaic is not None and self.shard is not None:
            raise ValueError("mosaic and shard exclude each other: a mosaic is one scene")
        numbers = re.compile(r"[1-9]\d*/[1-9]\d*", re.ASCII)
        if self.shard is not None and not (numbers.fullmatch(self.shard) and self.shard_of[0] <= self.shard_of[1]):
            raise ValueError(f"shard is '{self.shard}', but must be I/N with I from 1 to N, such as 1/4")
        return self

    @property
    def shard_of(self) -> tuple[int, int]:
        """Number of the part and of all parts; 1, 1 where all scenes are mapped."""
        part, parts = (self.shard or "1/1").split("/")
        return int(part), int(parts)

    def tiling(self, tile_size: int) -> tuple[int, int]:
        """Tile size and overlap with a model whose own tile size is `tile_size`; raises ConfigError."""
        size = tile_size if self.tile_size is None else self.tile_size
        overlap = default_overlap(size) if self.overlap is None else self.overlap
        check_tiling(size, overlap)
        return size, overlap

    @property
    def model_dir(self) -> Path:
        """The model directory, absolute."""
        return (self.model or DEFAULT_MODEL).resolve()


def load_settings(config: Path | None, overrides: dict[str, Any]) -> RunSettings:
    """Settings from a YAML file (or the defaults) with the options of the command line on top; raises ConfigError."""
    if config is not None:
        load(RunSettings, config, {})  # so that an error of several keys names the file and not the command line
    return load(RunSettings, config, overrides)
