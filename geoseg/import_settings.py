"""What is said about weights that were trained elsewhere, one YAML file. Plain data: imports no torch."""

from pathlib import Path
from typing import Any

from pydantic import Field

from geoseg.contract import Contract, DType, LegendField, PixelSize, Scaling
from geoseg.contract import Source as SourceRecord
from geoseg.strict import Strict, load, validate


class ImportSettings(Strict):
    """The contract of the model, and its network where the weights do not tell it."""

    name: str = Field(min_length=1)
    version: str = "1"
    description: str = ""
    licence: str
    """Of the weights."""
    limits: str = ""
    """What the model is not good at, for its card."""
    bands: tuple[str, ...] = Field(min_length=1)
    """In the order of the model's input channels."""
    dtype: DType
    scaling: Scaling
    """What was done to pixels in training; wrong numbers here give a bad map without a word."""
    pixel_size_m: PixelSize
    classes: LegendField
    """Channel k of the logits is class id k; channel 0 is background."""
    tile_size: int = Field(default=1024, gt=0)
    sources: tuple[SourceRecord, ...] = ()
    architecture: str | None = None
    """Any of smp's architectures, or FCN or SegNet; None where `config.json` beside the weights says it."""
    encoder: str | None = None
    """Name of the encoder in smp."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the architecture."""
    key: str | None = None
    """Entry of a checkpoint that holds the weights, such as `state_dict`; None: the file holds nothing else."""
    prefix: str = ""
    """What the names of the weights begin with, such as `model.`; names without it are left out."""

    def contract(self, source: str) -> Contract:
        """The contract, still without the hash of the weights; raises ConfigError where it contradicts itself."""
        shared = Contract.model_fields.keys() & ImportSettings.model_fields.keys()
        return validate(Contract, {name: getattr(self, name) for name in shared} | {"classes": self.classes}, source)


def load_import_settings(path: Path) -> ImportSettings:
    """The settings in the YAML file `path`; raises ConfigError naming the first wrong key."""
    settings = load(ImportSettings, path, {})
    settings.contract(str(path))
    return settings
