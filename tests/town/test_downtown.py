from dataclasses import replace

import numpy as np
import pytest
import shapely

from geoseg.errors import ConfigError
from geoseg.town.chips import chip_settings
from geoseg.town.model import Town
from geoseg.town.plan import plan_town
from geoseg.town.render import render
from geoseg.town.settings import TownSettings
from geoseg.town.truth import class_raster

DOWNTOWN = TownSettings(size_px=(900, 900), pixel_size_m=0.6, seed=5, palette="desert", downtown=0.8)


@pytest.fixture(scope="module")
def downtown() -> Town:
    return plan_town(DOWNTOWN)


def of_shape(town: Town, shape: str) -> np.ndarray:
    return np.array([b.footprint for b in town.buildings if b.shape == shape], dtype=object)


def test_it_has_podiums_towers_and_shells_and_the_usual_houses(downtown):
    podiums, towers = of_shape(downtown, "podium"), of_shape(downtown, "tower")
    assert len(podiums) > 15
    assert len(towers) > 2
    assert shapely.area(podiums).min() > 250
    assert {"deck", "shell", "flat", "gable"} <= {b.roof for b in downtown.buildings}
    assert min(b.height_m for b in downtown.buildings if b.shape == "tower") > 30


def test_footprints_are_valid_off_the_roads_and_never_overlap(downtown):
    houses = np.array([b.footprint for b in downtown.buildings], dtype=object)
    assert shapely.is_valid(houses).all()
    assert set(shapely.get_type_id(houses)) == {3}
    assert not shapely.intersects(downtown.road_area, houses).any()
    assert downtown.building_area.area == pytest.approx(shapely.area(houses).sum(), rel=1e-9)


def test_a_tower_fills_a_hole_of_its_podium(downtown):
    podiums = shapely.STRtree(of_shape(downtown, "podium"))
    for tower in of_shape(downtown, "tower"):
        ((_, around),) = podiums.query([tower], predicate="intersects").T
        wall = shapely.intersection(tower, podiums.geometries[around])
        assert wall.length == pytest.approx(tower.exterior.length)


def test_only_where_it_is_asked_for():
    assert not len(of_shape(plan_town(replace(DOWNTOWN, downtown=0.0)), "podium"))
    assert chip_settings(TownSettings(seed=1), 3).skylight == 1.0
    assert chip_settings(TownSettings(seed=1, downtown=0.5), 3).skylight < 1.0


def test_some_of_its_blocks_are_building_sites_and_no_building(downtown):
    pads = shapely.union_all([s.area for s in downtown.surfaces if s.cover == "pad" and s.level == 2])
    assert pads.area > 2000
    assert shapely.intersection(pads, downtown.building_area).area == 0
    stores = [s.area for s in downtown.surfaces if s.cover == "object" and s.level == 3]
    assert shapely.intersection(shapely.union_all(stores), pads).area > 100


def test_podiums_are_valid_where_points_rounded_one_by_one_would_cross():
    climates = ("desert", "mediterranean", "desert", "temperate", "tropical", "prairie")
    town = plan_town(chip_settings(TownSettings(seed=1, downtown=0.6), 89, 768, climates))
    assert shapely.is_valid(of_shape(town, "podium")).all()


def greenish_share_of_roofs(town: Town) -> float:
    image = render(town).astype(int)
    greenish = image[1] - (image[0] + image[2]) // 2 > 14
    return float(greenish[class_raster(town) == 1].mean())


def test_gardens_on_podiums_are_building(downtown):
    assert greenish_share_of_roofs(downtown) > 0.02
    assert greenish_share_of_roofs(plan_town(replace(DOWNTOWN, downtown=0.0))) < 0.005


@pytest.mark.parametrize("key", ["downtown", "skylight"])
def test_shares_out_of_range_are_refused(key):
    with pytest.raises(ConfigError, match=key):
        TownSettings(**{key: 2.5})
