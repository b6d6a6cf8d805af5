"""python -m benchmarks.buildings [SIZE [SEED]]: squared buildings of a noisy town against the footprints it was drawn from.

Three rows each: the raw pixels, plain simplification, and what geoseg delivers. First for a town of houses alone; then for
one with sheds: all its footprints, those of 60 m² and more, and sheds. A shed of 3 by 4 m is 10 by 13 pixels under a blur
of 2 and noise that is correlated over 10: how far each of its walls is off is one number of the noise, which no fit can
average out: even a fit that is given the true shape and direction and moves only the walls reaches a mean IoU of .894 for
them, and of .942 for all.
"""

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


def true_footprints(
    size: int, seed: int, noise: NetworkNoise, *, sheds: bool = True
) -> tuple[NDArray[np.uint8], Polygons, rasterio.Affine]:
    """Noisy classes of a town, its footprints on the map, and the geotransform.

    Left out are footprints of which the scene's rim leaves less than the smallest building of a layer.
    """
    town = plan_town(TownSettings(size_px=(size, size), seed=seed, sheds=sheds))
    classes, _ = noisy_classes(town, noise)
    footprints = np.array(building_outlines(town), dtype=object)
    least = VectorSettings().building.min_area_m2
    return classes, footprints[shapely.area(footprints) >= least], transform_of(town)


def delivered(
    folder: Path, classes: NDArray[np.uint8], transform: rasterio.Affine, how: VectorSettings
) -> tuple[Polygons, NDArray[np.bool_], float]:
    """Buildings that geoseg makes of a class raster, whether each is squared, and CPU seconds for all of it."""
    path = folder / "classes.tif"
    height, width = classes.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=transform, **profile) as dst:
        dst.write(classes, 1)
    job = VectorJob(
        classes=path,
        confidence=None,
        transform=transform,
        crs=CRS.from_epsg(32633).to_wkt(),
        shape=classes.shape,
        legend=DEFAULT_LEGEND,
        settings=how,
        scene="town",
        work=folder,
    )
    started = time.process_time()
    parts = [vectorize_block_row(job, index) for index in range(block_rows(job))]
    frames = list(assemble(job, parts)["buildings"])
    spent = time.process_time() - started
    polygons = np.concatenate([frame.geometry.to_numpy() for frame in frames])
    return polygons, np.concatenate([frame["regularized"].to_numpy() for frame in frames]), spent


def buildings(size: int = 4096, seed: int = 7) -> None:
    """Print the scores of a town of houses, and of the same with a shed beside every third."""
    for sheds in (False, True):
        classes, truths, transform = true_footprints(size, seed, NetworkNoise(), sheds=sheds)
        plain = VectorSettings(simplify_m=0.0, buildings=BuildingSettings(enabled=False))
        with tempfile.TemporaryDirectory() as folder:
            raw, _, before = delivered(Path(folder), classes, transform, plain)
            squared, regularized, after = delivered(Path(folder), classes, transform, VectorSettings())
        print(
            f"{size}² seed {seed}, {'with' if sheds else 'without'} sheds: {len(truths)} footprints; "
            f"{regularized.mean():.1%} squared, {1000 * (after - before) / len(squared):.2f} ms of CPU each more than raw"
        )
        area = shapely.area(truths)
        groups = [("all", area > 0), ("≥ 60 m²", area >= 60), ("< 60 m²", area < 60)]
        for name, chosen in groups if sheds else groups[:1]:
            for what, found in (("raw", raw), ("simplified 0.6 m", shapely.simplify(raw, 0.6)), ("squared", squared)):
                print(f"  {name:8} {what:17} {_row(scores(near(found, truths, chosen), truths[chosen]))}")


def near(found: Polygons, truths: Polygons, chosen: NDArray[np.bool_]) -> Polygons:
    """Outlines without those that belong to a footprint that is not chosen."""
    at, to = matched(found, truths)
    return np.delete(found, at[~chosen[to]])


def _row(s: Scores) -> str:
    return (
        f"F1 {s.f1:.3f}  mIoU {s.iou:.3f}  C-IoU {s.c_iou:.3f}  corners {s.vertices:5.2f}×  PoLiS {s.polis_m:.2f} m  "
        f"right angles {s.right:.1%}  valid {s.valid:.1%}"
    )


if __name__ == "__main__":
    buildings(*(int(argument) for argument in sys.argv[1:]))
