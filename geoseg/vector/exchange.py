"""Layers in formats other than the GeoPackage: GeoParquet and FlatGeobuf, a file for each layer, without styles."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd

from geoseg.errors import OutputError
from geoseg.files import atomic
from geoseg.vector.schema import Layer

Chunks = Iterable[geopandas.GeoDataFrame]


@dataclass(frozen=True, slots=True)
class Format:
    """A format with one file for each layer."""

    suffix: str
    driver: str | None
    """GDAL's name of it; None is written by geopandas itself."""


FORMATS = {"geoparquet": Format(".parquet", None), "flatgeobuf": Format(".fgb", "FlatGeobuf")}


def write_layers(target: Path, layers: Sequence[tuple[Layer, Chunks]], how: Format) -> dict[str, int]:
    """Write each layer beside `target` as NAME_LAYER with the format's suffix; returns the features of each.

    A layer is held in memory whole: FlatGeobuf sorts its features by place, and GeoParquet states their extent first.
    Raises OutputError where a file cannot be written.
    """
    counts = {}
    for layer, chunks in layers:
        features = _whole(layer, chunks)
        path = target.with_name(f"{target.stem}_{layer.name}{how.suffix}")
        try:
            with atomic(path) as temporary:
                if how.driver is None:
                    features.to_parquet(temporary, index=False, compression="zstd", write_covering_bbox=True)
                else:
                    features.to_file(temporary, driver=how.driver, engine="pyogrio", geometry_type=layer.geometry)
        except RuntimeError as exc:  # the base of pyogrio's errors
            raise OutputError(f"{path}: cannot be written ({exc}).") from exc
        counts[layer.name] = len(features)
    return counts


def _whole(layer: Layer, chunks: Chunks) -> geopandas.GeoDataFrame:
    """All features in the order of their ids; typed columns also where there is none."""
    frames = [chunk for chunk in chunks if len(chunk)]
    if frames:
        whole = geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=frames[0].crs)
        return whole.sort_values("id", ignore_index=True)
    columns = {f.name: np.empty(0, dtype=object) for f in layer.fields}
    return geopandas.GeoDataFrame(columns, geometry=[])
