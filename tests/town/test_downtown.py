from dataclasses import replace

import numpy as np
import pytest
import shapely

from geoseg.errors import ConfigError
from geoseg.town.chips import chip_settings
from geoseg.town.model import Building, Town
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
    assert len(podiums) > 20
    assert len(towers) > 5
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


def test_gardens_on_podiums_are_building(downtown):
    image, classes = render(downtown).astype(int), class_raster(downtown)
    greenish = image[1] - (image[0] + image[2]) // 2 > 14
    roofs = classes == 1
    assert greenish[roofs].mean() > 0.02
    usual = plan_town(replace(DOWNTOWN, downtown=0.0))
    image, classes = render(usual).astype(int), class_raster(usual)
    assert (image[1] - (image[0] + image[2]) // 2 > 14)[classes == 1].mean() < 0.005


@pytest.mark.parametrize("skylight", [0.2, 0.6])
def test_less_skylight_is_darker_in_the_shadow_alone(skylight):
    def levels(settings: TownSettings) -> tuple[float, float]:
        left, bottom, right, top = settings.bounds
        x, y = (left + right) / 2, (bottom + top) / 2
        house = Building(
            footprint=shapely.box(x - 10, y - 10, x + 10, y + 10), height_m=14.0, shape="rectangle", roof="flat",
            orientation_deg=0.0, seed=1,
        )  # fmt: skip
        empty = np.empty((0, 4))
        image = render(Town(settings, (), (house,), (), empty, empty, shapely.box(*settings.bounds)))
        return float(image[:, 90:102, 120:136].mean()), float(image[:, 154:166, 120:136].mean())

    clear = TownSettings(
        size_px=(256, 256), pixel_size_m=0.5, sun_azimuth_deg=180.0, sun_elevation_deg=45.0, haze=0.0, blur_px=0.0
    )
    shaded, lit = levels(clear)
    darker, same = levels(replace(clear, skylight=skylight))
    assert darker == pytest.approx(shaded * skylight, rel=0.05)
    assert same == pytest.approx(lit, rel=0.01)


@pytest.mark.parametrize("key", ["downtown", "skylight"])
def test_shares_out_of_range_are_refused(key):
    with pytest.raises(ConfigError, match=key):
        TownSettings(**{key: 2.5})
