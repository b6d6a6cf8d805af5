"""Blocks, seams and rings against GDAL's one-shot polygonization."""

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rasters import noise
from shapely.geometry import shape

from geoseg.vector import parts as part_files
from geoseg.vector.assemble import Selection, idle_of, rings_by_block
from geoseg.vector.blocks import block_part
from geoseg.vector.seams import joined
from geoseg.vector.sieve import SizeLimits

NONE = SizeLimits(np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(256, bool))


def one_shot(classes):
    """GDAL's 4-connected polygons, as normalized WKB with their class, collinear vertices dropped."""
    found = rasterio.features.shapes(classes, mask=classes != 255, connectivity=4)
    return {(int(value), shape(polygon).simplify(0).normalize().wkb) for polygon, value in found}


def blockwise(classes, block, folder, tolerance=0.0, *, raw=True):
    """The regions and polygons of a raster cut into blocks of some rows, on the pixel lattice."""
    files = []
    for first in range(0, len(classes), block):
        rows = classes[first : first + block]
        sides = (first > 0, first + block < len(classes))
        files.append(folder / f"{block}_{first}.npz")
        part_files.save(files[-1], *block_part(rows, rows, None, first, sides, NONE, tolerance))
    regions = joined(files, block, classes.shape)
    everything = regions.value != 255
    chosen = Selection(everything, idle_of(files, regions, everything), NONE)
    rings = list(rings_by_block(files, regions, chosen, raw=raw))
    polygons = np.concatenate([r.polygons(r.xy.astype(float)) for r in rings]) if rings else np.array([])
    owners = np.concatenate([r.owner[r.shell] for r in rings]) if rings else np.array([], int)
    return regions, owners, polygons


def as_set(regions, owners, polygons):
    assert shapely.is_valid(polygons).all()
    return {(int(regions.value[o]), p.simplify(0).normalize().wkb) for o, p in zip(owners, polygons, strict=True)}


@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    classes=st.integers(1, 4),
    nodata=st.sampled_from([0.0, 0.3]),
    block=st.integers(1, 15),
)
@hypothesis_settings(max_examples=150, deadline=None)
def test_tiny_noise_equals_gdal_for_any_blocks(tmp_path_factory, seed, height, width, classes, nodata, block):
    raster = noise(np.random.default_rng(seed), (height, width), classes=classes, nodata=nodata)
    found = blockwise(raster, block, tmp_path_factory.mktemp("parts"))
    assert as_set(*found) == one_shot(raster)


@pytest.mark.parametrize("block", [7, 64, 100, 300])
def test_blobs_equal_gdal_for_any_blocks(tmp_path, block):
    raster = noise(np.random.default_rng(3), (300, 410), nodata=0.1, smooth=3)
    regions, owners, polygons = blockwise(raster, block, tmp_path)
    assert as_set(regions, owners, polygons) == one_shot(raster)
    assert (shapely.area(polygons) == regions.pixels[owners]).all()


def test_regions_are_numbered_by_their_first_pixel(tmp_path):
    raster = noise(np.random.default_rng(5), (80, 90), smooth=2)
    _, owners, polygons = blockwise(raster, 16, tmp_path)
    first = {}
    for owner, polygon in zip(owners, polygons, strict=True):
        inside = rasterio.features.rasterize([polygon], out_shape=raster.shape)
        first[owner] = int(np.flatnonzero(inside)[0])
    assert [first[o] for o in sorted(first)] == sorted(first.values())


def spiral(size):
    raster = np.zeros((size, size), np.uint8)
    r, c, dr, dc = 0, 0, 0, 1
    low, high = [0, 0], [size - 1, size - 1]
    while low[0] <= high[0] and low[1] <= high[1]:
        raster[r, c] = 1
        nr, nc = r + dr, c + dc
        if not (low[0] <= nr <= high[0] and low[1] <= nc <= high[1]):
            if dc == 1:
                low[0] += 2
            elif dr == 1:
                high[1] -= 2
            elif dc == -1:
                high[0] -= 2
            else:
                low[1] += 2
            dr, dc = dc, -dr
            nr, nc = r + dr, c + dc
            if not (0 <= nr < size and 0 <= nc < size):
                break
        r, c = nr, nc
    return raster


@pytest.mark.parametrize(
    "raster",
    [
        np.zeros((1, 50), np.uint8),
        np.ones((50, 1), np.uint8),
        np.full((9, 9), 255, np.uint8),
        np.indices((60, 61)).sum(axis=0).astype(np.uint8) % 2,
        spiral(65),
    ],
    ids=["row", "column", "nodata", "checkerboard", "spiral"],
)
def test_odd_rasters_equal_gdal(tmp_path, raster):
    assert as_set(*blockwise(raster, 16, tmp_path)) == one_shot(raster)


@pytest.mark.parametrize("block", [40, 150])
@pytest.mark.parametrize("smooth", [0.7, 1.5, 4])
def test_simplified_borders_are_a_valid_coverage_of_the_whole_scene(tmp_path, smooth, block):
    raster = noise(np.random.default_rng(11), (150, 170), smooth=smooth)
    _, owners, polygons = blockwise(raster, block, tmp_path, tolerance=2.0, raw=False)
    _, raw_owners, raw = blockwise(raster, block, tmp_path)
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    assert shapely.area(polygons).sum() == raster.size
    assert sorted(owners) == sorted(raw_owners)
    if smooth > 1:
        assert shapely.get_num_coordinates(polygons).sum() < 0.6 * shapely.get_num_coordinates(raw).sum()
    moved = shapely.hausdorff_distance(polygons[np.argsort(owners)], raw[np.argsort(raw_owners)])
    assert moved.max() <= 2.0 + 1e-9
