import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

from geoseg.town import render as render_module
from geoseg.town.chips import chip, chip_settings, chips
from geoseg.town.model import Building, Town
from geoseg.town.noise import element_rng
from geoseg.town.plan import plan_town
from geoseg.town.render import render
from geoseg.town.settings import TownSettings
from geoseg.town.truth import class_raster
from geoseg.town.write import write_scene, write_truth

WIDE = TownSettings(size_px=(1300, 1100), seed=4, palette="prairie")


@pytest.fixture(scope="module")
def wide():
    return plan_town(WIDE)


def test_rows_are_those_of_the_whole(wide):
    whole = render(wide)
    assert whole.shape == (3, 1300, 1100)
    assert whole.dtype == np.uint8
    cuts = (0, 5, 700, 1024, 1025, 1300)
    parts = [render(wide, rows) for rows in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_the_squares_it_is_painted_in_do_not_show(monkeypatch):
    town = plan_town(TownSettings(size_px=(700, 1100), seed=4, palette="prairie", blur_px=1.5))
    whole = render(town).astype(int)
    monkeypatch.setattr(render_module, "SQUARE_PX", 333)
    off = np.abs(render(town).astype(int) - whole).max(axis=0)
    assert off.mean() < 0.02
    assert (off > 12).sum() < 10
    for line in (off[332:334], off[:, 332:334], off[:, 665:667], off[:, 998:1000]):
        assert line.mean() < 0.3


def test_another_process_paints_the_same_bytes():
    settings = "TownSettings(size_px=(300, 400), seed=9, palette='northern', pixel_size_m=0.5)"
    code = (
        "import hashlib; from geoseg.town.settings import TownSettings; from geoseg.town.plan import plan_town;"
        f"from geoseg.town.render import render; print(hashlib.sha256(render(plan_town({settings})).tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    here = render(plan_town(TownSettings(size_px=(300, 400), seed=9, palette="northern", pixel_size_m=0.5)))
    assert other.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()


def one_building(settings: TownSettings) -> Town:
    left, bottom, right, top = settings.bounds
    x, y = (left + right) / 2, (bottom + top) / 2
    house = Building(
        footprint=shapely.box(x - 10, y - 10, x + 10, y + 10), height_m=12.0, shape="rectangle", roof="flat",
        orientation_deg=0.0, seed=1,
    )  # fmt: skip
    empty = np.empty((0, 4))
    return Town(settings, (), (house,), (), empty, empty, shapely.box(*settings.bounds))


@pytest.mark.parametrize(("azimuth", "shaded", "lit"), [(180.0, (-1, 0), (1, 0)), (90.0, (0, -1), (0, 1))])
def test_shadows_fall_away_from_the_sun_and_end_at_height_over_tangent(azimuth, shaded, lit):
    settings = TownSettings(size_px=(256, 256), pixel_size_m=0.5, sun_azimuth_deg=azimuth, sun_elevation_deg=45.0)
    image = render(one_building(settings)).mean(axis=0)

    def level(side, distance_m):
        row, col = (128 + round(step * (10 + distance_m) / 0.5) for step in side)
        return image[row - 2 : row + 3, col - 2 : col + 3].mean()

    assert level(shaded, 5) < 0.6 * level(lit, 5)
    assert level(shaded, 10.5) < 0.6 * level(lit, 5)
    assert level(shaded, 14.5) > 0.8 * level(lit, 5)


@pytest.mark.parametrize("skylight", [0.2, 0.6])
def test_less_skylight_is_darker_in_the_shadow_alone(skylight):
    clear = TownSettings(
        size_px=(256, 256), pixel_size_m=0.5, sun_azimuth_deg=180.0, sun_elevation_deg=45.0, haze=0.0, blur_px=0.0
    )

    def levels(settings):
        image = render(one_building(settings))
        return float(image[:, 90:102, 120:136].mean()), float(image[:, 154:166, 120:136].mean())

    shaded, lit = levels(clear)
    darker, same = levels(replace(clear, skylight=skylight))
    assert darker == pytest.approx(shaded * skylight, rel=0.05)
    assert same == pytest.approx(lit, rel=0.01)


def test_classes_look_different(town):
    image, classes = render(town).astype(float), class_raster(town)
    green = [
        image[1][classes == k].mean() - (image[0][classes == k].mean() + image[2][classes == k].mean()) / 2
        for k in range(4)
    ]
    assert green[3] > max(green[:3]) + 8
    means = np.array([[band[classes == k].mean() for band in image] for k in range(4)])
    assert all(np.abs(means[i] - means[j]).max() > 6 for i in range(4) for j in range(i))
    assert (image.max(axis=0) == 255).mean() < 0.02
    assert 20 < image.std() < 80


def test_exposure_and_saturation_do_what_they_say(wide):
    rows = (0, 200)
    plain = render(wide, rows).astype(float)
    dark = render(replace(wide, settings=replace(WIDE, exposure=0.6)), rows).astype(float)
    grey = render(replace(wide, settings=replace(WIDE, saturation=0.0, noise=0.0)), rows).astype(float)
    assert dark.mean() == pytest.approx(0.6 * plain.mean(), rel=0.1)
    assert np.ptp(grey, axis=0).mean() < 0.4 * np.ptp(plain, axis=0).mean()


def test_a_scene_reads_back_as_it_was_rendered(collared, tmp_path):
    write_scene(collared, tmp_path / "scene.tif")
    image, seen = render(collared), class_raster(collared) != 255
    with rasterio.open(tmp_path / "scene.tif") as src:
        np.testing.assert_array_equal(src.read(), image)
        np.testing.assert_array_equal(src.dataset_mask() > 0, seen)
        assert src.mask_flag_enums[0] == [rasterio.enums.MaskFlags.per_dataset]
        assert src.crs.to_epsg() == 32633
        assert src.res == (0.5, 0.5)
        assert (src.transform.c, src.transform.f) == collared.settings.origin
        assert src.block_shapes[0] == (512, 512)
        assert src.compression.name == "deflate"
        assert [c.name for c in src.colorinterp] == ["red", "green", "blue"]
    assert not image[:, ~seen].any()
    assert not list(tmp_path.glob("*.msk"))


def test_the_truth_layers_agree_with_the_class_raster(collared, tmp_path):
    write_truth(collared, tmp_path)
    pixel_m2 = collared.settings.pixel_size_m**2
    with rasterio.open(tmp_path / "truth_classes.tif") as src:
        classes = src.read(1)
    np.testing.assert_array_equal(classes, class_raster(collared))
    areas = {}
    for layer in ("buildings", "roads", "green"):
        frame = gpd.read_file(tmp_path / "truth.gpkg", layer=layer)
        assert frame.crs.to_epsg() == 32633
        assert frame.geometry.is_valid.all()
        areas[layer] = frame.geometry.area.sum() / pixel_m2
    for k, layer in enumerate(("buildings", "roads", "green"), start=1):
        assert areas[layer] == pytest.approx((classes == k).sum(), rel=0.02)
    lines = gpd.read_file(tmp_path / "truth.gpkg", layer="road_centerlines")
    assert (lines.width_m >= 5).all()
    assert lines.within(collared.footprint.buffer(1e-6)).all()


def test_chips_are_many_and_each_is_its_own():
    series = TownSettings(seed=1)
    found = list(chips(series, 3, size=256, palettes=("desert", "tropical")))
    for image, mask in found:
        assert image.shape == (3, 256, 256)
        assert mask.shape == (256, 256)
        assert set(np.unique(mask)) <= {0, 1, 2, 3}
    again, _ = chip(series, 2, size=256, palettes=("desert", "tropical"))
    np.testing.assert_array_equal(again, found[2][0])
    assert (found[0][0] != found[1][0]).any()


def test_chip_settings_use_the_palettes_named_and_vary():
    drawn = [chip_settings(TownSettings(seed=2), n, palettes=("autumn", "northern")) for n in range(40)]
    assert {s.palette for s in drawn} == {"autumn", "northern"}
    assert len({s.seed for s in drawn}) == 40
    sizes = [s.pixel_size_m for s in drawn]
    assert min(sizes) < 0.4
    assert max(sizes) > 0.8


def test_random_numbers_of_elements_do_not_touch_the_global_state():
    np.random.seed(0)  # noqa: NPY002  # the global state is what must stay as it is
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    render(plan_town(TownSettings(size_px=(256, 256), seed=1)))
    element_rng(0, 1).uniform()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
