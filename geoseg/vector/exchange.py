"""Layers in formats other than the GeoPackage: GeoParquet and FlatGeobuf, a file for each layer, without styles."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely

from geoseg.files import atomic, write_error
from geoseg.vector.schema import FieldType, Layer

_DTYPES: dict[FieldType, Any] = {"int64": np.int64, "float64": np.float64, "string": "string", "bool": np.bool_}

Chunks = Iterable[geopandas.GeoDataFrame]


def write_layers(
    targets: Sequence[Path],
    layers: Sequence[tuple[Layer, Chunks]],
    crs_wkt: str,
    replacing: Callable[[Path, Path], None] = lambda _, __: None,
) -> dict[str, int]:
    """Write each layer to a file of its own, GeoParquet or FlatGeobuf by its suffix; returns the features of each.

    `crs_wkt` is empty where the scene has no reference system; `replacing` is called with the path of each file, and
    that of the whole file which is about to take its place.

    A layer is held in memory whole: FlatGeobuf sorts its features by place, and GeoParquet states their extent first.
    Raises OutputError where a file cannot be written.
    """
    counts = {}
    for path, (layer, chunks) in zip(targets, layers, strict=True):
        features = _whole(layer, chunks, crs_wkt or None)
        try:
            with atomic(path) as temporary:
                if path.suffix == ".parquet":
                    features.to_parquet(temporary, index=False, compression="zstd", write_covering_bbox=True)
                else:
                    # Else the layer is called after the temporary file, by host and process.
                    named = {"layer": path.stem, "geometry_type": layer.geometry}
                    features.to_file(temporary, driver="FlatGeobuf", engine="pyogrio", **named)
                replacing(path, temporary)
        except RuntimeError as exc:  # the base of pyogrio's errors
            # What GDAL had written it has removed already.
            needed = 16 * int(shapely.get_num_coordinates(features.geometry.array).sum())
            raise write_error(path, str(exc).rstrip("."), needed) from exc
        counts[layer.name] = len(features)
    return counts


def _whole(layer: Layer, chunks: Chunks, crs: str | None) -> geopandas.GeoDataFrame:
    """All features in the order of their ids; typed columns also where there is none."""
    frames = [chunk for chunk in chunks if len(chunk)]
    if frames:
        whole = geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=crs)
        whole = whole.astype({f.name: _DTYPES[f.type] for f in layer.fields})
        return whole.sort_values("id", ignore_index=True)
    columns: dict[str, Any] = {f.name: pd.Series([], dtype=_DTYPES[f.type]) for f in layer.fields}
    return geopandas.GeoDataFrame(columns, geometry=[], crs=crs)
