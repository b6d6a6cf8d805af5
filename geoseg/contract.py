"""The contract of a model: what it takes, what its channels mean, where it comes from. Plain data: imports no torch.

A model directory holds three files: `config.json` and `model.safetensors`, as smp's `save_pretrained` writes them,
and `contract.json`, which this module reads and writes.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from geoseg.errors import ConfigError, ModelError
from geoseg.files import atomic, sha256_file
from geoseg.grid.tiling import NETWORK_STRIDE
from geoseg.legend import Legend
from geoseg.strict import Strict

CONTRACT_FILE = "contract.json"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
DEFAULT_MODEL = Path(__file__).parent / "models" / "default"
"""The model directory that ships with the package."""
FORMAT: Final = 1
"""Version of `contract.json`; a reader refuses what is newer."""

DType = Literal["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


def _legend(value: object) -> object:
    if isinstance(value, Legend):
        return value
    try:
        return Legend.from_dict(value)  # type: ignore[arg-type]
    except ConfigError as exc:
        raise ValueError(str(exc)) from None


LegendField = Annotated[InstanceOf[Legend], BeforeValidator(_legend), PlainSerializer(Legend.to_dict)]


class Scaling(Strict):
    """From pixel values to model input: (clip(x) / divide − mean) / std for each band; nodata becomes 0 after it."""

    divide: float = Field(default=255.0, gt=0)
    """Divisor of every band, usually the largest value of the dtype."""
    mean: tuple[float, ...]
    """One number a band, after the division."""
    std: tuple[Annotated[float, Field(gt=0)], ...]
    """One number a band, after the division."""
    clip: tuple[float, float] | None = None
    """Lowest and highest pixel value; what lies beyond becomes the nearer one. None takes values as they are."""

    @model_validator(mode="after")
    def _clip_ordered(self) -> Self:
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip {self.clip} must be low, high with low < high")
        return self


_MOST_ENLARGED = 1.5
"""The network then takes 2.25 times the time and the memory; larger factors brought no better maps."""


_SCALE = 0.005
"""Share by which a pixel of UTM may be smaller or larger on the ground than on the map, and some more."""


class PixelSize(Strict):
    """Pixel sizes on the ground, in metres, that the model was trained on."""

    native: float = Field(gt=0)
    """The size it works best at."""
    min: float = Field(gt=0)
    """The finest size it tolerates."""
    max: float = Field(gt=0)
    """The coarsest size it tolerates."""
    enlarged_to: float | None = None
    """Coarser scenes are enlarged to this size before the network sees them; None shows them as they are."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.native <= self.max:
            raise ValueError(f"min {self.min}, native {self.native} and max {self.max} m are not in this order")
        if self.enlarged_to is not None and not self.native <= self.enlarged_to <= self.max:
            raise ValueError(f"enlarged_to {self.enlarged_to} m is not between native {self.native} and max {self.max}")
        return self

    def tolerates(self, pixel_size_m: float) -> bool:
        """Whether a scene of this size can be mapped without resampling; the scale of a map is never quite 1."""
        return self.min * (1 - _SCALE) <= pixel_size_m <= self.max * (1 + _SCALE)

    def tolerated(self, pixel_size_m: float) -> float:
        """The nearest size that the model tolerates."""
        return pixel_size_m if self.tolerates(pixel_size_m) else min(max(pixel_size_m, self.min), self.max)

    def shown(self, pixel_size_m: float) -> float:
        """The size of the pixels that the network sees of a scene, brought to a tolerated one and enlarged."""
        nearest = self.tolerated(pixel_size_m)
        return nearest / self.enlargement(nearest)

    def enlargement(self, pixel_size_m: float) -> float:
        """How many times as large the network sees a scene: 1 … 1.5, in sixteenths.

        Tiles begin at multiples of 32, so the enlarged pixels of neighbouring tiles are the same.
        """
        if self.enlarged_to is None or not pixel_size_m > self.enlarged_to:
            return 1.0
        return round(16 * min(_MOST_ENLARGED, pixel_size_m / self.enlarged_to)) / 16


class Source(Strict):
    """A data set the model was trained on."""

    name: str
    licence: str
    pixels: int = Field(default=0, ge=0)
    """Labelled pixels that training could draw from, at their native size."""


class Contract(Strict):
    """What a model needs and promises; `contract.json` of a model directory."""

    model_config = ConfigDict(populate_by_name=True)

    format: Literal[1] = FORMAT
    """Version of this file's form."""
    name: str = Field(min_length=1)
    version: str
    description: str = ""
    bands: tuple[str, ...] = Field(min_length=1)
    """Names of the spectral bands, in the order of the model's input channels."""
    dtype: DType
    """Type of the pixels before scaling."""
    scaling: Scaling
    pixel_size_m: PixelSize
    legend: LegendField = Field(alias="classes")
    """Channel k of the logits is class id k; channel 0 is background."""
    tile_size: int = Field(default=1024, gt=0)
    """Side of the square window the model sees at once, in pixels, unless a run says otherwise; a multiple of 32."""
    stride: int = Field(default=32, gt=0)
    """Total stride of the network, a divisor of 32: sizes and offsets of tiles are multiples of it."""
    licence: str
    """Of the weights."""
    sources: tuple[Source, ...] = ()
    metrics: dict[str, Any] = Field(default_factory=dict)
    """Validation metrics by source: source → class → metric → value."""
    weights_sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    """SHA-256 of `model.safetensors`."""
    config_sha256: str = Field(default="", exclude=True)
    """SHA-256 of the `config.json` found beside it; not part of the file."""

    @field_validator("bands")
    @classmethod
    def _bands_unique(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(bands)) != len(bands):
            raise ValueError(f"band names {list(bands)} are not unique")
        return bands

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if not len(self.bands) == len(self.scaling.mean) == len(self.scaling.std):
            counts = f"{len(self.scaling.mean)} means and {len(self.scaling.std)} stds"
            raise ValueError(f"{len(self.bands)} bands, but {counts}")
        if NETWORK_STRIDE % self.stride:
            raise ValueError(f"stride {self.stride} does not divide {NETWORK_STRIDE}, which tiles are multiples of")
        if self.tile_size % NETWORK_STRIDE:
            raise ValueError(f"tile_size {self.tile_size} is not a multiple of {NETWORK_STRIDE}")
        return self

    def stretched(self, low: float, high: float) -> "Contract":
        """The same model for pixels of any dtype, clipped to low … high, which become the ends of its own range.

        That is `scaling.clip`, else 0–255 for bytes and 0–`scaling.divide` for the rest; raises ConfigError for integers
        that are not divided: what their range is cannot be known.
        """
        scaling = self.scaling
        if scaling.clip is None and scaling.divide == 1 and self.dtype not in ("uint8", "float32", "float64"):
            raise ConfigError(
                f"model '{self.name}' takes {self.dtype} and does not say which values are its range, so none can be "
                f"stretched to it. Set scaling.clip in its {CONTRACT_FILE}."
            )
        first, last = scaling.clip or (0.0, 255.0 if self.dtype == "uint8" else scaling.divide)
        divide = scaling.divide * (high - low) / (last - first)
        mean = tuple(m - first / scaling.divide + low / divide for m in scaling.mean)
        stretched = {"divide": divide, "mean": mean, "clip": (low, high)}
        return self.model_copy(update={"scaling": scaling.model_copy(update=stretched)})

    def to_json(self) -> str:
        """The text of `contract.json`."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False) + "\n"

    def write(self, model_dir: Path) -> Path:
        """Write `contract.json` into `model_dir` by an atomic rename; returns its path."""
        path = model_dir / CONTRACT_FILE
        with atomic(path) as tmp:
            tmp.write_text(self.to_json(), encoding="utf-8")
        return path


def load_contract(model_dir: Path) -> Contract:
    """The contract of the model directory `model_dir`, with the digests of the network's settings and weights.

    Weights are not loaded, and read only where the contract has no digest of them. Raises ModelError naming the file and the first thing wrong with it.
    """
    if not model_dir.is_dir():
        raise ModelError(f"{model_dir}: not a directory; a model is a directory with {_files()}.")
    missing = [name for name in (CONTRACT_FILE, CONFIG_FILE, WEIGHTS_FILE) if not (model_dir / name).is_file()]
    if missing:
        raise ModelError(f"{model_dir}: no {', '.join(missing)}; a model directory holds {_files()}.")
    path = model_dir / CONTRACT_FILE
    try:
        contract = Contract.model_validate_json(path.read_bytes())
    except ValidationError as exc:
        raise ModelError(f"{path}: {_first_error(exc)}.") from None
    digests = {
        "weights_sha256": contract.weights_sha256 or sha256_file(model_dir / WEIGHTS_FILE),
        "config_sha256": sha256_file(model_dir / CONFIG_FILE),
    }
    return contract.model_copy(update=digests)


def _files() -> str:
    return f"{CONFIG_FILE}, {WEIGHTS_FILE} and {CONTRACT_FILE}"


def _first_error(exc: ValidationError) -> str:
    error = exc.errors(include_url=False)[0]
    where = ".".join(str(part) for part in error["loc"])
    more = f" (and {exc.error_count() - 1} more)" if exc.error_count() > 1 else ""
    text = error["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{where + ': ' if where else ''}{text}{more}"
