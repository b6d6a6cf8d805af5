"""Maps that people changed, and maps of other scenes, are not overwritten."""

import errno
import json
import os
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.windows import Window

from geoseg.cli import main
from geoseg.config import RunSettings
from geoseg.errors import ConfigError, DiskFull
from geoseg.files import _host, sha256_file
from geoseg.raster.write import write_cog
from geoseg.run import ledger, tasks
from geoseg.run.corrections import set_aside
from geoseg.run.driver import execute
from geoseg.run.executors import SerialExecutor
from geoseg.run.find import find_files
from geoseg.run.mapping import map_scenes
from geoseg.run.plan import plan_run, renewed
from geoseg.run.status import folder_status
from geoseg.run.verify import verify_folder
from geoseg.vector.vectorize import assemble
from tests.conftest import write_raster

SMALL = {"workers": 0, "tile_size": 256, "overlap": 64, "quiet": True}


def scene(path, seed=0):
    path.parent.mkdir(exist_ok=True)
    blocks = np.random.default_rng(seed).integers(1, 255, (3, 15, 10), dtype=np.uint8)
    return write_raster(path, blocks.repeat(20, 1).repeat(20, 2))


@pytest.fixture
def mapped(color_model, tmp_path):
    """Maps a scene into `out`, and returns its result."""

    def run(path, **changes):
        settings = RunSettings(inputs=(str(path),), output=tmp_path / "out", model=color_model, **SMALL | changes)
        (result,) = map_scenes(settings).results
        return result

    return run


def corrected(path, layer="buildings"):
    """Deletes the first feature, as one would in QGIS."""
    frame = geopandas.read_file(path, layer=layer)
    frame.iloc[1:].to_file(path, layer=layer)
    return len(frame) - 1


@pytest.mark.parametrize("again", [{"overwrite": True}, {"keep_confidence": True}, {"overlap": 32}])
def test_a_corrected_map_is_kept_beside_the_new_one(mapped, tmp_path, again):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    assert mapped(path).status == "done"
    left = corrected(out / "a.gpkg")
    assert mapped(path).status == "up to date"
    result = mapped(path, **again)
    assert result.status == "done"
    assert any("kept as a.edited.gpkg" in text for text in result.warnings)
    assert len(geopandas.read_file(out / "a.edited.gpkg", layer="buildings")) == left
    assert len(geopandas.read_file(out / "a.gpkg", layer="buildings")) > left
    corrected(out / "a.gpkg")
    mapped(path, **{**again, "overwrite": True})
    assert {p.name for p in out.glob("*.gpkg")} == {"a.gpkg", "a.edited.gpkg", "a.edited-2.gpkg"}


def add_layer(path):
    mine = geopandas.GeoDataFrame({"kind": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32633")
    mine.to_file(path, layer="my_trees", mode="a")


def execute_sql(statement):
    def change(path):
        with closing(sqlite3.connect(path)) as db:
            db.execute(statement)
            db.commit()

    return change


@pytest.mark.parametrize("change", [
    add_layer,
    execute_sql("create table owners (name text)"),
    execute_sql("update layer_styles set styleQML = '' where f_table_name = 'green'"),
], ids=["a layer", "a table", "a style"])  # fmt: skip
def test_what_was_added_to_a_map_is_kept_too(mapped, tmp_path, change):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path)
    change(out / "a.gpkg")
    before = sha256_file(out / "a.gpkg")
    result = mapped(path, overwrite=True)
    assert any("kept as a.edited.gpkg" in text for text in result.warnings)
    assert sha256_file(out / "a.edited.gpkg") == before
    assert mapped(path, overwrite=True).warnings == ()


def test_a_map_that_was_only_opened_is_replaced(mapped, tmp_path):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path)
    with closing(sqlite3.connect(out / "a.gpkg")) as db:
        db.execute("VACUUM")
    result = mapped(path, overwrite=True)
    assert result.warnings == ()
    assert [p.name for p in out.glob("*.gpkg")] == ["a.gpkg"]


def test_a_file_that_geoseg_did_not_make_is_kept(mapped, tmp_path):
    """Labels beside the imagery, which the user maps into the same folder."""
    out = tmp_path / "out"
    out.mkdir()
    mine = geopandas.GeoDataFrame({"kind": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32633")
    mine.to_file(out / "a.gpkg", layer="mine")
    before = sha256_file(out / "a.gpkg")
    assert mapped(scene(tmp_path / "in" / "a.tif")).status == "done"
    assert sha256_file(out / "a.edited.gpkg") == before


@pytest.mark.parametrize("how", ["geopackage", "flatgeobuf"])
def test_whatever_lies_in_the_place_of_an_output_is_kept(mapped, tmp_path, how):
    """A project, labels, a style and a layer of the user's, beside the imagery that is mapped into the same folder."""
    out = tmp_path / "out"
    out.mkdir()
    with zipfile.ZipFile(out / "a.qgz", "w") as archive:
        archive.writestr("a.qgs", "<qgis/>")
    write_raster(out / "a_classes.tif", np.ones((1, 20, 20), np.uint8))
    (out / "a_classes.tif.aux.xml").write_text("<PAMDataset/>")
    (out / "a_classes.qml").write_text("<qgis/>")
    mine = geopandas.GeoDataFrame({"kind": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32633")
    mine.to_file(out / "a_buildings.fgb", driver="FlatGeobuf")
    before = {p.name: sha256_file(p) for p in out.iterdir()}
    path = scene(tmp_path / "in" / "a.tif")
    result = mapped(path, format=how)
    assert result.status == "done"
    kept = {
        "a_classes.edited.tif": "a_classes.tif",
        "a_classes.edited.tif.aux.xml": "a_classes.tif.aux.xml",
        "a_classes.edited.qml": "a_classes.qml",
        **({"a.edited.qgz": "a.qgz"} if how == "geopackage" else {"a_buildings.edited.fgb": "a_buildings.fgb"}),
    }
    assert {p.name: sha256_file(p) for p in out.glob("*.edited*")} == {n: before[old] for n, old in kept.items()}
    assert len([text for text in result.warnings if "is no map of geoseg: kept as" in text]) == 3
    assert mapped(path, format=how, overwrite=True).warnings == ()
    shutil.rmtree(out / ".geoseg")
    assert [text for text in mapped(path, format=how).warnings if "fgb" not in text] == []


def test_a_class_raster_that_was_edited_in_place_is_kept(mapped, tmp_path):
    """With geoseg's own metadata in it, as GDAL leaves them."""
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path)
    with rasterio.open(out / "a_classes.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        dst.write(np.full((1, 9, 9), 3, np.uint8), window=Window(0, 0, 9, 9))
    before = sha256_file(out / "a_classes.tif")
    assert any("kept as a_classes.edited.tif" in text for text in mapped(path, overwrite=True).warnings)
    assert sha256_file(out / "a_classes.edited.tif") == before
    assert mapped(path, overwrite=True).warnings == ()
    assert {p.name for p in out.glob("*.edited*.tif")} == {"a_classes.edited.tif"}


def test_a_class_raster_that_is_edited_while_the_new_one_is_written_is_kept(mapped, tmp_path, monkeypatch):
    """Told once, though the raster is written once only; what lies beside the new one is the new one's."""
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path)
    count = []

    def late(*arguments):
        count.append(1)
        with rasterio.open(out / "a_classes.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
            dst.write(np.full((1, 9, 9), 3, np.uint8), window=Window(0, 0, 9, 9))
        write_cog(*arguments)

    monkeypatch.setattr(tasks, "write_cog", late)
    result = mapped(path, overwrite=True)
    assert len(count) == 1
    assert [text for text in result.warnings if "kept as a_classes.edited.tif" in text]
    assert (out / "a_classes.tif.aux.xml").is_file()
    assert {f.state for f in verify_folder(out)} == {"whole"}


def test_a_style_that_is_saved_while_the_raster_is_written_is_kept(mapped, tmp_path, monkeypatch):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path)

    def late(*arguments):
        (out / "a_classes.qml").write_text("<qgis>mine</qgis>")
        write_cog(*arguments)

    monkeypatch.setattr(tasks, "write_cog", late)
    assert any("kept as a_classes.edited.qml" in text for text in mapped(path, overwrite=True).warnings)
    assert (out / "a_classes.edited.qml").read_text() == "<qgis>mine</qgis>"
    assert "mine" not in (out / "a_classes.qml").read_text()


def test_a_file_that_came_back_after_a_failed_run_is_kept_again(mapped, tmp_path, monkeypatch):
    """That it was set aside once makes it no file of geoseg's."""
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    out.mkdir()
    (out / "a_buildings.fgb").write_bytes(b"mine")

    def broken(*_):
        raise OSError(errno.EIO, "a disk that was away")

    with monkeypatch.context() as patch:
        patch.setattr("geoseg.vector.exchange.write_layers", broken)
        assert mapped(path, format="flatgeobuf").status != "done"
    (out / "a_buildings.edited.fgb").rename(out / "a_buildings.fgb")
    result = mapped(path, format="flatgeobuf")
    assert result.status == "done"
    assert (out / "a_buildings.edited.fgb").read_bytes() == b"mine"
    assert len([text for text in result.warnings if "kept as a_buildings.edited.fgb" in text]) == 1


def test_a_raster_that_was_set_aside_is_no_scene(mapped, tmp_path):
    """Where maps lie beside the imagery."""
    folder = tmp_path / "out"
    folder.mkdir()
    path = scene(folder / "a.tif")
    mapped(path)
    for name in ("a_classes.tif", "a_classes.tif"):
        with rasterio.open(folder / name, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
            dst.write(np.full((1, 9, 9), 3, np.uint8), window=Window(0, 0, 9, 9))
        mapped(path, overwrite=True)
    assert {"a_classes.edited.tif", "a_classes.edited-2.tif"} < {p.name for p in folder.iterdir()}
    assert find_files((str(folder),)) == [path]


@pytest.mark.parametrize("left", ["strips", "vector"])
def test_what_a_run_left_that_was_killed_over_its_end_goes(mapped, tmp_path, left):
    path, work = scene(tmp_path / "in" / "a.tif"), tmp_path / "out" / ".geoseg" / "a"
    mapped(path)
    (work / left).mkdir()
    (work / left / "x").write_text("x")
    (work / "previous.json").write_text("{}")
    assert mapped(path).status == "up to date"
    assert not (work / left).exists()
    assert not (work / "previous.json").exists()


def test_a_class_raster_of_a_killed_run_is_not_taken_for_an_edit(mapped, color_model, tmp_path):
    """Killed after its raster and before its scene record, with an older map before it and other settings after it."""
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path)
    work = out / ".geoseg" / "a"
    (work / "scene.json").rename(work / "previous.json")
    word = sha256_file(out / "a_classes.tif")
    with rasterio.open(out / "a_classes.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        dst.write(np.full((1, 9, 9), 3, np.uint8), window=Window(0, 0, 9, 9))
    assert sha256_file(out / "a_classes.tif") != word
    ledger.note_written(work, out / "a_classes.tif", out / "a_classes.tif")
    # A second run, killed between its word and its raster, does not take the word of the first back.
    ledger.note_written(work, out / "a_classes.tif", path)
    assert mapped(path, overlap=32).warnings == ()
    assert not list(work.glob("*.word"))


@pytest.mark.parametrize("how", ["geopackage", "flatgeobuf"])
def test_what_is_corrected_while_the_layers_are_made_is_kept(mapped, tmp_path, monkeypatch, how):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path, format=how)
    layer = out / ("a.gpkg" if how == "geopackage" else "a_buildings.fgb")

    def late(job, parts, warn):
        made = assemble(job, parts, warn)
        frame = geopandas.read_file(layer, layer="buildings" if how == "geopackage" else None)
        frame.iloc[1:].to_file(layer, layer="buildings" if how == "geopackage" else layer.stem)
        return made

    monkeypatch.setattr("geoseg.vector.vectorize.assemble", late)
    result = mapped(path, format=how, overlap=32)
    kept = f"{layer.stem}.edited{layer.suffix}"
    assert [text for text in result.warnings if f"kept as {kept}" in text]
    assert (out / kept).is_file()
    assert layer.is_file()


def test_a_project_and_a_style_that_were_saved_in_qgis_are_kept(mapped, tmp_path):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path)
    with zipfile.ZipFile(out / "a.qgz") as archive:
        text = archive.read("a.qgs")
    with zipfile.ZipFile(out / "a.qgz", "w") as archive:
        archive.writestr("a.qgs", text)
    (out / "a_classes.qml").write_text("<qgis/>")
    mapped(path, overwrite=True)
    assert {p.name for p in out.glob("*.edited*")} == {"a.edited.qgz", "a_classes.edited.qml"}


def test_a_geopackage_that_cannot_be_read_is_kept(mapped, tmp_path):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path)
    content = bytearray((out / "a.gpkg").read_bytes())
    content[4096 : 4096 + 400] = bytes(400)
    (out / "a.gpkg").write_bytes(content)
    mapped(path, overwrite=True)
    assert (out / "a.edited.gpkg").read_bytes() == content


def test_vectorize_keeps_corrected_layers_of_a_map_in_other_formats(mapped, tmp_path):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path, format="flatgeobuf")
    frame = geopandas.read_file(out / "a_buildings.fgb")
    frame.iloc[1:].to_file(out / "a_buildings.fgb", driver="FlatGeobuf")
    arguments = ["vectorize", str(out / "a_classes.tif"), "-o", str(out / "a"), "--format", "flatgeobuf"]
    for _ in range(2):  # the second time it is its own
        assert main(arguments) == 0
    assert [p.name for p in out.glob("*.edited*")] == ["a_buildings.edited.fgb"]
    assert len(geopandas.read_file(out / "a_buildings.edited.fgb")) == len(frame) - 1


def test_layers_of_vectorize_beside_a_map_are_known_by_later_runs(mapped, tmp_path):
    """Also by one that finds the scene up to date, and by one that maps it in another format."""
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path, format="flatgeobuf")
    arguments = ["vectorize", str(out / "a_classes.tif"), "-o", str(out / "a"), "--format", "flatgeobuf"]
    settings = tmp_path / "coarse.yaml"
    settings.write_text("vector: {simplify_px: 3.0}\n")
    assert main([*arguments, "--config", str(settings)]) == 0
    assert mapped(path, format="flatgeobuf").status == "up to date"
    assert mapped(path).warnings == ()
    assert main(arguments) == 0
    assert mapped(path, format="flatgeobuf", overwrite=True).warnings == ()
    assert not list(out.glob("*.edited*"))
    assert not list((out / ".geoseg" / "a").glob("*.word"))


def test_a_scene_that_is_replaced_while_it_is_mapped_is_not_done(mapped, tmp_path, monkeypatch):
    path, begin = scene(tmp_path / "in" / "a.tif"), ledger.begin

    def replaced(*arguments):
        begin(*arguments)
        scene(path, seed=7)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "begin", replaced)
        result = mapped(path)
    assert (result.status, result.reason) == (
        "failed",
        "a.tif was replaced while it was mapped; run the same command again",
    )
    assert mapped(path).status == "done"


def test_a_scene_that_went_away_before_it_was_mapped_is_not_waited_for(color_model, tmp_path, monkeypatch):
    paths = [scene(tmp_path / "in" / f"{name}.tif") for name in "ab"]
    settings = RunSettings(inputs=(str(tmp_path / "in"),), output=tmp_path / "out", model=color_model, **SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "begin", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            map_scenes(settings)
    paths[0].unlink()
    assert map_scenes(settings).exit_code == 0
    assert [s.name for s in folder_status(tmp_path / "out").scenes] == ["b"]


@pytest.mark.parametrize("how", ["geopackage", "flatgeobuf"])
def test_names_that_a_writer_would_take_apart(mapped, color_model, tmp_path, how):
    result = mapped(scene(tmp_path / "in" / "Los 1;Nord!.tif"), format=how)
    assert (result.status, result.name) == ("done", "Los 1_Nord_")
    settings = RunSettings(
        inputs=(str(tmp_path / "in"),), output=tmp_path / "Berlin!" / "out", model=color_model, **SMALL
    )
    with pytest.raises(ConfigError, match="cannot be written to a path with !"):
        map_scenes(settings)


def test_a_style_that_geoseg_never_writes_stays_where_it_is(mapped, tmp_path):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path, keep_confidence=True)
    (out / "a_confidence.qml").write_text("<qgis/>")
    assert mapped(path, keep_confidence=True, overwrite=True).warnings == ()
    assert (out / "a_confidence.qml").read_text() == "<qgis/>"


def test_a_killed_run_sets_no_half_written_layers_aside(mapped, tmp_path):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path, format="flatgeobuf")
    (out / "a_buildings.fgb").write_bytes(b"of the run that was killed")
    ledger.note_written(out / ".geoseg" / "a", out / "a_buildings.fgb", out / "a_buildings.fgb")
    (out / "a_green.fgb").write_bytes(b"edited")
    mapped(path, format="flatgeobuf", overwrite=True)
    assert [p.name for p in out.glob("*.edited*")] == ["a_green.edited.fgb"]


def test_an_edited_layer_of_another_format_is_kept(mapped, tmp_path):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path, format="flatgeobuf")
    frame = geopandas.read_file(out / "a_buildings.fgb")
    frame.iloc[1:].to_file(out / "a_buildings.fgb", driver="FlatGeobuf")
    mapped(path, format="flatgeobuf", overwrite=True)
    assert len(geopandas.read_file(out / "a_buildings.edited.fgb")) == len(frame) - 1
    assert len(geopandas.read_file(out / "a_buildings.fgb")) == len(frame)


def test_the_map_of_another_scene_of_the_same_name_is_not_overwritten(mapped, tmp_path):
    first, second = scene(tmp_path / "y2023" / "t.tif", 1), scene(tmp_path / "y2024" / "t.tif", 2)
    assert mapped(first).status == "done"
    before = sha256_file(tmp_path / "out" / "t_classes.tif")
    result = mapped(second)
    assert result.status == "refused"
    assert f"would overwrite those of {first}" in result.reason
    assert sha256_file(tmp_path / "out" / "t_classes.tif") == before
    assert mapped(first).status == "up to date"
    shutil.move(first, tmp_path / "moved.tif")  # a scene that is there no more may be replaced
    assert mapped(second).status == "done"


def test_a_scene_that_was_moved_is_not_another(mapped, tmp_path):
    path = scene(tmp_path / "a" / "t.tif")
    mapped(path)
    moved = tmp_path / "b" / "t.tif"
    moved.parent.mkdir()
    shutil.copy2(path, moved)
    assert mapped(moved).status == "up to date"


def test_what_another_run_did_meanwhile_is_not_done_again(mapped, color_model, tmp_path):
    path = scene(tmp_path / "in" / "a.tif")
    settings = RunSettings(inputs=(str(path),), output=tmp_path / "out", model=color_model, **SMALL)
    plan = plan_run(settings, 1)
    assert [s.done for s in plan.scenes] == [False]
    mapped(path)
    assert [s.done for s in renewed(plan, 1).scenes] == [True]


def test_what_is_over_is_told_where_the_run_is_interrupted(color_model, tmp_path):
    class Interrupted(SerialExecutor):
        def next_outcome(self):
            if (tmp_path / "out" / ".geoseg" / "a" / "scene.json").exists():
                raise KeyboardInterrupt
            return super().next_outcome()

    scenes = tuple(str(scene(tmp_path / "in" / f"{name}.tif")) for name in "ab")
    settings = RunSettings(inputs=scenes, output=tmp_path / "out", model=color_model, **SMALL)
    told = []
    with pytest.raises(KeyboardInterrupt):
        execute(plan_run(settings, 1), Interrupted(), lambda *_: None, told.append)
    assert [(r.name, r.status) for r in told] == [("a", "done")]


def test_what_is_over_is_told_where_the_next_scene_cannot_begin(color_model, tmp_path, monkeypatch):
    begin = ledger.begin

    def interrupted(work, *more):
        if work.name == "b":
            raise KeyboardInterrupt
        begin(work, *more)

    monkeypatch.setattr(ledger, "begin", interrupted)
    scenes = tuple(str(scene(tmp_path / "in" / f"{name}.tif")) for name in "ab")
    with pytest.raises(KeyboardInterrupt):
        map_scenes(RunSettings(inputs=scenes, output=tmp_path / "out", model=color_model, **SMALL))
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [(s["name"], s["status"]) for s in manifest["scenes"]] == [("a", "done")]


def test_overwriting_goes_on_where_it_was_interrupted(color_model, tmp_path, monkeypatch):
    scenes = tuple(str(scene(tmp_path / "in" / f"{name}.tif")) for name in "abc")
    settings = RunSettings(inputs=scenes, output=tmp_path / "out", model=color_model, **SMALL)
    assert map_scenes(settings).exit_code == 0
    anew, begin = settings.model_copy(update={"overwrite": True}), ledger.begin

    def interrupted(work, *more):
        if work.name == "b":
            raise KeyboardInterrupt
        begin(work, *more)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "begin", interrupted)
        with pytest.raises(KeyboardInterrupt):
            map_scenes(anew)
    assert [s.state for s in folder_status(tmp_path / "out").scenes] == ["done", "interrupted", "interrupted"]
    assert [s.done for s in plan_run(settings, 1).scenes] == [True, False, False]
    assert [r.status for r in map_scenes(anew).results] == ["up to date", "done", "done"]
    assert [r.status for r in map_scenes(anew).results] == ["done"] * 3
    assert not list((tmp_path / "out").glob(".geoseg/*/overwriting.json"))


def test_overwriting_that_cannot_start_leaves_everything_as_it_is(color_model, tmp_path, monkeypatch):
    settings = RunSettings(
        inputs=(str(scene(tmp_path / "in" / "a.tif")),), output=tmp_path / "out", model=color_model, **SMALL
    )
    map_scenes(settings)
    with monkeypatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        with pytest.raises(ConfigError, match="sees no GPU here"):
            map_scenes(settings.model_copy(update={"overwrite": True, "device": "cuda"}))
    assert {f.state for f in verify_folder(tmp_path / "out")} == {"whole"}
    assert [r.status for r in map_scenes(settings).results] == ["up to date"]


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: out of memory"), MemoryError()])
def test_a_worker_that_cannot_make_the_model_ready_is_one_line(color_model, tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr("geoseg.nn.session.forward_of", fails)
    settings = RunSettings(
        inputs=(str(scene(tmp_path / "in" / "a.tif")),), output=tmp_path / "out", model=color_model, **SMALL
    )
    with pytest.raises(ConfigError, match=r"cannot be made ready on a worker \((CUDA|MemoryError)"):
        map_scenes(settings)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["exit_code"] == 2


def test_a_scene_that_is_up_to_date_again_is_done(color_model, tmp_path, monkeypatch):
    """Another run, with another setting, was interrupted before it came to it."""
    scenes = tuple(str(scene(tmp_path / "in" / f"{name}.tif")) for name in "ab")
    settings = RunSettings(inputs=scenes, output=tmp_path / "out", model=color_model, **SMALL)
    map_scenes(settings)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "begin", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            map_scenes(settings.model_copy(update={"keep_confidence": True}))
    assert not folder_status(tmp_path / "out").ok
    assert [r.status for r in map_scenes(settings).results] == ["up to date"] * 2
    assert folder_status(tmp_path / "out").ok


def test_what_workers_of_another_machine_left_is_removed(mapped, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    left = (
        ".a_classes.tif.pod-7-12.tmp.tif",
        ".a_classes.tif.pod-7-12.tmp.tif.flat.tif",
        ".a.gpkg.x.y-9.tmp.gpkg-journal",
    )
    others = (f".a.gpkg.{_host()}-{os.getppid()}.tmp.gpkg", ".ab.gpkg.pod-1.tmp.gpkg", ".a.gpkg.pod-1.txt")
    for name in (*left, *others):
        (out / name).write_text("")
    (out / ".a.gpkg.pod-3.abc.tmp").mkdir()
    mapped(scene(tmp_path / "in" / "a.tif"))
    assert {p.name for p in out.glob(".a*")} == {*others}


def test_scenes_are_known_by_their_whole_path(color_model, tmp_path, monkeypatch):
    """Workers may have been started in another folder."""
    path = scene(tmp_path / "in" / "a.tif")
    shutil.copy(path, f"{path}.msk")
    monkeypatch.chdir(tmp_path)
    settings = RunSettings(inputs=("in",), output=Path("out"), model=color_model, **SMALL)
    (planned,) = plan_run(settings, 1).scenes
    assert (planned.scene.path, planned.scene.mask_file) == (path, path.with_name("a.tif.msk"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC])
def test_a_scene_whose_record_cannot_be_written_fails_alone_unless_the_disk_is_full(
    color_model, tmp_path, monkeypatch, number
):
    finish = ledger.finish

    def unwritten(work, record):
        if work.name == "a":
            raise OSError(number, os.strerror(number), str(work / "scene.json"))
        finish(work, record)

    monkeypatch.setattr(ledger, "finish", unwritten)
    scenes = tuple(str(scene(tmp_path / "in" / f"{name}.tif")) for name in "ab")
    settings = RunSettings(inputs=scenes, output=tmp_path / "out", model=color_model, **SMALL)
    if number == errno.ENOSPC:
        with pytest.raises(DiskFull):
            map_scenes(settings)
        return
    first, second = map_scenes(settings).results
    assert (first.status, second.status) == ("failed", "done")
    assert "scene.json: cannot be written (Permission denied)" in first.reason


def test_scenes_whose_paths_look_like_secrets_are_told_apart(mapped, tmp_path):
    """`turkey/year=2023` holds the word key, and a folder `key=…` is blanked in records."""
    for first, second in (("turkey/year=2023", "turkey/year=2024"), ("key=1", "key=2")):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        paths = []
        for folder in (first, second):
            (tmp_path / folder).mkdir(parents=True)
            paths.append(scene(tmp_path / folder / "x.tif", seed=len(paths)))
        assert mapped(paths[0]).status == "done"
        refused = mapped(paths[1])
        assert refused.status == "refused"
        assert "would overwrite those of" in refused.reason
        assert mapped(paths[0]).status == "up to date"


@pytest.mark.parametrize("how", ["geopackage", "flatgeobuf"])
def test_what_a_killed_run_had_published_is_not_taken_for_an_edit(mapped, tmp_path, how):
    """Killed after its layers and before its scene record, with an older map before it and other settings after it."""
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path, format=how)
    work = out / ".geoseg" / "a"
    before = (work / "scene.json").read_text()
    corrected_layers = [p for p in out.iterdir() if p.suffix in (".gpkg", ".fgb")]
    assert corrected_layers
    mapped(path, format=how, overlap=32)
    record = json.loads((work / "scene.json").read_text())
    for name in record["sha256"]:
        ledger.note_written(work, out / name, out / name)
    (work / "scene.json").unlink()
    (work / "previous.json").write_text(before)
    assert mapped(path, format=how, overlap=96).warnings == ()
    assert not list(out.glob("*.edited*"))
    assert not list(work.glob("*.word"))


def test_what_another_map_of_the_scene_left_does_not_lie_beside_the_new_one(mapped, tmp_path):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path, keep_confidence=True)
    mapped(path, format="flatgeobuf")  # the same map: what it has already stays
    both = {p.name for p in out.glob("a*")}
    assert both > {"a.gpkg", "a.qgz", "a_confidence.tif", "a_buildings.fgb", "a_classes.tif.aux.xml"}
    assert {f.state for f in verify_folder(out)} == {"whole"}
    assert mapped(path, keep_confidence=True).status == "up to date"
    assert mapped(path, overlap=32).warnings == ()
    assert {p.name for p in out.glob("a*")} == {n for n in both if "confidence" not in n and not n.endswith(".fgb")}
    assert {f.state for f in verify_folder(out)} == {"whole"}
    corrected(out / "a.gpkg")
    (text,) = mapped(path, format="flatgeobuf", overlap=96).warnings
    assert text == "a.gpkg is of the map before and was changed since: kept as a.edited.gpkg"
    assert {p.name for p in out.glob("a*.*") if p.suffix in (".gpkg", ".qgz")} == {"a.edited.gpkg"}


def test_where_a_correction_went_is_told_by_the_second_try_too(mapped, tmp_path):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path)
    corrected(out / "a.gpkg")
    work = out / ".geoseg" / "a"
    outputs = [out / "a.gpkg", out / "a.qgz"]
    told = set_aside(work, "f" * 64, outputs)
    assert len(told) == 1
    assert set_aside(work, "f" * 64, outputs) == told
    assert set_aside(work, "e" * 64, outputs) == []


def test_vectorize_keeps_corrections_too_and_verify_knows_its_file(mapped, tmp_path, capsys):
    path, out = scene(tmp_path / "in" / "a.tif"), tmp_path / "out"
    mapped(path)
    command = ["vectorize", str(out / "a_classes.tif"), "-o", str(out / "a.gpkg")]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith(f"written: {out / 'a.gpkg'}\n")
    assert not list(out.glob("*.edited*"))
    findings = {f.file: f for f in verify_folder(out)}
    assert findings["a.gpkg"].state == "changed"
    assert findings["a.gpkg"].detail == "replaced since by another command of geoseg"
    left = corrected(out / "a.gpkg")
    assert main(command) == 0
    assert "kept as a.edited.gpkg" in capsys.readouterr().err
    assert len(geopandas.read_file(out / "a.edited.gpkg", layer="buildings")) == left
    elsewhere = tmp_path / "alone" / "b.gpkg"
    for _ in range(2):
        assert main([*command[:-1], str(elsewhere)]) == 0
    assert sorted(p.name for p in elsewhere.parent.iterdir()) == ["b.gpkg", "b.qgz"]
