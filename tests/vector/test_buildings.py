"""Squared buildings against the footprints that they were drawn from, worn like a network's."""

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio.features
import shapely
from shapely import affinity
from shapely.geometry import Point, Polygon, box, shape

from geoseg.town.noisy import NetworkNoise
from geoseg.vector.buildings import SHAPES, SquaringSettings, iou, squared
from geoseg.vector.settings import BuildingSettings, VectorSettings

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks.buildings import delivered, near, polis, scores, true_footprints

HOW = SquaringSettings(tolerance_px=2.5, shortest_px=5.0)

L_SHAPE = Polygon([(0, 0), (60, 0), (60, 25), (25, 25), (25, 50), (0, 50)])
U_SHAPE = Polygon([(0, 0), (70, 0), (70, 45), (50, 45), (50, 20), (20, 20), (20, 45), (0, 45)])
COURTYARD = Polygon(box(0, 0, 80, 70).exterior.coords, [box(25, 20, 55, 50).exterior.coords])
WING = Polygon([(0, 0), (50, 0), (50, 22), (72, 44), (56, 60), (18, 22), (0, 22)])
CHAMFERED = Polygon([(12, 0), (50, 0), (50, 40), (0, 40), (0, 12)])


def worn(footprint, seed=0, amplitude=0.1):
    """The footprint's pixels after blur and correlated noise, as raw polygons."""
    size = 160
    mask = rasterio.features.rasterize([footprint], out_shape=(size, size)).astype(np.float32)
    bumps = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32), (0, 0), 3)
    mask = (cv2.GaussianBlur(mask, (0, 0), 2) + bumps * (amplitude / bumps.std()) > 0.5).astype(np.uint8)
    found = [shape(p) for p, v in rasterio.features.shapes(mask, connectivity=4) if v]
    return max(found, key=lambda p: p.area)


def placed(footprint, degrees):
    turned = affinity.rotate(footprint, degrees, origin="centroid")
    return affinity.translate(turned, 80.3 - turned.centroid.x, 79.8 - turned.centroid.y)


def both(footprint, angles):
    truths = [placed(footprint, angle) for angle in angles]
    raw = [worn(truth, seed) for seed, truth in enumerate(truths)]
    return np.array(truths), np.array(raw), squared(np.array(raw), HOW)


ANGLES = [0, 11, 30, 45, 62, 85]


@pytest.mark.parametrize(
    "footprint", [box(0, 0, 50, 30), L_SHAPE, U_SHAPE, COURTYARD], ids=["box", "L", "U", "courtyard"]
)
def test_right_angled_buildings_come_back_better_than_their_pixels(footprint):
    truths, raw, found = both(footprint, ANGLES)
    assert shapely.is_valid(found.polygons).all()
    assert [SHAPES[k] for k in found.shape] == ["right angles"] * len(ANGLES)
    assert (shapely.get_num_coordinates(found.polygons) == shapely.get_num_coordinates(truths)).all()
    assert iou(found.polygons, truths).mean() > max(iou(raw, truths).mean() + 0.015, 0.955)
    off = (np.degrees(found.direction) - ANGLES + 45) % 90 - 45
    assert np.abs(off).max() < 2.0


def test_diagonal_wings_and_cut_corners_keep_their_direction():
    for footprint in (WING, CHAMFERED):
        truths, raw, found = both(footprint, ANGLES)
        assert iou(found.polygons, truths).mean() > iou(raw, truths).mean()
        assert (found.shape == SHAPES.index("diagonal walls")).sum() >= 3


def test_circles_are_circles():
    truths, _, found = both(Point(0, 0).buffer(22), ANGLES)
    assert (found.shape == SHAPES.index("circle")).all()
    assert iou(found.polygons, truths).min() > 0.96


def regular(corners, radius):
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return Polygon(radius * np.stack([np.cos(turn), np.sin(turn)], axis=1))


@pytest.mark.parametrize(
    ("make", "least"),
    [
        (lambda rng: Point(0, 0).buffer(rng.uniform(16, 40)), 0.97),
        (lambda rng: regular(6, rng.uniform(15, 35)), 0),
        (lambda rng: regular(3, rng.uniform(25, 40)), 0),
        (lambda rng: affinity.scale(CHAMFERED, *[rng.uniform(0.6, 1.3)] * 2), 0),
        (lambda rng: shapely.convex_hull(shapely.MultiPoint(rng.uniform(-30, 30, (rng.integers(6, 12), 2)))), 0),
    ],
    ids=["circles", "hexagons", "triangles", "chamfered", "convex"],
)
def test_shapes_without_right_angles_are_no_worse_than_simplified(make, least):
    rng = np.random.default_rng(5)
    truths = np.array([placed(make(rng), rng.uniform(0, 90)) for _ in range(40)])
    raw = np.array([worn(truth, seed) for seed, truth in enumerate(truths)])
    found, plain = squared(raw, HOW), iou(shapely.simplify(raw, 2), truths)
    kept = np.where(shapely.is_missing(found.polygons), shapely.simplify(raw, 1.75), found.polygons)
    assert iou(kept, truths).mean() > max(plain.mean() - 0.005, least)


@pytest.mark.parametrize("crown", [(50, 15, 9), (40, 50, 10)], ids=["hole", "bite"])
def test_walls_go_on_below_a_tree(crown):
    x, y, radius = crown
    house = affinity.translate(box(0, 0, 70, 55), 30.2, 40.4)
    bitten = house.difference(Point(30.2 + x, 40.4 + y).buffer(radius))
    raw = worn(bitten)
    found = squared(np.array([raw]), HOW)
    assert shapely.get_num_coordinates(found.polygons[0]) == 5
    assert iou(found.polygons[0], house) > iou(raw, house) + 0.03
    kept = squared(np.array([raw]), replace(HOW, crown_px=0))
    assert shapely.get_num_coordinates(kept.polygons[0]) > 5


def test_courtyards_and_notches_are_no_trees():
    notched = Polygon([(0, 0), (60, 0), (60, 40), (38, 40), (38, 24), (22, 24), (22, 40), (0, 40)])
    yard = Polygon(box(0, 0, 60, 50).exterior.coords, [box(20, 18, 40, 34).exterior.coords])
    for footprint, corners in ((notched, 9), (yard, 10)):
        _, _, found = both(footprint, ANGLES)
        assert (shapely.get_num_coordinates(found.polygons) == corners).all()


def test_a_slit_beside_a_shed_makes_no_spike():
    joined = shapely.union_all([box(0, 0, 50, 30), box(52.5, 0, 68, 14), box(45, 0, 60, 5)])
    _, _, found = both(joined, ANGLES)
    for polygon in found.polygons:
        xy = np.array(polygon.exterior.coords)
        heading = np.arctan2(*np.diff(xy, axis=0, append=xy[1:2]).T)
        assert np.abs(np.degrees((np.diff(heading) + np.pi) % (2 * np.pi) - np.pi)).max() < 120


def test_scores_of_hand_worked_pairs():
    truths = np.array([box(0, 0, 10, 10), box(20, 0, 30, 10), box(50, 0, 60, 10)])
    notched = Polygon([(20, 0), (30, 0), (30, 5), (25, 5), (25, 10), (20, 10)])
    got = scores(np.array([box(1, 0, 11, 10), notched, box(100, 0, 110, 10)]), truths)
    assert (got.count, got.valid, got.right) == (3, 1.0, 1.0)
    assert got.f1 == pytest.approx(2 * 2 / 6)
    assert got.iou == pytest.approx((90 / 110 + 75 / 100) / 2)
    assert got.c_iou == pytest.approx((90 / 110 + 75 / 100 * (1 - 2 / 10)) / 2)
    assert got.vertices == pytest.approx(10 / 8)
    # Of the four corners of each box two are 1 from the other's border and two lie on it.
    assert polis(np.array([box(1, 0, 11, 10)]), truths[:1])[0] == pytest.approx((2 * 1 / 4 + 2 * 1 / 4) / 2)


@pytest.mark.parametrize(("sheds", "least_m2", "count"), [(False, 0, 300), (True, 60, 450)])
def test_buildings_of_a_noisy_town_come_close_to_their_footprints(tmp_path, sheds, least_m2, count):
    """The bars of a town of houses; with sheds, which keep little of their shape, for what is larger than those."""
    classes, truths, transform = true_footprints(2048, 3, NetworkNoise(), sheds=sheds)
    plain = VectorSettings(simplify_m=0.0, buildings=BuildingSettings(enabled=False))
    raw, _, _ = delivered(tmp_path, classes, transform, plain)
    outlines, regularized, _ = delivered(tmp_path, classes, transform, VectorSettings())
    large = shapely.area(truths) >= least_m2
    before, after = (scores(near(found, truths, large), truths[large]) for found in (raw, outlines))
    assert len(truths) > count
    assert regularized.mean() > 0.97
    assert after.valid == 1
    assert after.f1 >= before.f1 - 0.003
    assert after.iou >= max(0.945, before.iou + 0.02)
    assert after.c_iou >= 0.92
    assert 0.95 <= after.vertices <= 1.10
    assert after.polis_m <= 0.20
    assert after.right >= 0.96
    everything = scores(outlines, truths)
    assert everything.iou >= scores(raw, truths).iou + 0.02


def test_nothing_in_gives_nothing_out():
    assert len(squared(np.array([], dtype=object), HOW).polygons) == 0
