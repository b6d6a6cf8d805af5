"""Odd but real GeoTIFFs: each is mapped right or refused with its reason, and none takes long or much memory."""

import re
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geoseg.config import RunSettings
from geoseg.raster.read import SceneReader
from geoseg.run.mapping import map_scenes
from geoseg.run.plan import plan_run
from tests.conftest import make_contract
from tests.raster.test_read import read_all

DATA = Path(__file__).parents[2] / "../shared/data"
pytestmark = [
    pytest.mark.skipif(not (DATA / "oddities").is_dir(), reason="the real imagery is not here"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

SIZE = "m on the ground, but model"
ONE = r"1 band \(\w+\), but model 'test' takes 3"
FOUR = r"4 bands \(\w+\), but model 'test' takes 3"
PALETTE = "indices into a palette"
TURNED = "rotated or sheared"
BARE = "no CRS"
AS_IT_IS = {"any_pixel_size": True}
GREY = {"bands": (1, 1, 1), "any_pixel_size": True}
DEEP = GREY | {"value_range": (0, 1000)}
RGB = {"bands": (1, 2, 3), "any_pixel_size": True}

# File → why it is refused by default (None: it is not), and the options that admit it (None: nothing does).
FILES = {
    "oddities/geotifftestdata__GA4886_VanderfordGlacier_2022_EGM2008_64m-epsg3031.cog": (ONE, DEEP),
    "oddities/geotifftestdata__GeogToWGS84GeoKey5.tif": (PALETTE, None),
    "oddities/geotifftestdata__gadas.tif": (SIZE, AS_IT_IS),
    "oddities/geotifftestdata__no_pixelscale_or_tiepoints.tiff": (ONE, DEEP),
    "oddities/geotifftestdata__utm.tif": (PALETTE, None),
    "oddities/odc-geo__au-3577-rotated.tif": (TURNED, None),
    "oddities/odc-geo__au-gcp.tif": ("24 ground control points", GREY | {"allow_ungeoreferenced": True}),
    "oddities/rasterio__RGB.byte.tif": (SIZE, AS_IT_IS),
    "oddities/rasterio__alpha.tif": (SIZE, AS_IT_IS),
    "oddities/rasterio__cogeo.tif": (None, {}),
    "oddities/rasterio__float_raster_with_nodata.tif": (ONE, DEEP),
    "oddities/rasterio__goes.tif": (SIZE, AS_IT_IS),
    "oddities/rasterio__rgb1.tif": (SIZE, AS_IT_IS),
    "oddities/rasterio__rgb1_fake_nir_epsg3857.tif": (ONE, GREY),
    "oddities/rasterio__rgb2.tif": (SIZE, AS_IT_IS),
    "oddities/rasterio__rgb3.tif": (SIZE, AS_IT_IS),
    "oddities/rasterio__rgb4.tif": (SIZE, AS_IT_IS),
    "oddities/rasterio__rotated.tif": (BARE, GREY | {"allow_ungeoreferenced": True}),
    "oddities/rio-cogeo__image_2000px.tif": (None, {}),
    "oddities/rio-cogeo__image_colormap.tif": (PALETTE, None),
    "oddities/rio-cogeo__image_geos.tif": (SIZE, AS_IT_IS),
    "oddities/rio-cogeo__image_nan.tif": (ONE, DEEP),
    "oddities/rio-cogeo__image_rgb_mask.tif": (None, {}),
    "oddities/rio-cogeo__image_web_z5_z11.tif": (SIZE, AS_IT_IS),
    "oddities/rio-tiler__201404_13SED190110_201404_0x1500m_CL_1.tif": (SIZE, AS_IT_IS),
    "oddities/rio-tiler__201404_13SED190110_201404_0x1500m_CL_1_alpha.tif": (SIZE, AS_IT_IS),
    "oddities/rio-tiler__201404_13SED190110_201404_0x1500m_CL_1_extmask.tif": (SIZE, AS_IT_IS),
    "oddities/rio-tiler__201404_13SED190110_201404_0x1500m_CL_1_mask.tif": (SIZE, AS_IT_IS),
    "oddities/rio-tiler__201404_13SED190110_201404_0x1500m_CL_1_nodata.tif": (SIZE, AS_IT_IS),
    "oddities/rio-tiler__cog_cmap.tif": (PALETTE, None),
    "oddities/rio-tiler__cog_nodata_nan.tif": (ONE, DEEP),
    "oddities/rio-tiler__cog_rgb.tif": (SIZE, AS_IT_IS),
    "oddities/rio-tiler__cog_rgb_mask.tif": (SIZE, AS_IT_IS),
    "oddities/rio-tiler__cog_rgba.tif": (SIZE, AS_IT_IS),
    "oddities/rioxarray__2d_test.tif": (TURNED, None),
    "oddities/rioxarray__test_rpcs_ext_file.tif": (BARE, DEEP | {"allow_ungeoreferenced": True}),
    "oddities/stars__L7_ETMs.tif": (r"6 bands \(uint8\), but model", RGB),
    "oddities/stars__geomatrix.tif": (TURNED, None),
    "spacenet/SN4_buildings_train_AOI_6_Atlanta_nadir10_catid_1030010003993E00_PS-RGBNIR_732701_3729639_clipped.tif": (None, {}),
    "spacenet/SN7_global_monthly_2020_01_mosaic_L15-0331E-1257N_1327_3160_13_clipped.tif": (FOUR, RGB | {"value_range": (0, 3000)}),
    "spacenet/SpaceNet_AOI_2_Las_Vegas-056155973080_01_P001-WV03-B.tif": (ONE, {"bands": (1, 1, 1)}),
    "spacenet/SpaceNet_AOI_2_Las_Vegas-056155973080_01_P001-WV03-G.tif": (ONE, {"bands": (1, 1, 1)}),
    "spacenet/SpaceNet_AOI_2_Las_Vegas-056155973080_01_P001-WV03-N.tif": (ONE, {"bands": (1, 1, 1)}),
    "spacenet/SpaceNet_AOI_2_Las_Vegas-056155973080_01_P001-WV03-R.tif": (ONE, {"bands": (1, 1, 1)}),
    "spacenet/ms1.tif": (FOUR, RGB | {"value_range": (0, 1)}),
    "spacenet/nodata_aoi_restricted_nebraska_landsat5_with_nodata_wgs84_-101.003_41.774.tif": (ONE, DEEP),
    "spacenet/nodata_aoi_restricted_nebraska_landsat5_with_nodata_wgs84_-101.044_41.774.tif": (ONE, DEEP),
    "spacenet/road_mask_input.tif": (ONE, DEEP),
    "spacenet/sample_geotiff.tif": (ONE, DEEP),
    "spacenet/sample_road_raster_mask.tif": (ONE, GREY),
    "naip/m_4709963_se_14_1_20090818.tif": (FOUR, RGB),
    "naip/m_4709963_se_14_1_20200831.tif": (FOUR, RGB),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model directory to plan with; its weights are never opened."""
    folder = tmp_path_factory.mktemp("model")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(b"")
    make_contract().write(folder)
    return folder


@pytest.fixture
def plan(tmp_path, model):
    def make(name, **options):
        settings = RunSettings(inputs=(str(DATA / name),), output=tmp_path / "out", model=model, **options)
        return plan_run(settings, 0)

    return make


def test_every_file_is_listed():
    there = {f"{p.parent.name}/{p.name}" for f in ("oddities", "spacenet", "naip") for p in (DATA / f).iterdir()}
    assert {n for n in there if not n.endswith((".geojson", ".msk"))} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_refused_with_its_reason_or_read_right(name, plan):
    text, options = FILES[name]
    started = time.monotonic()
    made = plan(name)
    if text is None:
        assert not made.refusals
    else:
        assert re.search(text, made.refusals[0].reason), made.refusals
    everything = {"any_pixel_size": True, "allow_ungeoreferenced": True, "value_range": (0, 1000)}
    if options is None:
        assert re.search(text, plan(name, **everything, bands=(1, 1, 1)).refusals[0].reason)
    else:
        (scene,) = plan(name, **options).scenes
        if scene.scene.height * scene.scene.width < 10_000_000:
            read_right(scene)
        else:
            sweep(scene)
    assert time.monotonic() - started < 60


def read_right(plan):
    """Pixels and mask are those that rasterio reads in one go."""
    pixels, valid = read_all(plan.scene.path, plan.bands, allow_ungeoreferenced=True)
    with rasterio.open(plan.scene.path) as src:
        expected = src.read(list(plan.bands))
        mask = np.logical_and.reduce([src.read_masks(b) > 0 for b in plan.bands])
        if src.nodata == 0:  # GDAL masks each band by itself; a pixel is nodata where all of them are
            black = "per_dataset" not in [flag.name for flag in src.mask_flag_enums[0]]
            mask = expected.any(axis=0) if black else mask & expected.any(axis=0)
    if plan.scene.mask_file:
        with rasterio.open(plan.scene.mask_file) as src:
            mask &= src.read(1) > 0
    np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(valid, mask & np.isfinite(expected).all(axis=0))
    assert valid.any()


def sweep(plan):
    """The memory of a reader is that of two tile rows, of whatever height the scene is."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = SceneReader(plan.scene, plan.bands)
    for span in plan.grid.rows:
        assert reader.rows(span.start, span.stop).valid.any()
    reader.close()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 2 * 1200 * plan.scene.width * (len(plan.bands) + 1) + 200 * 2**20


# The same picture in many mask forms

PICTURE = "rio-tiler__201404_13SED190110_201404_0x1500m_CL_1"
SAME_MASK = [
    [f"{PICTURE}_extmask.tif", f"{PICTURE}_mask.tif", "rio-tiler__cog_rgb_mask.tif"],
    [f"{PICTURE}_alpha.tif", "rio-tiler__cog_rgba.tif"],
]
LOSSLESS = [f"{PICTURE}.tif", f"{PICTURE}_nodata.tif", *SAME_MASK[0], *SAME_MASK[1]]


@pytest.mark.parametrize("names", SAME_MASK)
def test_masks_of_any_form_are_one_mask(names):
    _, first = read_all(DATA / "oddities" / names[0], (1, 2, 3))
    for name in names[1:]:
        np.testing.assert_array_equal(read_all(DATA / "oddities" / name, (1, 2, 3))[1], first)
    assert 0 < first.mean() < 1


@pytest.mark.parametrize("name", LOSSLESS)
def test_the_picture_is_the_same_wherever_it_is_valid(name):
    """One more form, cog_rgb, is JPEG: its pixels are others. In _nodata the mask is a little smaller: black only."""
    whole, everywhere = read_all(DATA / "oddities" / f"{PICTURE}.tif", (1, 2, 3))
    pixels, valid = read_all(DATA / "oddities" / name, (1, 2, 3))
    assert everywhere.all()
    np.testing.assert_array_equal(pixels[:, valid], whole[:, valid])
    if name.endswith("_nodata.tif"):
        np.testing.assert_array_equal(valid, pixels.any(axis=0))


def test_the_map_is_the_same_in_every_mask_form(tmp_path, unet_model):
    """With a real network: what is under the mask differs between the files, and must not show."""
    for group in SAME_MASK:
        maps = []
        for name in group:
            output = tmp_path / Path(name).stem
            settings = RunSettings(
                inputs=(str(DATA / "oddities" / name),), output=output, model=unet_model, any_pixel_size=True,
                workers=0, quiet=True, precision="float32", tile_size=256, overlap=64,
            )  # fmt: skip
            assert map_scenes(settings).exit_code == 0
            with rasterio.open(output / f"{Path(name).stem}_classes.tif") as src:
                maps.append(src.read(1))
        assert len(np.unique(maps[0])) > 2
        for other in maps[1:]:
            np.testing.assert_array_equal(other, maps[0])


@pytest.mark.parametrize(
    "name",
    [
        "rasterio__goes.tif",
        "rio-cogeo__image_geos.tif",
        "geotifftestdata__gadas.tif",
        "rioxarray__test_rpcs_ext_file.tif",
    ],
)
def test_maps_far_from_any_town_are_made(tmp_path, color_model, name):
    """The full disk of a geostationary satellite, and a scene without any reference."""
    options = FILES[f"oddities/{name}"][1]
    settings = RunSettings(
        inputs=(str(DATA / "oddities" / name),), output=tmp_path, model=color_model, workers=0, quiet=True, **options
    )
    assert map_scenes(settings).exit_code == 0
