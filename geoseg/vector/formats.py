"""The formats that layers are written in, and the files each makes. Plain data, no I/O."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

LayerFormat = Literal["geopackage", "geoparquet", "flatgeobuf"]

SUFFIXES: dict[LayerFormat, str] = {"geopackage": ".gpkg", "geoparquet": ".parquet", "flatgeobuf": ".fgb"}


def layer_files(folder: Path, name: str, layers: Iterable[str], how: LayerFormat) -> tuple[Path, ...]:
    """The files that hold the layers of `name`: one GeoPackage, or a file for each layer."""
    if how == "geopackage":
        return (folder / f"{name}{SUFFIXES[how]}",)
    return tuple(folder / f"{name}_{layer}{SUFFIXES[how]}" for layer in layers)
