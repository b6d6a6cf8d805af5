"""Files that touch or overlap, mapped as one scene: the map of the whole, whatever they were cut into."""

import json
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from geoseg.cli import main
from geoseg.config import RunSettings
from geoseg.errors import ConfigError
from geoseg.files import sha256_file
from geoseg.run.estimate import estimate
from geoseg.run.mapping import map_scenes
from geoseg.run.plan import plan_run
from tests.conftest import write_raster

ODDITIES = Path(__file__).parents[3] / "shared" / "data" / "oddities"
CUTS = [(0, 0, 600, 700), (0, 650, 500, 450), (470, 600, 930, 500), (560, 0, 840, 640)]
"""Row, column, height and width of four parts that overlap, and cover 1400 × 1100 pixels."""


def settings(inputs, output, model, **changes):
    values = {"workers": 0, "tile_size": 256, "overlap": 64, "quiet": True, "mosaic": "town"}
    return RunSettings(inputs=(str(inputs),), output=output, model=model, **values | changes)


@pytest.fixture(scope="module")
def parts(town_scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    with rasterio.open(town_scene) as src:
        for i, (row, col, height, width) in enumerate(CUTS):
            window = Window(col, row, width, height)
            transform = src.transform @ rasterio.Affine.translation(col, row)
            profile = {**src.profile, "height": height, "width": width, "transform": transform}
            with (
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
                rasterio.open(folder / f"{i}.tif", "w", **profile) as dst,
            ):
                dst.write(src.read(window=window))
                dst.write_mask(src.dataset_mask(window=window))
    return folder


@pytest.fixture(scope="module")
def whole(town_scene, color_model, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    done = map_scenes(settings(town_scene, output, color_model, mosaic=None, keep_confidence=True))
    assert done.exit_code == 0
    return output


@pytest.mark.parametrize("changes", [{}, {"strip_rows": 1}, {"workers": 2, "strip_rows": 2}])
def test_the_map_is_that_of_the_whole(parts, whole, color_model, tmp_path, changes):
    done = map_scenes(settings(parts, tmp_path, color_model, keep_confidence=True, **changes))
    assert done.exit_code == 0
    for name in ("town_classes.tif", "town_confidence.tif"):
        assert sha256_file(tmp_path / name) == sha256_file(whole / name), name
    for layer in ("buildings", "roads", "road_centerlines", "road_nodes", "green"):
        ours, theirs = (geopandas.read_file(folder / "town.gpkg", layer=layer) for folder in (tmp_path, whole))
        assert len(ours)
        assert ours.to_wkb().equals(theirs.to_wkb()), layer


def test_a_mosaic_of_one_file_is_its_map(town_scene, whole, color_model, tmp_path):
    assert map_scenes(settings(town_scene, tmp_path, color_model)).exit_code == 0
    assert sha256_file(tmp_path / "town_classes.tif") == sha256_file(whole / "town_classes.tif")


@pytest.mark.skipif(not ODDITIES.is_dir(), reason="the real imagery is not here")
def test_four_quarters_of_a_real_scene_are_its_map(color_model, tmp_path):
    """With a collar without data, that the cuts run through; the quarters spell the CRS otherwise."""
    inputs = {"quarters": str(ODDITIES / "rasterio__rgb[1-4].tif"), "whole": str(ODDITIES / "rasterio__RGB.byte.tif")}
    for name, files in inputs.items():
        done = map_scenes(settings(files, tmp_path / name, color_model, mosaic="rgb", any_pixel_size=True))
        assert done.exit_code == 0
    quarters, whole = (rasterio.open(tmp_path / name / "rgb_classes.tif") for name in inputs)
    assert quarters.transform == whole.transform
    np.testing.assert_array_equal(quarters.read(1), whole.read(1))


def test_what_is_unchanged_is_left_and_a_changed_file_is_mapped(parts, color_model, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for path in parts.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert map_scenes(settings(folder, out, color_model)).results[0].status == "done"
    assert map_scenes(settings(folder, out, color_model)).results[0].status == "up to date"
    with rasterio.open(folder / "2.tif", "r+") as dst:
        dst.write(dst.read()[:, ::-1])
    assert map_scenes(settings(folder, out, color_model)).results[0].status == "done"
    (folder / "0.tif").unlink()
    (scene,) = plan_run(settings(folder, out, color_model), 0).scenes
    assert scene.warnings == ("no longer in the mosaic, but on the map that is replaced: 0.tif",)


def test_one_bad_file_refuses_the_mosaic(parts, color_model, tmp_path):
    """A hole that nobody asked for is worse than no map."""
    folder = tmp_path / "in"
    folder.mkdir()
    for path in parts.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "1.tif").write_bytes((folder / "1.tif").read_bytes()[:5000])
    done = map_scenes(settings(folder, tmp_path / "out", color_model))
    assert done.exit_code == 1
    (result,) = done.results
    assert (result.name, result.path, result.status) == ("town", str(folder), "refused")
    assert result.reason.startswith(
        f"{folder}: mosaic 'town' is not mapped, for it would have holes: {folder}/1.tif: truncated"
    )
    assert not (tmp_path / "out" / "town_classes.tif").exists()


def test_bands_are_the_same_of_all_files(color_model, tmp_path):
    pixels = np.full((4, 64, 64), 9, np.uint8)
    east = rasterio.Affine(0.5, 0, 500_032, 0, -0.5, 5_300_000)
    write_raster(tmp_path / "a.tif", pixels[:3], photometric="RGB")
    write_raster(tmp_path / "b.tif", pixels, photometric="RGB", alpha="YES", transform=east)
    plan = plan_run(settings(tmp_path, tmp_path / "out", color_model), 0)
    assert [s.bands for s in plan.scenes] == [(1, 2, 3)], "alpha beside none is no other choice"
    with rasterio.open(tmp_path / "b.tif", "w", driver="GTiff", height=64, width=64, count=3, dtype="uint8", transform=east, crs=32633) as dst:  # fmt: skip
        dst.write(pixels[:3])
        dst.colorinterp = [rasterio.enums.ColorInterp[c] for c in ("blue", "green", "red")]
    (refusal,) = plan_run(settings(tmp_path, tmp_path / "out", color_model), 0).refusals
    assert "its bands are 1,2,3, but 3,2,1 in" in refusal.reason
    plan = plan_run(settings(tmp_path, tmp_path / "out", color_model, bands=(1, 2, 3)), 0)
    assert len(plan.scenes) == 1


def test_a_mosaic_never_takes_the_place_of_another_map(parts, town_scene, color_model, tmp_path):
    assert map_scenes(settings(parts, tmp_path, color_model)).exit_code == 0
    done = map_scenes(settings(town_scene, tmp_path, color_model, mosaic=None))
    assert done.results[0].status == "refused"
    assert f"would overwrite those of {parts}, mapped here before" in done.results[0].reason
    elsewhere = map_scenes(settings(town_scene, tmp_path, color_model))
    assert f"would overwrite those of {parts}" in elsewhere.results[0].reason


def test_a_mosaic_that_grows_or_shrinks_is_the_same(color_model, tmp_path):
    """Also into another folder; but files of another place are another mosaic, though they lie in the same folder."""
    for folder, name, col in (("x", "a", 0), ("y", "b", 64), ("x", "c", 1000)):
        east = rasterio.Affine(0.5, 0, 500_000 + 0.5 * col, 0, -0.5, 5_300_000)
        (tmp_path / folder).mkdir(exist_ok=True)
        write_raster(tmp_path / folder / f"{name}.tif", np.full((3, 64, 64), 9, np.uint8), transform=east)

    def mapped(*names):
        inputs = tuple(str(tmp_path / name) for name in names)
        return map_scenes(settings("", tmp_path / "out", color_model).model_copy(update={"inputs": inputs})).results[0]

    assert mapped("x/a.tif").status == "done"
    assert mapped("x/a.tif", "y/b.tif").status == "done"
    shrunk = mapped("y/b.tif")
    assert (shrunk.status, shrunk.warnings) == (
        "done",
        ("no longer in the mosaic, but on the map that is replaced: a.tif",),
    )
    assert "would overwrite those of" in mapped("x/c.tif").reason
    (tmp_path / "y" / "b.tif").unlink()
    assert mapped("x/c.tif").status == "done", "nobody can miss it"


def test_the_order_is_that_of_the_paths_however_they_are_spelt(color_model, tmp_path, monkeypatch):
    for name, value in (("a", 9), ("b", 200)):
        write_raster(tmp_path / f"{name}.tif", np.full((3, 64, 64), value, np.uint8))
    monkeypatch.chdir(tmp_path)
    chosen = settings("", tmp_path / "out", color_model)
    spelt = [("a.tif", "b.tif"), ("a.tif", str(tmp_path / "b.tif")), (str(tmp_path / "a.tif"), "b.tif")]
    plans = [plan_run(chosen.model_copy(update={"inputs": names}), 0).scenes[0] for names in spelt]
    assert len({p.fingerprint for p in plans}) == 1
    assert [part.scene.path.name for part in plans[0].scene.parts] == ["a.tif", "b.tif"]


def test_what_a_mosaic_says_of_itself(parts, color_model, tmp_path):
    assert main(["map", str(parts), "-o", str(tmp_path / "out"), "--model", str(color_model), "--mosaic", "city", "--workers", "0", "--quiet"]) == 0  # fmt: skip
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    (scene,) = manifest["scenes"]
    assert (scene["name"], scene["path"], scene["status"]) == ("city", str(parts), "done")
    with zipfile.ZipFile(tmp_path / "out" / "city.qgz") as archive:
        project = ET.fromstring(archive.read("city.qgs").partition(b"\n")[2])  # noqa: S314 - our own
    (group,) = project.findall("layer-tree-group/layer-tree-group")
    assert [layer.get("name") for layer in group] == ["3", "2", "1", "0"], "the topmost first"
    assert len({m.findtext("id") for m in project.iter("maplayer")}) == 10


def test_a_wrong_mosaic_is_told_before_the_work(parts, color_model, tmp_path):
    for name, other in (("a/b", "a_b"), ("lock", "lock_"), ("a\nb", "a_b")):
        with pytest.raises(
            ConfigError, match=rf"cannot be the name of its outputs\. Give it another, such as {other}\.$"
        ) as told:
            plan_run(settings(parts, tmp_path, color_model, mosaic=name), 0)
        assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match="mosaic and shard exclude each other"):
        settings(parts, tmp_path, color_model, shard="1/2")


def test_files_far_apart_are_told(color_model, tmp_path):
    for i in range(2):
        far = rasterio.Affine(0.5, 0, 500_000 + 2000 * i, 0, -0.5, 5_300_000 - 2000 * i)
        write_raster(tmp_path / f"{i}.tif", np.full((3, 64, 64), 9, np.uint8), transform=far)
    plan = plan_run(settings(tmp_path, tmp_path / "out", color_model), 0)
    (text,) = plan.scenes[0].warnings
    assert text == "its files cover no more than 0.0% of the mosaic: 4064 × 4064 pixels"
    assert estimate(plan).peak_bytes > 0
