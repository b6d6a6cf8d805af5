"""Features that geoseg wrote or somebody drew, class by class, on the ground of a raster."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.legend import Legend
from geoseg.vector.arrays import words


@dataclass(frozen=True, slots=True)
class ClassField:
    """The field of a layer for all classes that tells of which a feature is."""

    name: str
    values: Mapping[str, tuple[int | str, ...]]
    """Class → values of the field, other classes have none; empty: the classes' own names."""

    def of(self, features: geopandas.GeoDataFrame, class_name: str, path: Path) -> geopandas.GeoDataFrame:
        """Those of a class; raises ConfigError where `path` has features without such a field."""
        if self.name not in features and features.empty:
            return features
        if self.name not in features:
            there = ", ".join(str(c) for c in features.columns if c != features.geometry.name)
            raise ConfigError(f"{path}: no field '{self.name}'; there are {there}.")
        return features[words(features[self.name]).isin(self.words_of(class_name))]

    def words_of(self, class_name: str) -> set[str]:
        """What the field holds of features of a class."""
        return {str(value) for value in (self.values.get(class_name, ()) if self.values else (class_name,))}


def of_class(
    features: geopandas.GeoDataFrame, class_name: str, layers: Mapping[str, str], legend: Legend
) -> geopandas.GeoDataFrame:
    """Those of a class in the layer that `layers` name for it.

    Where other classes share it, of those named or of the legend, a field `class` tells them apart, as geoseg writes it; in
    a layer that somebody else wrote all are of the class.
    """
    layer = layers[class_name]
    shared = [*layers.values()].count(layer) > 1 or sum(c.layer == layer for c in legend) > 1
    if not shared or "class" not in features:
        return features
    held = words(features["class"])
    return features[held == class_name] if held.isin(legend.category_names).any() else features


def read_features(path: Path, layer: str | None, crs_wkt: str) -> geopandas.GeoDataFrame:
    """The features of a layer (None: the file's first) that have a shape, in another CRS and without heights.

    Raises ConfigError where the layer cannot be read or has no CRS.
    """
    what = str(path) if layer is None else f"{path}: layer '{layer}'"
    try:
        frame = geopandas.read_file(path.resolve(), **({} if layer is None else {"layer": layer}))
    except (ValueError, OSError, RuntimeError) as exc:
        raise ConfigError(f"{what} cannot be read ({exc}){_layers_in(path)}.") from exc
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise ConfigError(f"{what} is a table without geometries. Name one that is drawn on a map.")
    if frame.crs is None:
        raise ConfigError(f"{what} has no CRS; set it in QGIS (Layer, Set CRS) and save again.")
    frame = frame[drawn(frame)].to_crs(crs_wkt)
    frame.geometry = shapely.force_2d(frame.geometry.array)
    return frame


def _layers_in(path: Path) -> str:
    try:
        names = geopandas.list_layers(path.resolve())["name"]
    except (ValueError, OSError, RuntimeError):
        return ""
    return f"; there are {', '.join(map(str, names))}"


def unnamed_words(paths: Iterable[Path], field: ClassField, class_names: Iterable[str]) -> tuple[str, str]:
    """What the field holds in files of features that are of no class, as a user reads it; empty where all are of one.

    And what is wrong with that, empty unless none is of a class in any of the files.
    """
    held = Counter[str]()
    for path in paths:
        table = geopandas.read_file(path.resolve(), ignore_geometry=True)
        if field.name in table:
            own = table[field.name]
            held.update(words(own.astype(object).where(own.notna(), "")))
    named = {word for name in class_names for word in field.words_of(name)} & held.keys()
    others = [(word, n) for word, n in held.most_common() if word not in named]
    text = ", ".join(f"{n:,} '{word}'" if word else f"{n:,} nothing" for word, n in others[:8])
    if named or not any(word for word, _ in others):
        return text, ""
    return text, f"no feature is of a class: `values` name none of what field '{field.name}' holds, {text}."


def drawn(frame: geopandas.GeoDataFrame) -> NDArray[np.bool_]:
    """Which features have a geometry with something in it."""
    shapes = np.asarray(frame.geometry.array, dtype=object)
    there: NDArray[np.bool_] = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    return there


def valid(features: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """The features without flaws: of areas only areas are kept, for hand-drawn ones have spikes, which would be lines."""
    healed = features.copy()
    healed.geometry = shapely.make_valid(features.geometry.array, method="structure", keep_collapsed=False)
    mixed = healed.geom_type == "GeometryCollection"
    if mixed.any():
        healed = pd.concat([healed[~mixed], healed[mixed].explode(index_parts=False)])
    return healed[~healed.geometry.is_empty]
