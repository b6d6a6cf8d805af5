"""The settings of a training, one YAML file. Plain data: imports no torch.

Paths are relative to the YAML file's folder. Every key is described where it is defined here and in `configs/train`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from geoseg.config import BandNumbers
from geoseg.contract import DEFAULT_MODEL, Contract, DType, LegendField, PixelSize, Scaling, load_contract
from geoseg.errors import ConfigError
from geoseg.legend import DEFAULT_LEGEND, Legend
from geoseg.strict import Strict, validate
from geoseg.town.palettes import check_palettes
from geoseg.yaml_file import read_yaml

LossName = Literal["cross_entropy", "focal", "dice", "lovasz"]
Color = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]
Byte = Annotated[int, Field(ge=0, le=255)]


def _is_ground(ground: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    west, south, east, north = ground
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise ValueError(f"{list(ground)} must be west, south, east, north in degrees")
    return ground


def _are_palettes(names: str) -> str:
    try:
        return check_palettes(names)
    except ConfigError as exc:
        raise ValueError(str(exc)) from None


def _as_text(value: object) -> object:
    return str(value) if type(value) is int else value


ClassWeights = tuple[Annotated[float, Field(gt=0)], ...]
Ground = Annotated[tuple[float, float, float, float], AfterValidator(_is_ground)]
"""West, south, east, north in degrees (EPSG:4326)."""
PalettePatterns = tuple[Annotated[str, AfterValidator(_are_palettes)], ...]
"""Names of palettes, or several joined by `+`."""


class ModelSettings(Strict):
    """The network to train, and what it starts from."""

    architecture: str = "Unet"
    """Any of smp's architectures, or FCN or SegNet."""
    encoder: str = "tu-tf_efficientnet_lite0"
    """Any encoder that smp knows; `tu-` and a timm name for timm's."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the architecture."""
    encoder_weights: Path | None = None
    """Safetensors of the encoder under timm names; None starts from random weights."""
    start_from: Path | None = None
    """A model directory to go on from, `default` for the one that ships: its network, whatever is said above, and its
    weights. Bands, dtype, scaling, pixel size, classes and tile size are its own unless the file says otherwise; classes
    and bands must agree."""
    kernel_limit: int | None = Field(default=None, ge=1)
    """Depthwise kernels larger than this are trained with zeros around their middle: how far the network sees is what
    neighbouring tiles can disagree on. None leaves them whole."""
    freeze_norm: bool = False
    """Keep the statistics of batch normalization as they are: for short trainings on few scenes."""


class _Source(Strict):
    name: str
    licence: str = "unknown"
    root: Path
    """Folder that the patterns below are relative to."""
    weight: float = Field(default=1.0, gt=0)
    """Share of the training windows, relative to the other sources."""
    labelled: tuple[str, ...] | None = None
    """Classes that are labelled throughout; elsewhere only "none of these" is known. None: all of them. What is drawn of
    another class counts where it is drawn."""
    pixel_size_m: float | None = Field(default=None, gt=0)
    """Pixel size of images that do not tell it (no CRS)."""
    draw_m: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None = None
    """Pixel sizes to draw training windows at; None: the model's tolerated range."""
    draw_as_mapped: float = Field(default=0.0, ge=0, le=1)
    """Share of the windows that are drawn at the size that a map shows the network instead: mostly the image's own pixels,
    whose sharp borders no resampling has blurred."""
    class_weights: ClassWeights | None = None
    """Weights of the classes in the cross-entropy on this source, background first; None: the training's. A class that its
    labels or its ground leave unsure is mapped too seldom there unless it weighs more. They count beside those of other
    sources: twice as much of each class is twice as much of the source."""
    ignore_larger_m2: dict[str, float] = Field(default_factory=dict)
    """Class → area over which a connected part of it is ignored in training: where annotators outlined whole blocks."""
    group: str = ""
    """Regular expression with one group, searched in the image's path: names what must stay on one side of the split."""
    validation_groups: tuple[str, ...] = ()
    """Groups held out for validation."""
    same_ground: tuple[tuple[str, ...], ...] = ()
    """Groups that show the same ground; splitting them is an error."""
    validation_ground: Ground | None = None
    """Ground held out for validation: west, south, east, north in degrees."""

    @field_validator("draw_m")
    @classmethod
    def _ordered(cls, sizes: tuple[float, float] | None) -> tuple[float, float] | None:
        if sizes is not None and sizes[0] > sizes[1]:
            raise ValueError(f"{list(sizes)} must be low, high")
        return sizes

    @field_validator("group")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as exc:
            raise ValueError(f"'{pattern}' is no regular expression ({exc})") from exc
        if pattern and groups != 1:
            raise ValueError(f"'{pattern}' has {groups} groups, but must have one")
        return pattern


class RasterSource(_Source):
    """GeoTIFF images with label rasters."""

    form: Literal["rasters"]
    images: str
    """Pattern under `root`: `images/*.tif`."""
    bands: BandNumbers | None = None
    """1-based bands of the images in the order of the model's; None takes those of these names, or all but an alpha band."""
    labels: str
    """Label raster of an image, relative to the image's folder: `../masks/{stem}.tif`.

    `{stem}` is the image's name without its ending, `{part}` what the last `*` of `images` stands for in it.
    """
    values: dict[str, tuple[Byte, ...]]
    """Class → values in the label raster; `background` may be named too."""
    ignore: tuple[Byte, ...] = ()
    """Values that say nothing."""
    mosaic: bool = False
    """Join images on one pixel grid into one scene before windows are drawn; corners are rounded to whole pixels."""


class VectorSource(_Source):
    """GeoTIFF images with polygons or lines, such as a corrected GeoPackage of a map."""

    form: Literal["vectors"]
    images: str
    bands: BandNumbers | None = None
    """1-based bands of the images in the order of the model's; None takes those of these names, or all but an alpha band."""
    labels: str
    """GeoPackage or GeoJSON of an image, relative to the image's folder: `{stem}.gpkg`."""
    layers: dict[str, str] = Field(default_factory=dict)
    """Class → layer; empty where one layer has a class field."""
    class_field: str | None = None
    """Field with the class."""
    values: dict[str, tuple[Annotated[str, BeforeValidator(_as_text)], ...]] = Field(default_factory=dict)
    """Class → values of `class_field`; empty: the names of the classes."""
    line_width_m: float = Field(default=6.0, gt=0)
    """Width that lines are painted with."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.layers) == bool(self.class_field):
            raise ValueError("give either `layers` or `class_field` with `values`")
        return self


class VocSource(_Source):
    """A Pascal VOC folder: JPEGImages, SegmentationClass, ImageSets/Segmentation/{train,val}.txt."""

    form: Literal["voc"]
    values: dict[str, tuple[Byte, ...]]
    """Class → indices in the palette PNGs."""
    ignore: tuple[Byte, ...] = (255,)
    """Indices that say nothing: the outlines of objects."""


class CityscapesSource(_Source):
    """A Cityscapes folder: leftImg8bit and gtFine, each with train and val."""

    form: Literal["cityscapes"]
    values: dict[str, tuple[Byte, ...]]
    """Class → values in `*_gtFine_labelIds.png`."""
    ignore: tuple[Byte, ...] = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
    """Values that say nothing unless they are named above: those that the data set itself leaves out of its scores."""


class ColorSource(_Source):
    """Images with masks of colours."""

    form: Literal["colors"]
    images: str
    labels: str
    """Mask of an image, relative to the image's folder: `../masks/{stem}.png`."""
    colors: dict[Color, str]
    """Colour → class or `background`."""
    ignore: tuple[Color, ...] = ()
    """Colours that say nothing."""


class TownSource(_Source):
    """Rendered towns: written under `root` when absent, then read from there."""

    form: Literal["town"]
    size_px: int = Field(default=1024, ge=256)
    """Side of each scene; its pixel size is drawn from 0.3–1 m."""
    scenes: int = Field(default=64, ge=1)
    """Training scenes."""
    validation_scenes: int = Field(default=8, ge=1)
    """Scenes of unseen seeds."""
    palettes: Annotated[PalettePatterns, Field(min_length=1)]
    """Palettes of the training scenes, drawn by chance; several names joined by `+` are a medley of their traits."""
    validation_palettes: PalettePatterns = ()
    """Palettes of the validation scenes; empty: the same."""
    downtown: float = Field(default=0, ge=0, le=1)
    """Share of the built-up blocks that hold podiums and towers, or are building sites; shadows are darker then."""
    seed: int = Field(default=0, ge=0)
    """Which towns: sources of one seed have the same streets and suns, however different they look."""


Source = Annotated[
    RasterSource | VectorSource | VocSource | CityscapesSource | ColorSource | TownSource, Field(discriminator="form")
]


class Augment(Strict):
    """Random changes to training windows, each with its probability or strength; 0 switches it off."""

    flip: bool = True
    """Flips and rotations by 90°."""
    color: float = Field(default=0.4, ge=0, le=1)
    """Strength of brightness, contrast and saturation changes; a quarter of it for the hue."""
    channel_gain: float = Field(default=0.15, ge=0, le=1)
    """Strength of one gain for each band: the colour casts of other sensors and hazes."""
    levels: float = Field(default=0.3, ge=0, le=1)
    """Probability of another contrast stretch (8 bits): other black and white points, alike or of each band, another gamma."""
    gray: float = Field(default=0.05, ge=0, le=1)
    """Probability of losing most of the colour."""
    blur: float = Field(default=0.2, ge=0, le=1)
    noise: float = Field(default=0.2, ge=0, le=1)
    jpeg: float = Field(default=0.3, ge=0, le=1)
    """Probability of compressing (quality 30–95)."""
    shadow: float = Field(default=0.2, ge=0, le=1)
    """Probability of a cast shadow: a soft dark polygon."""


class Optimization(Strict):
    """How the weights are changed."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of the schedule."""
    encoder_factor: float = Field(default=1.0, ge=0, le=1)
    """Learning rate of the encoder relative to the rest."""
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine", "poly"] = "cosine"
    warmup_steps: int = Field(default=100, ge=0)
    clip_norm: float = Field(default=5.0, ge=0)
    """Largest norm of the gradient; 0: no limit."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay a step of the averaged weights that are validated and saved; 0: none."""


class TrainConfig(Strict):
    """One training, from data to model directory."""

    name: str
    version: str = "1"
    description: str = ""
    licence: str = "unknown"
    """Of the trained weights."""
    limits: str = ""
    """What the model is not good at, for its card."""
    output: Path
    """Model directory to write."""
    run_dir: Path
    """Folder for checkpoints, curves and examples."""
    bands: tuple[str, ...] = ("red", "green", "blue")
    dtype: DType = "uint8"
    scaling: Scaling = Scaling(divide=255.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    pixel_size_m: PixelSize = PixelSize(native=0.5, min=0.25, max=1.2)
    tile_size: int = Field(default=1024, gt=0)
    """Tile size that mapping uses by default; a multiple of 32."""
    classes: LegendField = DEFAULT_LEGEND
    """The legend: id, name, color, layer and rule of each class."""
    sources: tuple[Source, ...] = Field(min_length=1)
    model: ModelSettings = ModelSettings()
    loss: dict[LossName, float] = Field(default={"cross_entropy": 1.0}, min_length=1)
    """Losses and their weights in the sum."""
    agreement: float = Field(default=0.0, ge=0)
    """Weight of the disagreement between a window and its middle part alone, added to the loss: it teaches the network
    not to lean on what a neighbouring tile cannot see."""
    class_weights: ClassWeights | None = None
    """Weight of each class in the cross-entropy, background first."""
    optimization: Optimization = Optimization()
    augment: Augment = Augment()
    steps: int = Field(default=1000, ge=1)
    """Optimizer steps in all."""
    steps_per_epoch: int = Field(default=250, ge=1)
    """Steps between validations and checkpoints."""
    batch: int = Field(default=4, ge=1)
    window_px: int = Field(default=384, ge=32)
    """Side of the training windows; a multiple of 32."""
    validation_window_px: int = Field(default=512, ge=32)
    patience: int = Field(default=0, ge=0)
    """Stop after this many epochs without a better mean IoU; 0: never."""
    workers: int = Field(default=1, ge=0)
    """Processes that prepare windows."""
    threads: int = Field(default=0, ge=0)
    """Threads of the network on a CPU; 0: PyTorch's choice."""
    devices: int | Literal["auto"] = "auto"
    """Accelerators to train on."""
    precision: Annotated[Literal["auto", "bf16", "32"], BeforeValidator(_as_text)] = "auto"
    """bfloat16 mixed precision or float32; auto: bfloat16 where the device computes in it, as elsewhere it is slower."""
    seed: int = Field(default=0, ge=0)

    @property
    def legend(self) -> Legend:
        """The legend of the classes."""
        return self.classes

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.window_px % 32 or self.validation_window_px % 32:
            raise ValueError("window_px and validation_window_px must be multiples of 32")
        if self.steps % self.steps_per_epoch:
            raise ValueError(f"steps {self.steps} is not a multiple of steps_per_epoch {self.steps_per_epoch}")
        if self.agreement and self.window_px < 256:
            raise ValueError(f"agreement needs window_px of 256 or more, not {self.window_px}")
        if self.legend.channels > 254:
            raise ValueError(f"{self.legend.channels - 1} classes, but training takes 253 at most")
        for where, weights in (
            ("", self.class_weights),
            *((f"source '{s.name}': ", s.class_weights) for s in self.sources),
        ):
            if weights is not None and len(weights) != self.legend.channels:
                raise ValueError(f"{where}class_weights: {len(weights)} given, {self.legend.channels} needed")
        _check_names(self)
        for source in self.sources:
            _check_source(source, self.pixel_size_m)
        return self

    def contract(self, where: str, **known: Any) -> Contract:
        """That of the model, with what is known of it; raises ConfigError, naming `where`, where it contradicts itself."""
        shared = Contract.model_fields.keys() & TrainConfig.model_fields.keys() - {"sources"}
        return validate(
            Contract, {name: getattr(self, name) for name in shared} | {"classes": self.classes} | known, where
        )


def _check_source(source: Source, size: PixelSize) -> None:
    named: dict[Any, str] = {}
    for class_name, values in getattr(source, "values", {}).items():
        for value in values:
            if named.setdefault(value, class_name) != class_name:
                raise ValueError(f"source '{source.name}': value {value} is named for {named[value]} and {class_name}")
    low, high = source.draw_m or (size.min, size.max)
    if low > size.max or high < size.min:
        raise ValueError(f"source '{source.name}': draw_m {low}–{high} m lies outside of {size.min:g}–{size.max:g} m")


_INHERITED = {"bands", "dtype", "scaling", "pixel_size_m", "legend", "tile_size"}
"""What a training takes from the contract of the model that it starts from, unless it says otherwise."""


def load_train_config(path: Path) -> TrainConfig:
    """The settings in the YAML file `path`, paths made absolute.

    What they leave out of the contract of the model that they start from is as it is there. Raises ConfigError naming the
    first wrong key, and ModelError where that model has no contract.
    """
    values, folder = read_yaml(path), path.resolve().parent
    model = values.get("model")
    if isinstance(model, dict) and isinstance(start := model.get("start_from"), str):
        contract = load_contract(_start(Path(start), folder))
        values = contract.model_dump(mode="json", by_alias=True, include=_INHERITED) | values
    config = _absolute(validate(TrainConfig, values, str(path)), folder)
    config.contract(str(path))
    return config


def _start(path: Path, folder: Path) -> Path:
    return DEFAULT_MODEL if path == Path("default") else folder / path


def _absolute(config: TrainConfig, folder: Path) -> TrainConfig:
    sources = tuple(s.model_copy(update={"root": folder / s.root}) for s in config.sources)
    paths = {
        key: _start(value, folder) if key == "start_from" else folder / value
        for key in ("encoder_weights", "start_from")
        if (value := getattr(config.model, key)) is not None
    }
    update = {"sources": sources, "model": config.model.model_copy(update=paths)}
    return config.model_copy(update=update | {"output": folder / config.output, "run_dir": folder / config.run_dir})


def _check_names(config: TrainConfig) -> None:
    known = {*config.legend.category_names}
    for source in config.sources:
        named = {*(source.labelled or ()), *source.ignore_larger_m2}
        if isinstance(source, ColorSource):
            named |= {*source.colors.values()}
        elif not isinstance(source, TownSource):
            named |= {*source.values} | {*getattr(source, "layers", {})}
        if named - known:
            raise ValueError(f"source '{source.name}': no class {sorted(named - known)}; there are {sorted(known)}")
    names = [source.name for source in config.sources]
    if len(set(names)) != len(names):
        raise ValueError(f"names of sources {names} are not unique")
