"""Roads as lines, in metres: those of a map that has them, else the centrelines of its pixels."""

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes

from geoseg.evaluate.maps import ClassMap
from geoseg.evaluate.roads import road_scores
from geoseg.legend import BACKGROUND, NODATA, Legend, LegendClass
from geoseg.raster.aligned import PixelGrid, write_class_rows
from geoseg.vector.measure import Ground
from geoseg.vector.settings import VectorSettings
from geoseg.vector.vectorize import VectorJob, assemble, block_rows, vectorize_block_row

_ROWS = 1024


BothRows = Callable[[int, int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]
"""First row and the one after the last → class ids of prediction and reference, NODATA where they are not compared."""


def line_scores(
    maps: tuple[ClassMap, ClassMap],
    both: BothRows,
    c: LegendClass,
    grid: PixelGrid,
    legend: Legend,
    tolerance_m: float,
) -> dict[str, Any]:
    """Precision, recall and quality within the buffer, and APLS, of two maps: prediction and reference.

    Lines count on the ground that `both` know.
    """
    lines = [own if (own := m.lines(c)) is not None else _thinned(m, c, grid, legend) for m in maps]
    ground = Ground.of(Affine(*grid.transform), grid.crs_wkt, (grid.height, grid.width))
    unknown = shapely.STRtree([*_unknown(both, grid, (2 * tolerance_m) ** 2 / math.prod(ground.pixel_m))])
    found, truth = (ground.in_metres(_noded(_without(_inside(own, grid), unknown))) for own in lines)
    scores = road_scores(found, truth, tolerance_m=tolerance_m)
    buffer = asdict(scores.buffer)
    return {
        "precision": _plain(buffer["correctness"]),
        "recall": _plain(buffer["completeness"]),
        "quality": _plain(buffer["quality"]),
        "lateral_rmse_m": _plain(buffer["lateral_rmse_m"]),
        "apls": _plain(scores.apls),
        "length_ratio": _plain(scores.length_ratio),
        "predicted_m": round(float(shapely.length(found).sum()), 1),
        "reference_m": round(float(shapely.length(truth).sum()), 1),
        "tolerance_m": tolerance_m,
        "lines_of": {
            side: "layer" if m.lines(c) is not None else "thinned pixels"
            for side, m in zip(("prediction", "reference"), maps, strict=True)
        },
    }


def _thinned(m: ClassMap, c: LegendClass, grid: PixelGrid, legend: Legend) -> NDArray[Any]:
    """The centrelines that `geoseg map` would draw of the pixels of a class."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "classes.tif"
        write_class_rows(path, grid, _only(m, c, grid.height))
        job = VectorJob(
            classes=path,
            confidence=None,
            transform=Affine(*grid.transform),
            crs=grid.crs_wkt,
            shape=(grid.height, grid.width),
            legend=legend,
            settings=VectorSettings(),
            scene="",
            work=Path(folder),
        )
        parts = [vectorize_block_row(job, index) for index in range(block_rows(job))]
        chunks = [frame.geometry.array for frame in assemble(job, parts)[str(c.centerline_layer)]]
        return np.concatenate([np.zeros(0, object), *(np.asarray(chunk, object) for chunk in chunks)])


def _only(m: ClassMap, c: LegendClass, height: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, height, _ROWS):
        ids = m.rows(start, min(start + _ROWS, height))
        ids[(ids != c.id) & (ids != NODATA)] = BACKGROUND
        yield ids


def _inside(lines: NDArray[Any], grid: PixelGrid) -> NDArray[Any]:
    """The parts of lines that lie on the grid; whole lines keep their ends to the last bit."""
    a, _, c, _, e, f = grid.transform
    box = shapely.box(c, f + e * grid.height, c + a * grid.width, f)
    whole = shapely.covered_by(lines, box)
    return np.concatenate([lines[whole], _line_parts(shapely.intersection(lines[~whole], box))])


def _unknown(both: BothRows, grid: PixelGrid, least_px: float) -> Iterator[Any]:
    """Polygons of the pixels that are not compared; a few dark ones that pass for nodata do not cut a road."""
    for start in range(0, grid.height, _ROWS):
        stop = min(start + _ROWS, grid.height)
        silent = np.logical_or(*(ids == NODATA for ids in both(start, stop)))
        to_map = Affine(*grid.transform) @ Affine.translation(0, start)
        for polygon, _ in shapes(silent.astype(np.uint8), mask=silent, transform=to_map):
            shape = shapely.geometry.shape(polygon)
            if shape.area >= least_px * abs(to_map.determinant):
                yield shape


def _without(lines: NDArray[Any], unknown: shapely.STRtree) -> NDArray[Any]:
    """The parts of lines that lie on none of the polygons; whole lines keep their ends to the last bit."""
    line, polygon = unknown.query(lines, predicate="intersects")
    touched = np.unique(line)
    near = [shapely.union_all(unknown.geometries[polygon[line == index]]) for index in touched]
    kept = np.delete(lines, touched)
    return np.concatenate([kept, _line_parts(shapely.difference(lines[touched], np.array(near, dtype=object)))])


def _noded(lines: NDArray[Any]) -> NDArray[Any]:
    """The lines, cut at inner vertices that are vertices of others too: that is where streets meet in most files.

    What crosses without a common vertex is a bridge, and stays one.
    """
    xy, owner = shapely.get_coordinates(lines, return_index=True)
    if not len(xy):
        return lines
    _, number, count = np.unique(xy, axis=0, return_inverse=True, return_counts=True)
    first = np.append(True, np.diff(owner) != 0)
    cut = (count[number.ravel()] > 1) & ~first & ~np.append(first[1:], True)
    # A vertex where a line is cut is there twice: it ends one part and begins the next.
    points = np.repeat(np.arange(len(xy)), 1 + cut)
    begins = first[points] | np.append(False, np.diff(points) == 0)
    noded = shapely.linestrings(xy[points], indices=np.cumsum(begins) - 1)
    whole: NDArray[Any] = noded[shapely.length(noded) > 0]
    return whole


def _line_parts(cut: NDArray[Any]) -> NDArray[Any]:
    parts = shapely.get_parts(cut)
    parts = shapely.get_parts(parts[~shapely.is_empty(parts)])
    kept: NDArray[Any] = parts[
        (shapely.get_type_id(parts) == shapely.GeometryType.LINESTRING) & (shapely.length(parts) > 0)
    ]
    return kept


def _plain(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
