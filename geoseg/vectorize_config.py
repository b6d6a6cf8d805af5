"""The settings of `geoseg vectorize`: its options, and keys of its YAML file."""

from pathlib import Path
from typing import Any

from pydantic import Field

from geoseg.strict import Strict, load
from geoseg.vector.formats import LayerFormat
from geoseg.vector.settings import VectorSettings


class VectorizeSettings(Strict):
    """What is vectorized, and how."""

    classes: Path
    """Class raster: a GeoTIFF of one uint8 band, 0 background, 255 nodata."""
    output: Path
    """GeoPackage to write; for the other formats the name before `_LAYER`."""
    confidence: Path | None = None
    """Confidence raster (uint8, 0–100) on the same grid; None: the layers have no confidence."""
    model: Path | None = None
    """Model directory whose legend says what the classes are; None: the one that ships."""
    legend: tuple[dict[str, Any], ...] | None = None
    """Or the classes themselves: id, name, color, layer and rule of each."""
    format: LayerFormat = "geopackage"
    """One styled GeoPackage, or a file for each layer."""
    workers: int = Field(default=0, ge=0)
    """Processes; 0 works in this one."""
    allow_ungeoreferenced: bool = False
    """Take a raster without CRS or geotransform, in pixels of one metre."""
    vector: VectorSettings = VectorSettings()
    """How classes become features."""


def load_vectorize_settings(config: Path | None, given: dict[str, Any]) -> VectorizeSettings:
    """Settings from a YAML file, with those `given` on the command line on top; raises ConfigError."""
    return load(VectorizeSettings, config, given)
