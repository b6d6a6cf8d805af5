"""`geoseg map --format`: the layers of the GeoPackage in files of their own, known to every part of a run."""

import shutil

import geopandas
import numpy as np
import pyogrio
import pytest

from geoseg.cli import main
from geoseg.config import RunSettings, load_settings
from geoseg.errors import ConfigError
from geoseg.files import sha256_file
from geoseg.nn.architectures import build
from geoseg.nn.modeldir import save_model
from geoseg.run.mapping import map_scenes
from geoseg.run.plan import plan_run
from geoseg.run.status import folder_status
from geoseg.run.verify import verify_folder
from tests.conftest import make_contract, write_raster

LAYERS = ("buildings", "roads", "road_centerlines", "road_nodes", "green")
SUFFIX = {"geoparquet": "parquet", "flatgeobuf": "fgb"}


def settings(scene, output, model, **changes):
    small = {"workers": 0, "tile_size": 256, "overlap": 64, "quiet": True}
    return RunSettings(inputs=(str(scene),), output=output, model=model, **small | changes)


def read(path):
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path)


@pytest.fixture(scope="module")
def maps(town_scene, color_model, tmp_path_factory):
    """The town in every format."""
    folders = {}
    for kind in ("geopackage", *SUFFIX):
        folders[kind] = tmp_path_factory.mktemp(kind)
        assert map_scenes(settings(town_scene, folders[kind], color_model, format=kind)).exit_code == 0
    return folders


@pytest.mark.parametrize("kind", SUFFIX)
def test_the_layers_are_those_of_the_geopackage(maps, kind):
    expected = [f"town_{layer}.{SUFFIX[kind]}" for layer in LAYERS]
    rasters = ["town_classes.qml", "town_classes.tif", "town_classes.tif.aux.xml"]
    assert sorted(p.name for p in maps[kind].iterdir()) == sorted([".geoseg", "run.json", *expected, *rasters])
    for layer, file in zip(LAYERS, expected, strict=True):
        wanted = geopandas.read_file(maps["geopackage"] / "town.gpkg", layer=layer).sort_values("id", ignore_index=True)
        found = read(maps[kind] / file).sort_values("id", ignore_index=True)
        assert list(found.columns) == list(wanted.columns)
        assert found.crs == wanted.crs
        assert found.drop(columns="geometry").equals(wanted.drop(columns="geometry").astype(found.dtypes[:-1]))
        assert found.normalize().geom_equals_exact(wanted.normalize(), 1e-9).all()


def test_a_layer_is_called_after_its_file(maps):
    for path in maps["flatgeobuf"].glob("*.fgb"):
        assert [*pyogrio.list_layers(path)[:, 0]] == [path.stem]


@pytest.mark.parametrize("kind", SUFFIX)
def test_strips_change_no_byte(maps, town_scene, color_model, tmp_path, kind):
    again = settings(town_scene, tmp_path, color_model, format=kind, strip_rows=1)
    assert map_scenes(again).exit_code == 0
    for layer in LAYERS:
        name = f"town_{layer}.{SUFFIX[kind]}"
        assert sha256_file(tmp_path / name) == sha256_file(maps[kind] / name), name


@pytest.mark.parametrize("kind", SUFFIX)
def test_verify_status_and_resume_know_the_files(maps, town_scene, color_model, tmp_path, kind):
    out = shutil.copytree(maps[kind], tmp_path / "out")
    again = settings(town_scene, out, color_model, format=kind)
    assert [r.status for r in map_scenes(again).results] == ["up to date"]
    assert {f.state for f in verify_folder(out)} == {"whole"}
    path = out / f"town_roads.{SUFFIX[kind]}"
    assert path.name in {f.file for f in verify_folder(out)}
    content = path.read_bytes()
    flipped = content[:400] + bytes([content[400] ^ 255]) + content[401:]
    for changed, told in ((content[:-9], "truncated"), (flipped, "not those written")):
        path.write_bytes(changed)
        (finding,) = (f for f in verify_folder(out) if f.state != "whole")
        assert (finding.file, finding.state) == (path.name, "damaged")
        assert told in finding.detail
    path.unlink()
    assert [s.state for s in folder_status(out).scenes] == ["lost"]
    assert [r.status for r in map_scenes(again).results] == ["done"]
    assert path.read_bytes() == content


def test_another_format_is_made_where_it_is_not_there_yet(maps, town_scene, color_model, tmp_path):
    out = shutil.copytree(maps["geoparquet"], tmp_path / "out")
    plan = plan_run(settings(town_scene, out, color_model, format="flatgeobuf"), 0)
    assert [s.name for s in plan.pending] == ["town"]
    assert plan.scenes[0].fingerprint == plan_run(settings(town_scene, out, color_model), 0).scenes[0].fingerprint


def test_layers_of_two_scenes_that_would_share_a_file_are_refused(tmp_path, capsys):
    """Scene `a` with a layer `b_c`, and scene `a_b` with a layer `c`."""
    legend = make_contract().legend.to_dict()
    for entry, layer in zip(legend, ("b_c", "road", "c"), strict=False):
        entry["layer"] = layer
    save_model(
        build("ColorBaseline", {"in_channels": 3, "classes": 4}),
        tmp_path / "model",
        make_contract(classes=legend),
        half=False,
    )
    for name in ("a", "a_b", "fine"):
        write_raster(tmp_path / f"{name}.tif", np.zeros((3, 64, 64), np.uint8))
    run = ["map", str(tmp_path), "-o", str(tmp_path / "out"), "--model", str(tmp_path / "model"), "--dry-run"]
    assert main([*run, "--workers", "0"]) == 0
    assert main([*run, "--workers", "0", "--format", "flatgeobuf"]) == 1
    told = capsys.readouterr().err
    assert told.count("a_b_c.fgb is that of another scene too. Rename one of them") == 2
    assert "1 scene to map" in told


def test_an_output_of_another_format_must_be_no_folder(tmp_path, color_model):
    scene = write_raster(tmp_path / "x.tif", np.zeros((3, 64, 64), np.uint8))
    (tmp_path / "out/x_roads.parquet").mkdir(parents=True)
    plan = plan_run(settings(scene, tmp_path / "out", color_model, format="geoparquet"), 0)
    assert "x_roads.parquet is a folder" in plan.refusals[0].reason


@pytest.mark.parametrize("kind", SUFFIX)
def test_empty_layers_have_their_columns_and_their_reference(tmp_path, color_model, kind):
    scene = write_raster(tmp_path / "x.tif", np.zeros((3, 64, 64), np.uint8), nodata=0)
    assert map_scenes(settings(scene, tmp_path / "out", color_model, format=kind)).exit_code == 0
    frame = read(tmp_path / "out" / f"x_road_centerlines.{SUFFIX[kind]}")
    assert len(frame) == 0
    assert frame.crs == "EPSG:32633"
    if kind == "flatgeobuf":
        info = pyogrio.read_info(tmp_path / "out" / "x_road_centerlines.fgb")
        assert dict(zip(info["fields"], info["dtypes"], strict=True))["length_m"] == "float64"


def test_the_format_is_a_key_of_the_config(tmp_path):
    (tmp_path / "my.yaml").write_text("format: geoparquet\n")
    assert load_settings(tmp_path / "my.yaml", {}).format == "geoparquet"
    assert load_settings(tmp_path / "my.yaml", {"format": "flatgeobuf"}).format == "flatgeobuf"
    (tmp_path / "my.yaml").write_text("format: shapefile\n")
    with pytest.raises(ConfigError, match="geopackage"):
        load_settings(tmp_path / "my.yaml", {})
