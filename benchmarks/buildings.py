"""python -m benchmarks.buildings [SIZE]...: squared buildings of a noisy town against the footprints it was drawn from."""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.legend import DEFAULT_LEGEND
from geoseg.town.noisy import NetworkNoise, noisy_classes
from geoseg.town.plan import plan_town
from geoseg.town.settings import TownSettings
from geoseg.town.truth import building_outlines, transform_of
from geoseg.vector.buildings import iou
from geoseg.vector.settings import BuildingSettings, VectorSettings
from geoseg.vector.vectorize import VectorJob, assemble, block_rows, vectorize_block_row

Polygons = NDArray[Any]
Floats = NDArray[np.float64]

_RIGHT = np.radians(1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How outlines agree with true footprints; means are over matched pairs."""

    count: int
    f1: float
    """At IoU 0.5."""
    iou: float
    c_iou: float
    """IoU·(1 − |n − m| / (n + m)) for n and m corners (Zorzi et al., PolyWorld, 2022)."""
    vertices: float
    """Corners over true corners, summed."""
    polis_m: float
    """Mean distance from each one's corners to the other's border (Avbelj et al., 2015)."""
    right: float
    """Share of corners within 1° of a right angle, where the true footprint has only such."""
    valid: float


def scores(found: Polygons, truths: Polygons) -> Scores:
    """Compare outlines with footprints in the same metric reference system."""
    at, to = matched(found, truths)
    a, b = found[at], truths[to]
    agreement, n, m = iou(a, b), _corners(a), _corners(b)
    turns, owner = corner_angles(b)
    square = np.bincount(owner[~_is_right(turns)], minlength=len(b)) == 0
    mine, _ = corner_angles(a[square])
    return Scores(
        count=len(found),
        f1=2 * len(at) / (len(found) + len(truths)),
        iou=float(agreement.mean()),
        c_iou=float((agreement * (1 - np.abs(n - m) / (n + m))).mean()),
        vertices=float(n.sum() / m.sum()),
        polis_m=float(polis(a, b).mean()),
        right=float(_is_right(mine).mean()),
        valid=float(shapely.is_valid(found).mean()),
    )


def matched(found: Polygons, truths: Polygons) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of outline and footprint with an IoU of at least 0.5, of which each has at most one."""
    at, to = shapely.STRtree(truths).query(found, predicate="intersects")
    good = iou(found[at], truths[to]) > 0.5
    return at[good], to[good]


def polis(a: Polygons, b: Polygons) -> Floats:
    """PoLiS distance of each pair."""
    return (_corners_to_border(a, b) + _corners_to_border(b, a)) / 2


def corner_angles(polygons: Polygons) -> tuple[Floats, NDArray[np.int64]]:
    """Turn at each corner in radians, without its sign, and the polygon it belongs to."""
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    turns, owner = [], []
    for ring, number in zip(rings, polygon, strict=True):
        step = np.diff(shapely.get_coordinates(ring), axis=0)
        heading = np.arctan2(step[:, 1], step[:, 0])
        turns.append(np.abs((np.roll(heading, -1) - heading + np.pi) % (2 * np.pi) - np.pi))
        owner.append(np.full(len(step), number))
    return np.concatenate(turns), np.concatenate(owner)


def _is_right(turns: Floats) -> NDArray[np.bool_]:
    return np.abs(turns - np.pi / 2) <= _RIGHT


def _corners(polygons: Polygons) -> NDArray[np.int64]:
    """Corners of each, holes too."""
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    return np.bincount(polygon, weights=shapely.get_num_coordinates(rings) - 1, minlength=len(polygons)).astype(int)


def _corners_to_border(a: Polygons, b: Polygons) -> Floats:
    """Mean distance from the corners of `a` to the border of `b`."""
    xy, owner = shapely.get_coordinates(a, return_index=True)
    distance = shapely.distance(shapely.points(xy), shapely.boundary(b)[owner])
    return np.bincount(owner, weights=distance) / np.bincount(owner)
