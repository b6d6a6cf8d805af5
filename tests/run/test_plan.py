"""The plan: what is mapped, what is refused, in one line each, without a network in sight."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from geoseg.cli import main
from geoseg.config import RunSettings
from geoseg.contract import PixelSize
from geoseg.errors import ConfigError
from geoseg.run.estimate import estimate
from geoseg.run.plan import plan_run
from tests.conftest import make_contract, write_raster

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

PIXELS = np.random.default_rng(5).integers(1, 256, (3, 40, 50), dtype=np.uint8)


@pytest.fixture
def model(tmp_path):
    """Builds model directories that can be planned with; their weights are never opened."""

    def make(**changes):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_bytes(b"")
        make_contract(**changes).write(folder)
        return folder

    return make


@pytest.fixture
def plan(tmp_path, model):
    def make(*paths, contract=None, output="out", **options):
        settings = RunSettings(
            inputs=tuple(map(str, paths)), output=tmp_path / output, model=model(**(contract or {})), **options
        )
        return plan_run(settings, 0)

    return make


def reason(plan, path, text, **options):
    """Why a scene is refused, after checking that it is the only one and that it is one line with advice."""
    made = plan(path, **options)
    assert not made.scenes
    (refusal,) = made.refusals
    assert re.search(text, refusal.reason), refusal.reason
    assert refusal.reason.startswith(str(path))
    assert refusal.reason.isprintable()
    assert refusal.reason.endswith(".")
    return refusal.reason


# Bands and types


def test_wrong_band_counts(tmp_path, plan):
    needed = r"but model 'test' takes 3 \(red, green, blue; uint8\)"
    four = write_raster(tmp_path / "four.tif", PIXELS[[0, 1, 2, 0]], alpha="no", photometric="minisblack")
    reason(plan, four, rf"4 bands \(uint8\), {needed}\. Name them with --bands 1,2,3, or choose another model")
    assert plan(four, bands=(4, 2, 1)).scenes[0].bands == (4, 2, 1)
    reason(plan, four, rf"--bands names 2, {needed}\. Name 3", bands=(1, 2))
    reason(plan, four, r"but band 5 was asked for\. Name only bands 1–4", bands=(1, 2, 5))
    one = write_raster(tmp_path / "one.tif", PIXELS[:1])
    reason(plan, one, rf"1 band \(uint8\), {needed}\. Give imagery of 3 bands, repeat one \(--bands 1,1,1\)")
    assert plan(one, bands=(1, 1, 1)).scenes
    rgba = write_raster(tmp_path / "rgba.tif", PIXELS[[0, 1, 2, 0]], photometric="rgb", alpha="yes")
    assert plan(rgba).scenes[0].bands == (1, 2, 3)


def test_bands_are_those_of_their_colours(tmp_path, plan):
    def written(name, pixels, *colors):
        path = write_raster(tmp_path / name, pixels)
        with rasterio.open(path, "r+") as dst:
            dst.colorinterp = [ColorInterp[c] for c in colors]
        return path

    bgr = written("bgr.tif", PIXELS, "blue", "green", "red")
    assert plan(bgr).scenes[0].bands == (3, 2, 1)
    assert plan(bgr, bands=(1, 2, 3)).scenes[0].bands == (1, 2, 3)
    assert plan(written("half.tif", PIXELS, "blue", "undefined", "red")).scenes[0].bands == (1, 2, 3)
    four = written("bgrn.tif", PIXELS[[0, 1, 2, 0]], "blue", "green", "red", "undefined")
    reason(plan, four, r"Name them with --bands 3,2,1, or")


def test_reserved_names(tmp_path, plan):
    names = [plan(write_raster(tmp_path / f"{n}.tif", PIXELS)).scenes[0].name for n in ("lock", "Journal", "locks")]
    assert names == ["lock_", "Journal_", "locks"]


def test_a_name_that_is_no_utf_8_is_refused_alone(tmp_path, plan):
    good = write_raster(tmp_path / "good.tif", PIXELS)
    bad = tmp_path / os.fsdecode(b"f\xe9vrier.tif")
    bad.write_bytes(good.read_bytes())
    made = plan(tmp_path)
    assert [s.name for s in made.scenes] == ["good"]
    assert made.refusals[0].reason.endswith("its name is not UTF-8 text, which GDAL needs. Rename it.")


def test_the_database_of_another_proj_is_told(tmp_path, model):
    write_raster(tmp_path / "a.tif", PIXELS, crs="EPSG:27700")
    command = [
        sys.executable,
        "-m",
        "geoseg.cli",
        "map",
        tmp_path / "a.tif",
        "-o",
        tmp_path / "out",
        "--model",
        model(),
    ]
    environment = {**os.environ, "PROJ_LIB": "/nowhere", "PROJ_DATA": "/nowhere"}
    done = subprocess.run([*command, "--dry-run"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "PROJ cannot read its database (PROJ_DATA=/nowhere, PROJ_LIB=/nowhere)" in done.stderr


def test_palettes(tmp_path, plan):
    path = write_raster(tmp_path / "x.tif", PIXELS[:1])
    with rasterio.open(path, "r+") as dst:
        dst.write_colormap(1, {0: (1, 2, 3, 255)})
    for bands in (None, (1, 1, 1)):
        reason(plan, path, r"1 band \(uint8\) of indices into a palette, but .*-expand rgb", bands=bands)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64", "int8"])
def test_wrong_types(tmp_path, plan, dtype):
    path = write_raster(tmp_path / "x.tif", PIXELS.astype(dtype))
    reason(
        plan,
        path,
        rf"3 bands \({dtype}\), but model 'test' takes 3 .*uint8.*Stretch its values with --value-range LOW,HIGH",
    )
    scaling = plan(path, value_range=(10, 210)).contract.scaling
    assert (scaling.divide, scaling.clip) == (200, (10, 210))
    if dtype != "int8":
        assert plan(path, contract={"dtype": dtype}).scenes


# Pixel size

SIZES = {
    "projected": ("EPSG:32633", 0.1, 500_000, 5_300_000, "0.1"),
    "degrees": ("EPSG:4326", 3e-5, 15, 60, "2.37"),
    "Web Mercator at 60 degrees": ("EPSG:3857", 3.0, 1_670_000, 8_400_000, "1.5"),
    "feet": ("EPSG:2263", 10.0, 1_000_000, 200_000, "3.05"),
}


@pytest.mark.parametrize("name", SIZES)
def test_pixel_sizes_out_of_range(tmp_path, plan, name):
    crs, size, x, y, ground = SIZES[name]
    path = write_raster(tmp_path / "x.tif", PIXELS, crs=crs, transform=Affine(size, 0, x, 0, -size, y))
    text = rf"pixels of {ground}\d* m on the ground, but model 'test' is for 0.25–1.2 m"
    reason(plan, path, rf"{text}\. Resample it to 0.5 m, or map it all the same with --any-pixel-size")
    (scene,) = plan(path, any_pixel_size=True).scenes
    assert re.search(text + "; mapped as it is", scene.warnings[0])


@pytest.mark.parametrize(("metres", "taken"), [(1.2, True), (0.25, True), (1.21, False), (0.248, False)])
def test_the_scale_of_a_map_moves_no_scene_out_of_the_range(tmp_path, plan, metres, taken):
    """At the central meridian of UTM a pixel is 0.04 % larger on the ground than on the map."""
    path = write_raster(tmp_path / "x.tif", PIXELS, transform=Affine(metres, 0, 5e5, 0, -metres, 5.3e6))
    assert (not plan(path).refusals) == taken


def test_coarse_pixels_are_enlarged_for_the_network(tmp_path, plan, model, capfd):
    """In sixteenths, and at most 1.5 times."""
    size = {"native": 0.5, "min": 0.25, "max": 1.2, "enlarged_to": 0.6}
    for metres, factor in ((0.25, 1.0), (0.61, 1.0), (0.63, 1.0625), (0.8, 1.3125), (0.9, 1.5), (1.19, 1.5)):
        path = write_raster(tmp_path / "x.tif", PIXELS, transform=Affine(metres, 0, 5e5, 0, -metres, 5e6))
        as_it_is, enlarged = plan(path), plan(path, contract={"pixel_size_m": size})
        assert as_it_is.scenes[0].enlargement == 1
        assert enlarged.scenes[0].enlargement == factor
        forwarded = [estimate(p).forwarded_pixels for p in (as_it_is, enlarged)]
        assert forwarded[1] == int(forwarded[0] * factor**2)
        assert (estimate(enlarged).peak_bytes > estimate(as_it_is).peak_bytes) == (factor > 1)
    assert as_it_is.scenes[0].fingerprint != enlarged.scenes[0].fingerprint
    arguments = ["map", str(path), "-o", str(tmp_path / "out"), "--model", str(model(pixel_size_m=size)), "--dry-run"]
    assert main(arguments) == 0
    assert "1.19 as 0.79" in "".join(capfd.readouterr())
    path = write_raster(tmp_path / "x.tif", PIXELS, transform=Affine(2, 0, 0, 0, -2, 5e6))
    (scene,) = plan(path, any_pixel_size=True, contract={"pixel_size_m": size}).scenes
    assert scene.warnings[0].endswith("; shown to it 1.5 times as large")


def test_the_layers_of_a_large_scene_need_more_memory_than_the_network(tmp_path, model, capfd):
    path = tmp_path / "x.tif"
    side = {"height": 40_000, "width": 40_000, "tiled": True, "blockxsize": 512, "blockysize": 512}
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32633", **side}
    with rasterio.open(path, "w", sparse_ok=True, transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6), **profile):
        pass
    arguments = ["map", str(path), "-o", str(tmp_path / "out"), "--model", str(model()), "--dry-run"]
    assert main(arguments) == 0
    assert re.search(
        r"a worker \(for the layers of the largest scene 3\.3\), ", " ".join(capfd.readouterr().err.split())
    )


@pytest.mark.parametrize("metres", [0.4, 1.3])
def test_an_enlargement_beyond_the_range_of_the_model(metres):
    with pytest.raises(ValueError, match=f"enlarged_to {metres} m is not between native 0.5 and max 1.2"):
        PixelSize(native=0.5, min=0.25, max=1.2, enlarged_to=metres)


def test_web_mercator_is_measured_on_the_ground(tmp_path, plan):
    """2 m on the map at 60° north are 1 m on the ground."""
    path = write_raster(
        tmp_path / "x.tif", PIXELS, crs="EPSG:3857", transform=Affine(2, 0, 1_670_000, 0, -2, 8_400_000)
    )
    assert plan(path).scenes[0].pixel_size_m == pytest.approx(1.0, rel=0.01)


def test_scenes_without_a_reference_get_a_plane_of_their_own(tmp_path, plan):
    path = write_raster(tmp_path / "x.tif", PIXELS, crs=None, transform=Affine.identity())
    reason(plan, path, "no geotransform.*--allow-ungeoreferenced")
    (scene,) = plan(path, allow_ungeoreferenced=True).scenes
    assert (scene.crs_wkt, scene.transform) == ("", (0.5, 0, 0, 0, -0.5, 0))
    assert "not georeferenced" in scene.warnings[0]


# Outputs


def test_an_output_that_would_overwrite_an_input(tmp_path, plan):
    (tmp_path / "out").mkdir()
    source = write_raster(tmp_path / "x.tif", PIXELS)
    other = write_raster(tmp_path / "out" / "x_classes.tif", PIXELS)
    made = plan(source, other)
    (refusal,) = made.refusals
    assert refusal.path == source
    assert re.search(r"x\.tif: its output .*x_classes\.tif would overwrite an input\. Choose another", refusal.reason)
    assert [s.name for s in made.scenes] == ["x_classes"]
    link = tmp_path / "out" / "x.gpkg"
    link.symlink_to(source)
    reason(plan, source, "would overwrite an input")


def test_an_output_that_a_link_leads_astray(tmp_path, plan):
    (tmp_path / "out").mkdir()
    (tmp_path / "precious.gpkg").write_text("precious")
    path = write_raster(tmp_path / "x.tif", PIXELS)
    for target in (tmp_path / "precious.gpkg", tmp_path / "not there yet"):
        (tmp_path / "out/x.gpkg").unlink(missing_ok=True)
        (tmp_path / "out/x.gpkg").symlink_to(target)
        reason(plan, path, r"its output .*x\.gpkg is a link that leads out of .*out\. Remove the link")


def test_a_geopackage_that_is_open_elsewhere(tmp_path, plan):
    path = write_raster(tmp_path / "a.tif", PIXELS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.gpkg-wal").touch()
    reason(plan, path, r"is open in another program \(a\.gpkg-wal lies beside it\)")


@pytest.mark.parametrize(("own", "asked", "tiling"), [
    (1024, {}, (1024, 128)), (512, {}, (512, 128)), (128, {}, (128, 64)), (512, {"tile_size": 256}, (256, 128)),
    (512, {"overlap": 32}, (512, 32)),
])  # fmt: skip
def test_tiles_are_those_of_the_model_unless_others_are_asked_for(tmp_path, plan, own, asked, tiling):
    (scene,) = plan(write_raster(tmp_path / "a.tif", PIXELS), contract={"tile_size": own}, **asked).scenes
    assert (scene.grid.tile_size, scene.grid.overlap) == tiling


def test_an_overlap_that_the_tiles_of_the_model_have_no_room_for(tmp_path, plan):
    with pytest.raises(ConfigError, match=r"overlap is 128, but must be at most half the tile size \(64\)"):
        plan(write_raster(tmp_path / "a.tif", PIXELS), contract={"tile_size": 128}, overlap=128)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_another_network_is_another_map(tmp_path, plan, name):
    """Also where the contract, written by hand, has no digest of the weights."""
    path = write_raster(tmp_path / "a.tif", PIXELS)
    before = plan(path).scenes[0].fingerprint
    assert plan(path).scenes[0].fingerprint == before
    settings = RunSettings(inputs=(str(path),), output=tmp_path / "out", model=tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(b"another")
    assert plan_run(settings, 0).scenes[0].fingerprint != before


def test_an_output_that_is_a_folder(tmp_path, plan):
    path = write_raster(tmp_path / "x.tif", PIXELS)
    (tmp_path / "out/x.qgz").mkdir(parents=True)
    reason(plan, path, r"its output .*x\.qgz is a folder\. Move it away")


@pytest.mark.parametrize("file", ["out", "out/maps"])
def test_an_output_folder_that_cannot_be(tmp_path, plan, file):
    path = write_raster(tmp_path / "x.tif", PIXELS)
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match=r"must be a folder, but .*/out is none\. Name another with -o\."):
        plan(path, output=file)


def test_the_output_folder_may_be_a_link(tmp_path, plan):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    assert plan(write_raster(tmp_path / "x.tif", PIXELS)).scenes[0].outputs.layers == (tmp_path / "disk/x.gpkg",)


# The whole run


@pytest.fixture
def mixed(tmp_path):
    """A folder with one good scene among bad ones."""
    folder = tmp_path / "in"
    folder.mkdir()
    good = write_raster(folder / "good.tif", PIXELS)
    (folder / "text.tif").write_text("hello")
    (folder / "empty.tif").write_bytes(b"")
    (folder / "cut.tif").write_bytes(good.read_bytes()[:-9])
    (folder / "vrt.tif").write_text("<VRTDataset/>")
    (folder / "broken.tif").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.tif")
    write_raster(folder / "two\nlines \x1b[31m\x9b.tif", PIXELS[:1])
    write_raster(folder / "south.tif", PIXELS, transform=Affine(0.5, 0, 5e5, 0, 0.5, 5e6))
    write_raster(folder / "complex.tif", PIXELS.astype("complex64"))
    write_raster(folder / "bare.tif", PIXELS, crs=None)
    return folder


def test_the_others_go_on(mixed, plan):
    made = plan(mixed)
    assert [s.name for s in made.scenes] == ["good"]
    assert len(made.refusals) == 10
    assert all(r.reason.isprintable() for r in made.refusals)


def test_a_dry_run_says_it_in_one_line_each(mixed, model, tmp_path, capfd):
    """Nothing of GDAL's own chatter, nothing that a name orders the terminal to do."""
    arguments = ["map", str(mixed), "-o", str(tmp_path / "out"), "--model", str(model()), "--dry-run"]
    assert main(arguments) == 1
    text = "".join(capfd.readouterr())
    lines = [line for line in text.splitlines() if line.startswith("refused: ")]
    assert len(lines) == 10
    assert r"two\nlines \x1b[31m\x9b.tif: 1 band (uint8)" in text
    assert "\x1b[31m" not in text
    assert "1 scene to map" in text
    before_the_table = text[: text.index("Plan")].splitlines()
    assert before_the_table == lines
    assert not (tmp_path / "out").exists()
    assert main([*arguments[:1], str(mixed / "good.tif"), *arguments[2:]]) == 0


def test_a_dry_run_names_every_refusal_of_many(tmp_path, model, capfd):
    for i in range(30):
        (tmp_path / f"bad{i}.tif").write_text("bad")
    assert main(["map", str(tmp_path), "-o", str(tmp_path / "out"), "--model", str(model()), "--dry-run"]) == 1
    assert "".join(capfd.readouterr()).count("refused: ") == 30


def test_planning_as_a_command_is_quiet_and_quick(mixed, model, tmp_path):
    """In a process of its own: what libraries print on their own streams counts too."""
    command = [
        sys.executable,
        "-m",
        "geoseg.cli",
        "map",
        mixed,
        "-o",
        tmp_path / "out",
        "--model",
        model(),
        "--dry-run",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert sum(line.startswith("refused: ") for line in lines) == 10
    assert not any("Warning" in line or "ERROR" in line or "CPLE" in line for line in lines), done.stderr
