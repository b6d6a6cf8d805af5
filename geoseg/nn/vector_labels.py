"""Vector labels of a training as pixels."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize

from geoseg.errors import TrainingError
from geoseg.legend import Legend
from geoseg.nn.ground import ImageGrid
from geoseg.train_config import VectorSource
from geoseg.vector.features import ClassField, of_class, read_features, unnamed_words, valid
from geoseg.vector.formats import is_vector_file
from geoseg.vector.measure import Ground, widened

_LEAST_SHARE = 0.5
"""An image of which less than this lies within the box around its labels was perhaps never labelled whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """The labels of an image."""

    label: NDArray[np.uint8]
    """(H, W) class ids; where several features lie, the class of the lower id is on top."""
    astray: bool
    """Whether there are features, but none on the image."""
    share: float
    """Of the image that lies within the box around all features; 1 where there is none."""

    def remark(self, image: Path) -> str:
        """What is worth a word, if anything."""
        if self.astray:
            return f"{image}: no feature of its labels lies on it, so all of it counts as background."
        if self.share < _LEAST_SHARE:
            return (
                f"{image}: {1 - self.share:.0%} of it lie outside of the ground of its labels, and count as background."
            )
        return ""


def paint_vectors(path: Path, source: VectorSource, legend: Legend, grid: ImageGrid) -> Painted:
    """The features in `path` on an image; a file without any feature says that there is nothing.

    Raises ConfigError where a layer or a field is missing, and TrainingError where the file is not what it is named.
    """
    if not is_vector_file(path):
        raise TrainingError(f"{path}: labels must be a GeoPackage or a GeoJSON. Save it as one of them in QGIS.")
    label = np.zeros(grid.shape, np.uint8)
    features = _by_class(path, source, legend, grid)
    painted = 0
    for c in reversed(legend.classes):
        if c.name in features and (shapes := _on_image(features[c.name], source, grid)):
            rasterize(shapes, out=label, transform=grid.transform, default_value=c.id)
            painted += len(shapes)
    drawn = [frame.total_bounds for frame in features.values() if len(frame)]
    if not drawn:
        return Painted(label, astray=False, share=1.0)
    ends = np.array(drawn)
    around = shapely.box(*ends[:, :2].min(axis=0), *ends[:, 2:].max(axis=0))
    share = shapely.area(grid.outline & around) / shapely.area(grid.outline)
    return Painted(label, astray=not painted, share=share)


def check_words(paths: Iterable[Path], source: VectorSource, legend: Legend) -> str:
    """What a user should know of features that are of no class; empty where all are of one.

    Raises TrainingError where none is of a class in any of the label files.
    """
    if source.class_field is None:
        return ""
    field = ClassField(source.class_field, source.values)
    text, wrong = unnamed_words(paths, field, legend.category_names[1:])
    if wrong:
        raise TrainingError(f"source '{source.name}': {wrong}")
    return text and f"source '{source.name}': features of no class count as background: {text}"


def _by_class(path: Path, source: VectorSource, legend: Legend, grid: ImageGrid) -> dict[str, geopandas.GeoDataFrame]:
    """The features of each class that the source has, in the CRS of the image."""
    if source.class_field is not None:
        every, field = read_features(path, None, grid.crs_wkt), ClassField(source.class_field, source.values)
        return {c.name: field.of(every, c.name, path) for c in legend}
    return {
        name: of_class(read_features(path, layer, grid.crs_wkt), name, source.layers, legend)
        for name, layer in source.layers.items()
    }


def _on_image(features: geopandas.GeoDataFrame, source: VectorSource, grid: ImageGrid) -> list[Any]:
    """The shapes that lie on an image; lines as wide as their field `width_m`, or the source, says."""
    outline = grid.outline
    line = features.geom_type.isin(["LineString", "MultiLineString"])
    areas = valid(features[~line].iloc[features[~line].sindex.query(outline)])
    ground = Ground.of(grid.transform, grid.crs_wkt, grid.shape)
    shapes = [*areas.geometry, *widened(features[line], ground, source.line_width_m)]
    return [s for s in shapes if s.intersects(outline)]
