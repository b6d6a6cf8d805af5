"""The settings of an evaluation: options of `geoseg evaluate`, and keys of its YAML file."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from geoseg.config import BandNumbers, ValueRange
from geoseg.contract import DEFAULT_MODEL
from geoseg.strict import Strict, load


class EvaluateSettings(Strict):
    """What is compared, and how."""

    prediction: Path
    """Class raster (GeoTIFF), GeoPackage or GeoJSON."""
    reference: Path
    """The truth, in any of the same forms."""
    output: Path
    """Folder for metrics.json and confusion.png."""
    model: Path | None = None
    """Model directory: its legend says what the classes are, and with `image` its loss is taken; None: the default."""
    image: Path | None = None
    """The scene, for the loss, and for the pixel grid where both maps are vectors."""
    bands: BandNumbers | None = None
    """1-based bands of the scene in the order of the model's; None takes all but an alpha band."""
    value_range: ValueRange | None = None
    """Low and high pixel value of the scene that are stretched to the model's range, as `geoseg map` was told."""
    classes: tuple[str, ...] | None = None
    """Classes that the reference labels; elsewhere it says "none of these". None: all, or all with a layer."""
    values: dict[str, tuple[int | str, ...]] = Field(default_factory=dict)
    """Class → values in a reference raster, or in its `class_field`; empty: the ids, or the names, of the legend."""
    ignore: tuple[int, ...] = ()
    """Values in a reference raster that say nothing, besides its nodata unless that is 0 or one of `values`."""
    layers: dict[str, str] = Field(default_factory=dict)
    """Class → layer in a reference of vectors; empty: the layers of the legend."""
    class_field: str | None = None
    """Field with the class of each feature, where a reference of vectors is one layer for all classes."""
    line_width_m: float = Field(default=6.0, gt=0)
    """Width that roads given as lines are painted with, unless they have a field `width_m`."""
    pixel_size_m: float = Field(default=0.5, gt=0)
    """Of the grid that vectors are compared on where there is no raster."""
    warp: bool = False
    """Resample a prediction that lies on another grid to that of the reference (nearest neighbour)."""
    boundary_tolerance_m: float = Field(default=1.0, ge=0)
    """How far a boundary pixel may lie from the other map's boundary."""
    object_iou: float = Field(default=0.5, gt=0, le=1)
    """IoU from which on a building counts as found."""
    road_tolerance_m: float = Field(default=2.0, gt=0)
    """How far a centreline may lie from the true one."""
    strip_rows: int = Field(default=1024, ge=1)
    """Rows compared at once; the result does not depend on it."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if self.prediction.resolve() == self.reference.resolve() and self.prediction.exists() and not self.image:
            raise ValueError(f"prediction and reference are one file, {self.prediction}")
        if self.class_field and self.layers:
            raise ValueError("give either `layers` or `class_field`")
        if not self.class_field and any(isinstance(v, str) for values in self.values.values() for v in values):
            raise ValueError("`values` are words, which a raster does not hold; name the field in `class_field`")
        return self

    @property
    def model_dir(self) -> Path:
        """The model directory, absolute."""
        return (self.model or DEFAULT_MODEL).resolve()


def load_evaluate_settings(config: Path | None, given: dict[str, Any]) -> EvaluateSettings:
    """Settings from a YAML file, with those `given` on the command line on top; raises ConfigError."""
    return load(EvaluateSettings, config, given)
