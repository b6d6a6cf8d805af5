"""Polygons cut on a fixed grid: the roads of a town hang together, and one polygon of them all would slow QGIS down.

The grid is anchored at the scene's upper left corner. Where borders cross its lines they first get a vertex there, in
all layers alike and computed the same way from either side, so that pieces and neighbours go on sharing their vertices.
"""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.arrays import Bools, Floats, Ints, ranges
from geoseg.vector.holes import put_back, set_aside

Polygons = NDArray[Any]
"""shapely polygons in pixels."""


def with_grid_vertices(polygons: Polygons, step: int) -> Polygons:
    """The polygons with a vertex wherever their border crosses a line of the grid, `step` pixels wide."""
    if not len(polygons):
        return polygons
    kind, xy, (rings, shells) = shapely.to_ragged_array(polygons)
    begin, end = xy[:-1], xy[1:]
    inner = np.ones(len(begin), bool)
    inner[rings[1:-1] - 1] = False
    edge, points, along = _crossings(begin, end, np.flatnonzero(inner), step)
    if not len(edge):
        return polygons
    order = np.lexsort((along, edge))
    more = np.bincount(edge + 1, minlength=len(xy) + 1).cumsum()
    grown: Polygons = shapely.from_ragged_array(
        kind, np.insert(xy, edge[order] + 1, points[order], axis=0), (rings + more[rings], shells)
    )
    return grown


def _crossings(begin: Floats, end: Floats, edges: Ints, step: int) -> tuple[Ints, Floats, Floats]:
    """Where edges cross lines of the grid between their ends: the edge, the point, and how far along the edge it is."""
    found = []
    for axis in (0, 1):
        a, b = begin[edges, axis], end[edges, axis]
        first, last = np.floor(np.minimum(a, b) / step) + 1, np.ceil(np.maximum(a, b) / step) - 1
        count = np.maximum(last - first + 1, 0).astype(np.int64)
        edge = np.repeat(edges, count)
        line = step * (np.repeat(first, count) + ranges(np.zeros_like(count), count))
        # From the same end whichever way the edge is walked.
        swap = (begin[edge, axis] > end[edge, axis])[:, None]
        low, high = np.where(swap, end[edge], begin[edge]), np.where(swap, begin[edge], end[edge])
        share = (line - low[:, axis]) / (high[:, axis] - low[:, axis])
        points = low + (high - low) * share[:, None]
        points[:, axis] = line
        found.append((edge, points, np.where(swap[:, 0], 1 - share, share)))
    edge, points, along = (np.concatenate(column) for column in zip(*found, strict=True))
    # A corner of the grid on an edge is one point, found twice.
    _, once = np.unique(np.column_stack([edge, points]), axis=0, return_index=True)
    return edge[once], points[once], along[once]


def cut(polygons: Polygons, step: int) -> tuple[Polygons, Ints]:
    """The polygons in pieces that lie in one cell of the grid each, and which polygon each is a piece of.

    Pieces of a polygon are ordered by row and column of their cell. Halved again and again, so that the work grows
    little faster than the number of vertices.
    """
    owner = np.arange(len(polygons))
    polygons, holes = set_aside(polygons, lambda bounds: _within_cells(bounds, step))
    while True:
        low, high = _cells(polygons, step)
        span = high - low
        wide = span.max(axis=1, initial=0) > 1
        if not wide.any():
            break
        halves, parent = _halved(polygons[wide], low[wide], high[wide], step)
        polygons = np.concatenate([polygons[~wide], halves])
        owner = np.concatenate([owner[~wide], owner[wide][parent]])
    # Where a ring begins depends on how it was put together.
    polygons, bounds = shapely.normalize(put_back(polygons, owner, holes)), shapely.bounds(polygons)
    order = np.lexsort((bounds[:, 0], bounds[:, 1], low[:, 0], low[:, 1], owner))
    return polygons[order], owner[order]


def _within_cells(bounds: Floats, step: int) -> Bools:
    """Which of (N, 4) bounds lie in one cell and touch no line of the grid."""
    low, high = bounds[:, :2], bounds[:, 2:]
    cell = np.floor(low / step) * step
    within: Bools = np.logical_and.reduce((cell < low) & (high < cell + step), axis=1)
    return within


def _cells(polygons: Polygons, step: int) -> tuple[Ints, Ints]:
    """(N, 2) first column and row of the cells each polygon reaches into, and those after its last."""
    bounds = shapely.bounds(polygons).reshape(-1, 4)
    return np.floor(bounds[:, :2] / step).astype(np.int64), np.ceil(bounds[:, 2:] / step).astype(np.int64)


def _halved(polygons: Polygons, low: Ints, high: Ints, step: int) -> tuple[Polygons, Ints]:
    """The polygons cut in two along a line of the grid, and which one each piece comes from."""
    row = np.arange(len(polygons))
    axis = np.argmax(high - low, axis=1)
    middle = (low[row, axis] + high[row, axis]) // 2
    first_high, second_low = high.copy(), low.copy()
    first_high[row, axis] = second_low[row, axis] = middle
    boxes = np.concatenate([_boxes(low, first_high, step), _boxes(second_low, high, step)])
    parts, of = shapely.get_parts(shapely.intersection(np.tile(polygons, 2), boxes), return_index=True)
    real = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    return parts[real], np.tile(row, 2)[of[real]]


def _boxes(low: Ints, high: Ints, step: int) -> Polygons:
    boxes: Polygons = shapely.box(*(step * low).T, *(step * high).T)
    return boxes
