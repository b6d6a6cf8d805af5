"""Houses whose pixels touch over a neck are two, and one house that a crown bites into is one."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio.features
import shapely
from rasters import make_job
from shapely import affinity
from shapely.geometry import Point, box, shape
from test_vectorize import layers, same

from geoseg.vector.buildings import SquaringSettings, iou
from geoseg.vector.necks import parted_at_necks, squared_apart
from geoseg.vector.settings import BuildingSettings, VectorSettings
from geoseg.vector.vectorize import block_rows, vectorize_block_row

HOW = SquaringSettings(tolerance_px=2.5, shortest_px=5.0, neck_px=10.0)
LEFT, RIGHT = box(20, 40, 75, 85), box(79, 35, 130, 90)
"""Two houses 4 pixels apart."""


def pixels(footprint, size=160):
    mask = rasterio.features.rasterize([footprint], out_shape=(size, size), dtype="uint8")
    found = [shape(p) for p, v in rasterio.features.shapes(mask, connectivity=4) if v]
    return max(found, key=lambda p: p.area)


def turned(footprint, degrees):
    return affinity.rotate(footprint, degrees, origin=(80, 65))


def linked(degrees=0.0, neck=6, at=60):
    """Pixels of the two with a neck of so many pixels between them."""
    return pixels(turned(shapely.union_all([LEFT, RIGHT, box(70, at, 85, at + neck)]), degrees))


@pytest.mark.parametrize("degrees", [0, 17, 45, 80])
@pytest.mark.parametrize("at", [40, 60, 79])
def test_houses_a_gap_apart_are_two(degrees, at):
    found, building = squared_apart(np.array([linked(degrees, at=at)]), HOW)
    assert building.tolist() == [0, 0]
    assert (iou(found.polygons, np.array([turned(RIGHT, degrees), turned(LEFT, degrees)])) > 0.95).all()


@pytest.mark.parametrize("degrees", [0, 17, 45, 80])
@pytest.mark.parametrize(
    "right",
    [box(78, 63, 128, 99), affinity.rotate(box(77, 48, 107, 78), -45, origin=(77, 48))],
    ids=["at both corners", "at one"],
)
def test_houses_that_touch_at_a_corner_are_two(degrees, right):
    left = box(30, 30, 80, 66)
    both = np.array([turned(house, degrees) for house in (right.difference(left), left)])
    found, building = squared_apart(np.array([pixels(shapely.union_all(both))]), HOW)
    assert building.tolist() == [0, 0]
    assert (np.sort(iou(found.polygons[:, None], both[None, :]), axis=None)[-2:] > 0.93).all()


@pytest.mark.parametrize("degrees", [0, 30])
def test_parts_have_all_pixels_between_them_larger_ones_first(degrees):
    whole = linked(degrees)
    parts, building = parted_at_necks(np.array([whole]), HOW)
    assert building.tolist() == [0, 0]
    assert shapely.area(parts).sum() == whole.area
    assert shapely.union_all(parts).equals(whole)
    assert (np.diff(shapely.area(parts)) <= 0).all()
    assert (shapely.get_coordinates(parts) % 1 == 0).all()


@pytest.mark.parametrize(
    "footprint",
    [
        box(20, 40, 130, 85),
        box(20, 40, 130, 85) - Point(75, 74).buffer(13) - Point(75, 51).buffer(13),
        box(20, 40, 130, 70) - Point(75, 60).buffer(14),
        box(20, 40, 60, 85) | box(100, 40, 140, 85) | box(50, 60, 110, 68),
        box(20, 40, 75, 85) | box(79, 60, 85, 66) | box(70, 60, 85, 66),
    ],
    ids=["hall", "two crowns", "one crown", "passage between wings", "porch"],
)
def test_one_house_stays_one(footprint):
    whole = pixels(footprint)
    parts, building = parted_at_necks(np.array([whole]), HOW)
    assert building.tolist() == [0]
    assert parts[0].equals(whole)


def test_a_wide_link_is_no_neck():
    assert len(parted_at_necks(np.array([linked(neck=14)]), HOW)[0]) == 1


@pytest.mark.parametrize("neck_px", [0.0, 1.0])
def test_where_pixels_are_as_large_as_necks_none_are_seen(neck_px):
    assert len(parted_at_necks(np.array([linked(neck=1)]), replace(HOW, neck_px=neck_px))[0]) == 1


def test_pixels_that_are_no_squares_are_measured_on_the_ground():
    narrow = pixels(affinity.scale(shapely.union_all([LEFT, RIGHT, box(70, 60, 85, 66)]), 1.0, 0.5, origin=(0, 0)))
    for pixel, parts in (((1.0, 2.0), 2), ((1.0, 1.0), 2), ((1.0, 4.0), 1)):
        assert len(parted_at_necks(np.array([narrow]), replace(HOW, pixel=pixel))[0]) == parts


def test_others_are_squared_as_without_it_and_in_their_order():
    rows = np.array([pixels(box(5, 5, 40, 30)), linked(), pixels(box(50, 100, 90, 150)), linked(20)])
    found, building = squared_apart(rows, HOW)
    assert building.tolist() == [0, 1, 1, 2, 3, 3]
    alone, _ = squared_apart(rows[[0, 2]], HOW)
    assert shapely.equals_exact(found.polygons[[0, 3]], alone.polygons).all()


def test_no_buildings():
    found, building = squared_apart(np.zeros(0, object), HOW)
    assert len(found.polygons) == len(building) == 0


def street():
    """Houses linked across the rows of blocks and within them, with green around."""
    classes = np.full((400, 160), 3, np.uint8)
    for top, degrees in ((-20, 0), (90, 25), (210, 60)):
        moved = affinity.translate(turned(shapely.union_all([LEFT, RIGHT, box(70, 60, 85, 66)]), degrees), 0, top)
        classes[rasterio.features.rasterize([moved], out_shape=classes.shape, dtype="uint8") > 0] = 1
    return classes


def scene(folder, rows, **buildings):
    how = VectorSettings(block_rows=rows, buildings=BuildingSettings(**buildings))
    job = make_job(folder, street(), how=how)
    return layers(job, [vectorize_block_row(job, i) for i in range(block_rows(job))])


def test_layers_of_a_scene_hold_both_houses_whatever_the_blocks(tmp_path):
    found = {}
    for rows in (400, 150, 37):
        (folder := tmp_path / str(rows)).mkdir()
        found[rows] = scene(folder, rows)
    houses = found[400]["buildings"]
    assert len(houses) == 6
    assert houses["id"].is_unique
    assert houses["regularized"].all()
    both = np.concatenate([found[400][name].geometry.to_numpy() for name in ("buildings", "green")])
    assert shapely.union_all(both).area == pytest.approx(shapely.area(both).sum())
    for rows in (150, 37):
        assert same({"buildings": houses}, {"buildings": found[rows]["buildings"]})


def test_it_can_be_turned_off(tmp_path):
    assert len(scene(tmp_path, 150, neck_m=0.0)["buildings"]) == 3


@pytest.mark.parametrize("degrees", [0, 20])
def test_a_small_lawn_between_two_houses_is_no_roof(tmp_path, degrees):
    """It shares all but its ends with their walls; a crown within a roof shares all of it."""
    footprints = [turned(LEFT, degrees), turned(RIGHT, degrees)]
    lawn, crown = turned(box(75, 42, 79, 60), degrees), turned(Point(45, 62).buffer(4), degrees)
    drawn = [(house, 1) for house in footprints] + [(lawn, 3), (crown, 3)]
    classes = rasterio.features.rasterize(drawn, out_shape=(160, 160), dtype="uint8")
    found = layers(make_job(tmp_path, classes, how=VectorSettings()))
    assert len(found["buildings"]) == 2
    assert found["green"].empty
    areas = sorted(footprint.area for footprint in footprints)
    assert np.sort(found["buildings"]["area_m2"]) == pytest.approx(np.array(areas) * 0.09, rel=0.03)
