from itertools import pairwise

import numpy as np
import pytest
import rasterio.transform
import shapely

from geoseg.legend import NODATA
from geoseg.town import noisy
from geoseg.town.noisy import NetworkNoise, noisy_classes
from geoseg.town.plan import plan_town
from geoseg.town.settings import TownSettings
from geoseg.town.truth import class_raster, transform_of


def iou(a, b, k):
    return ((a == k) & (b == k)).sum() / ((a == k) | (b == k)).sum()


def test_the_raster_is_the_class_at_each_pixel_centre(town):
    classes = class_raster(town)
    rng = np.random.default_rng(0)
    rows, cols = rng.integers(0, classes.shape[0], 3000), rng.integers(0, classes.shape[1], 3000)
    x, y = rasterio.transform.xy(transform_of(town), rows, cols)
    want = np.where(shapely.contains_xy(town.green_area, x, y), 3, 0)
    want[shapely.contains_xy(town.road_area, x, y)] = 2
    want[shapely.contains_xy(town.building_area, x, y)] = 1
    # Centres on an edge, to a millimetre, may fall either way.
    borders = shapely.union_all([g.boundary for g in (town.green_area, town.road_area, town.building_area)])
    clear = shapely.distance(shapely.points(x, y), borders) > 1e-3
    np.testing.assert_array_equal(classes[rows, cols][clear], want[clear])
    assert set(np.unique(classes)) == {0, 1, 2, 3}


@pytest.mark.parametrize("cuts", [(0, 700), (0, 1, 399, 512, 700)])
def test_rows_are_those_of_the_whole(collared, cuts):
    parts = [class_raster(collared, rows) for rows in pairwise(cuts)]
    np.testing.assert_array_equal(np.vstack(parts), class_raster(collared))


def test_shares_are_those_of_a_town():
    totals = np.zeros(4)
    for seed in (1, 2):
        settings = TownSettings(size_px=(1800, 1800), pixel_size_m=0.6, seed=seed)
        totals += np.bincount(class_raster(plan_town(settings)).ravel(), minlength=4)[:4]
    background, building, road, green = totals / totals.sum()
    assert 0.40 < background < 0.58
    assert 0.12 < building < 0.21
    assert 0.07 < road < 0.15
    assert 0.16 < green < 0.32


def test_the_collar_is_nodata(collared):
    classes = class_raster(collared)
    share = 1 - collared.footprint.area / shapely.box(*collared.settings.bounds).area
    assert (classes == NODATA).mean() == pytest.approx(share, abs=0.005)
    assert classes[0, 0] == NODATA


def test_network_noise_errs_like_a_network(town):
    truth = class_raster(town)
    classes, confidence = noisy_classes(town)
    assert classes.dtype == confidence.dtype == np.uint8
    assert 0.85 < iou(classes, truth, 1) < 0.97
    assert 0.85 < iou(classes, truth, 2) < 0.98
    right = classes == truth
    assert confidence[right].mean() > confidence[~right].mean() + 25


def test_without_noise_the_truth_comes_back(town):
    clean = NetworkNoise(blur_px=0.0, amplitude=0.0, occluders_per_km2=0.0)
    classes, confidence = noisy_classes(town, clean)
    np.testing.assert_array_equal(classes, class_raster(town))
    assert confidence.min() >= 254


def test_noise_does_not_depend_on_the_bands_of_rows(collared, monkeypatch):
    whole = noisy_classes(collared)
    monkeypatch.setattr(noisy, "_BAND_ROWS", 123)
    for a, b in zip(whole, noisy_classes(collared), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole[0] == NODATA, class_raster(collared) == NODATA)


def test_another_seed_is_another_noise(collared):
    assert (noisy_classes(collared)[0] != noisy_classes(collared, NetworkNoise(seed=1))[0]).any()
