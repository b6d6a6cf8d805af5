"""From a class raster to the features of its layers.

    class raster ─▶ blocks (any order, any process) ─▶ parts ─▶ regions joined over the seams ─▶ layers, in chunks

`vectorize_block_row` does the heavy work; `assemble` joins what came of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np

from geoseg.vector.arrays import Floats, Ints
from geoseg.vector.assemble import Selection, delivered, idle_of, rings_by_block
from geoseg.vector.blocks import vectorize_block_row
from geoseg.vector.centerlines import Centerlines, centerlines_by_block
from geoseg.vector.job import VectorJob, block_rows
from geoseg.vector.rings import Rings
from geoseg.vector.schema import Layer, layers_of
from geoseg.vector.seams import Regions, joined

__all__ = ["VectorJob", "assemble", "block_rows", "vectorize_block_row"]

Chunks = Iterator[geopandas.GeoDataFrame]
"""Features of a layer in map coordinates, some at a time."""


def assemble(job: VectorJob, parts: Sequence[Path]) -> Mapping[str, Chunks]:
    """The features of every layer of the legend, from the parts of all blocks in order.

    Each layer comes as frames with exactly its fields; a layer may have none. `id` numbers its features by their first
    pixel in row-major order; a feature is given out once all of it was seen, so ids do not ascend through the chunks.
    Each layer is streamed by itself, and holds no more than the features that are still open.
    Raises OutputError where a part is missing or broken.
    """
    regions = joined(parts, job.block_height, job.shape)
    features = delivered(regions, job.limits)
    selection = Selection(features, idle_of(parts, regions, features), job.limits)
    return {
        layer.name: _polygon_chunks(job, parts, regions, _of_layer(selection, regions, layer))
        if layer.geometry == "Polygon"
        else _line_chunks(job, parts, layer)
        for layer in layers_of(job.legend)
    }


def _of_layer(features: Selection, regions: Regions, layer: Layer) -> Selection:
    """Those of the features that belong to a layer."""
    return replace(features, wanted=features.wanted & np.isin(regions.value, [c.id for c in layer.classes]))


def _polygon_chunks(job: VectorJob, parts: Sequence[Path], regions: Regions, selection: Selection) -> Chunks:
    number = np.cumsum(selection.wanted, dtype=np.int64)
    for rings in rings_by_block(parts, regions, selection):
        yield _polygons(job, regions, rings, number)


def _polygons(job: VectorJob, regions: Regions, rings: Rings, number: Ints) -> geopandas.GeoDataFrame:
    """Polygons in map coordinates with their attributes, in the order of their ids."""
    polygons = rings.polygons(job.to_map(rings.xy.astype(np.float64)))
    region = rings.owner[rings.shell]
    names = np.array(job.legend.category_names, dtype=object)
    columns = {
        "id": number[region],
        "class": names[regions.value[region]],
        "area_m2": job.ground.area_m2(polygons),
        "perimeter_m": job.ground.length_m(polygons),
        "confidence": mean_confidence(job, regions.confidence[region], regions.own[region]),
        "scene": np.full(len(region), job.scene, dtype=object),
    }
    return geopandas.GeoDataFrame(columns, geometry=polygons, crs=job.crs or None)


def _line_chunks(job: VectorJob, parts: Sequence[Path], layer: Layer) -> Chunks:
    count = 0
    for lines in centerlines_by_block(job, parts, [c.id for c in layer.classes]):
        yield _lines(job, lines, count)
        count += len(lines.value)


def _lines(job: VectorJob, lines: Centerlines, count: int) -> geopandas.GeoDataFrame:
    """Centrelines with their attributes, numbered on from `count`."""
    names = np.array(job.legend.category_names, dtype=object)
    columns = {
        "id": np.arange(count + 1, count + 1 + len(lines.value)),
        "class": names[lines.value],
        "length_m": job.ground.length_m(lines.lines),
        "width_m": lines.width_m,
        "confidence": lines.confidence,
        "scene": np.full(len(lines.value), job.scene, dtype=object),
    }
    return geopandas.GeoDataFrame(columns, geometry=lines.lines, crs=job.crs or None)


def mean_confidence(job: VectorJob, total: Ints, pixels: Ints) -> Floats:
    """Mean confidence, 0–1, from sums of 0–100; NaN where there is no confidence raster."""
    if job.confidence is None:
        return np.full(len(total), np.nan)
    mean: Floats = total / (100.0 * pixels)
    return mean
