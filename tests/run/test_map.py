"""The main job end to end: outputs, one result, resume, failures. The network costs nothing; the rest is real."""

import json
import multiprocessing
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import geopandas
import numpy as np
import psutil
import pyogrio
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from geoseg.cli import main
from geoseg.config import RunSettings
from geoseg.files import sha256_file
from geoseg.run import ledger
from geoseg.run.mapping import map_scenes
from geoseg.run.plan import plan_run
from geoseg.run.tasks import ProbeTask, Runtime, SegmentTask
from tests.conftest import TOWN_COLORS, write_raster

LAYERS = ["buildings", "roads", "road_centerlines", "road_nodes", "green"]
TILING = {"tile_size": 256, "overlap": 64}
ARGUMENTS = ["--tile-size", "256", "--overlap", "64"]


def map_town(scene, output, model, **changes):
    settings = RunSettings(
        inputs=(str(scene),), output=output, model=model, quiet=True, **{"workers": 0, **TILING, **changes}
    )
    return map_scenes(settings)


@pytest.fixture(scope="session")
def reference(town_scene, color_model, tmp_path_factory):
    """The map of the town, made in one process and one strip."""
    output = tmp_path_factory.mktemp("reference")
    result = map_town(town_scene, output, color_model, strip_rows=100, keep_confidence=True)
    assert result.exit_code == 0
    return output


def digests(folder):
    return {p.name: sha256_file(p) for p in sorted(folder.iterdir()) if p.suffix in (".tif", ".gpkg", ".xml", ".qml")}


def same_map(folder, reference):
    """Class raster and confidence byte by byte, layers feature by feature."""
    for name in ("town_classes.tif", "town_confidence.tif"):
        if (folder / name).exists():
            assert sha256_file(folder / name) == sha256_file(reference / name), name
    for layer in LAYERS:
        ours = geopandas.read_file(folder / "town.gpkg", layer=layer)
        theirs = geopandas.read_file(reference / "town.gpkg", layer=layer)
        assert list(ours.geometry.to_wkb()) == list(theirs.geometry.to_wkb()), layer
        assert ours.drop(columns="geometry").equals(theirs.drop(columns="geometry")), layer


def test_what_a_scene_leaves(reference, town_scene):
    assert [p.name for p in sorted(reference.iterdir())] == [
        ".geoseg",
        "run.json",
        "town.gpkg",
        "town.qgz",
        "town_classes.qml",
        "town_classes.tif",
        "town_classes.tif.aux.xml",
        "town_confidence.tif",
    ]
    assert [name for name, _ in pyogrio.list_layers(reference / "town.gpkg")][: len(LAYERS)] == LAYERS
    for layer in LAYERS:
        assert len(geopandas.read_file(reference / "town.gpkg", layer=layer)) > 0
    assert not list((reference / ".geoseg" / "town").glob("strips")), "strips of a finished scene are removed"


def test_the_class_raster_is_a_cog_on_the_grid_of_the_scene(reference, town_scene):
    valid, errors, _ = cog_validate(reference / "town_classes.tif", strict=True)
    assert valid, errors
    with rasterio.open(town_scene) as scene, rasterio.open(reference / "town_classes.tif") as classes:
        assert (classes.crs, classes.transform, classes.shape) == (scene.crs, scene.transform, scene.shape)
        assert (classes.dtypes, classes.nodata, classes.count) == (("uint8",), 255, 1)
        assert classes.colormap(1)[1] == (215, 48, 31, 255)
        assert classes.overviews(1)
        ids, seen = classes.read(1), scene.dataset_mask() > 0
    assert (ids[~seen] == 255).all()
    assert (ids[seen] < 4).all()
    names = (reference / "town_classes.tif.aux.xml").read_text()
    assert "<Category>building</Category>" in names


def test_overviews_are_made_by_mode(reference):
    """Three or four pixels of a class make one of it; the nearest one would be another in some."""
    with rasterio.open(reference / "town_classes.tif") as classes:
        rows, cols = (n // 2 * 2 for n in classes.shape)
        ids = classes.read(1)[:rows, :cols].reshape(rows // 2, 2, cols // 2, 2).transpose(0, 2, 1, 3)
    with rasterio.open(reference / "town_classes.tif", OVERVIEW_LEVEL=0) as overview:
        made = overview.read(1)[: rows // 2, : cols // 2]
    four = ids.reshape(*made.shape, 4)
    count = (four[..., :, None] == four[..., None, :]).sum(axis=-1)
    most = np.take_along_axis(four, count.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    clear = (count.max(axis=-1) >= 3) & (four != 255).all(axis=-1)  # nodata counts only where there is nothing else
    assert (made == most)[clear].all()
    assert (four[..., 0] != most)[clear].any()


def test_the_manifest_says_what_was_done(reference):
    manifest = json.loads((reference / "run.json").read_text())
    assert manifest["exit_code"] == 0
    assert manifest["run"]["device"] == "cpu"
    (scene,) = manifest["scenes"]
    assert scene["status"] == "done"
    assert set(scene["layers"]) == set(LAYERS)


def test_the_geopackage_carries_its_provenance(reference):

    with sqlite3.connect(reference / "town.gpkg") as db:
        texts = [row[0] for row in db.execute("select metadata from gpkg_metadata")]
    assert any('"weights_sha256"' in text for text in texts)


@pytest.mark.parametrize("strip_rows", [1, 2, 3])
def test_any_strip_height_gives_the_same_map(reference, town_scene, color_model, tmp_path, strip_rows):
    assert map_town(town_scene, tmp_path, color_model, strip_rows=strip_rows, keep_confidence=True).exit_code == 0
    same_map(tmp_path, reference)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_dask_workers_gives_the_same_map(reference, town_scene, color_model, tmp_path, workers):
    result = map_town(town_scene, tmp_path, color_model, workers=workers, strip_rows=1, keep_confidence=True)
    assert result.exit_code == 0
    same_map(tmp_path, reference)


@pytest.mark.slow
def test_one_dask_worker_gives_the_same_map_to_a_driver_without_torch(reference, town_scene, color_model, tmp_path):
    """In a process of its own, as this one has imported it."""
    arguments = command(town_scene, tmp_path / "out", color_model, "--workers", "1", "--strip-rows", "1")[3:]
    (tmp_path / "job.py").write_text(
        "import sys\nfrom geoseg.cli import main\n"
        f"if __name__ == '__main__':\n    assert main({[*arguments, '--keep-confidence']}) == 0\n"
        "    assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, str(tmp_path / "job.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    same_map(tmp_path / "out", reference)


def test_a_finished_scene_is_not_mapped_again(town_scene, color_model, tmp_path):
    map_town(town_scene, tmp_path, color_model)
    before = digests(tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.glob("town*")}
    result = map_town(town_scene, tmp_path, color_model)
    assert [r.status for r in result.results] == ["up to date"]
    assert digests(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("town*")} == stamps


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"overwrite": True}, True),
        ({"overlap": 96}, True),
        ({"vector": {"building": {"min_area_m2": 50.0}}}, True),
        ({"strip_rows": 2}, False),  # how the work is cut does not change the map
        ({"verbose": True, "quiet": False}, False),
    ],
)
def test_a_scene_is_mapped_again_where_the_map_would_differ(town_scene, color_model, tmp_path, change, again):
    map_town(town_scene, tmp_path, color_model)
    if "vector" in change:
        settings = RunSettings().vector
        building = settings.building.model_copy(update=change["vector"]["building"])
        change = {"vector": settings.model_copy(update={"building": building})}
    settings = RunSettings(inputs=(str(town_scene),), output=tmp_path, model=color_model, workers=0).model_copy(
        update={**TILING, "quiet": True, **change}
    )
    assert map_scenes(settings).results[0].status == ("done" if again else "up to date")


def test_a_map_is_of_one_precision(reference, town_scene, color_model, tmp_path):
    """A strip that another processor computed in bfloat16, before the run was moved to this one, is computed again."""
    settings = RunSettings(
        inputs=(str(town_scene),), output=tmp_path, model=color_model, workers=0, quiet=True, **TILING
    )
    settings = settings.model_copy(update={"strip_rows": 2, "log_json": tmp_path / "log.jsonl"})
    plan = plan_run(settings, 1)
    (scene,), runtime = plan.scenes, ProbeTask(settings, plan.contract).run()
    other = Runtime(runtime.device, "float32" if runtime.precision == "bfloat16" else "bfloat16")
    ledger.begin(scene.work, scene.fingerprint, scene.strips, frozenset())
    for strip, how in zip(scene.strips[:2], (other, runtime), strict=True):
        SegmentTask(scene, strip, settings, plan.contract, how).run()
    assert map_scenes(settings).exit_code == 0
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert next(e for e in events if e["event"] == "scene")["committed"] == 1
    same_map(tmp_path, reference)


def test_a_lost_output_is_made_again(town_scene, color_model, tmp_path):
    map_town(town_scene, tmp_path, color_model)
    (tmp_path / "town.gpkg").unlink()
    assert map_town(town_scene, tmp_path, color_model).results[0].status == "done"
    assert (tmp_path / "town.gpkg").exists()


def command(scene, output, model, *more):
    return [
        sys.executable,
        "-m",
        "geoseg.cli",
        "map",
        str(scene),
        "-o",
        str(output),
        "--model",
        str(model),
        *ARGUMENTS,
        *more,
    ]


def committed(output):
    """Strip file → what identifies the very file on disk."""
    return {p: p.stat().st_ino for p in output.glob(".geoseg/*/strips/*.tif") if p.with_suffix(".json").exists()}


@pytest.mark.slow
def test_a_run_killed_ten_times_ends_with_the_same_map(town_scene, unet_model, tmp_path):
    """`kill -9` at ten random moments; no strip that was committed is computed again."""
    reference, output = tmp_path / "reference", tmp_path / "killed"
    started = time.monotonic()
    assert map_town(town_scene, reference, unet_model, strip_rows=100).exit_code == 0
    whole_s = time.monotonic() - started
    rng = random.Random(5)
    arguments = command(town_scene, output, unet_model, "--workers", "0", "--strip-rows", "1", "--quiet")[3:]
    # Processes that have imported everything before they begin: else most kills would meet that.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["geoseg.cli", "geoseg.nn.session", "geoseg.vector.vectorize"])
    seen: dict[Path, int] = {}
    resumed = 0
    for _ in range(10):
        process = context.Process(target=main, args=(arguments,))
        process.start()
        process.join(rng.uniform(0.1, 0.6) * whole_s)
        process.kill()
        process.join()
        if (output / "town.gpkg").exists():  # it was quicker than the kill
            shutil.rmtree(output)
            seen = {}
            continue
        now = committed(output)
        assert {p: i for p, i in now.items() if p in seen} == seen, "a committed strip was computed again"
        resumed += len(seen)
        seen = now
    assert resumed, "no kill met a run that had committed anything"
    assert map_town(town_scene, output, unet_model).exit_code == 0
    same_map(output, reference)
    assert not [p for p in output.rglob("*") if ".tmp" in p.name], "no half-written file is left"


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(reference, town_scene, color_model, tmp_path):
    """`kill -9` of one of two workers: Dask starts another, the strip is done again, no other one suffers."""
    process = psutil.Popen(
        command(town_scene, tmp_path, color_model, "--workers", "2", "--strip-rows", "1"), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 90
    while not committed(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    victims = [p for p in process.children(recursive=True) if "spawn_main" in " ".join(p.cmdline())]
    victims[0].kill()
    assert process.wait(timeout=120) == 0
    same_map(tmp_path, reference)


@pytest.mark.slow
def test_sigterm_stops_resumable_and_says_so(town_scene, unet_model, tmp_path):
    process = subprocess.Popen(
        command(town_scene, tmp_path, unet_model, "--workers", "0", "--strip-rows", "1", "--overwrite"),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / ".geoseg" / "town").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "run the same command again" in err
    assert map_town(town_scene, tmp_path, unet_model).exit_code == 0


def test_two_runs_never_mix(town_scene, color_model, tmp_path, capsys):
    from geoseg.run.lock import locked

    with locked(tmp_path):
        code = main(
            ["map", str(town_scene), "-o", str(tmp_path), "--model", str(color_model), "--workers", "0", *ARGUMENTS]
        )
    assert code == 2
    assert "another run is writing there" in capsys.readouterr().err


def test_the_same_stem_in_two_folders_does_not_collide(color_model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 90, 70), dtype=np.uint8)
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        write_raster(tmp_path / "in" / folder / "x.tif", pixels)
    result = map_town(tmp_path / "in", tmp_path / "out", color_model)
    assert result.exit_code == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("*.gpkg")) == ["a_x.gpkg", "b_x.gpkg"]


def test_a_geopackage_that_is_opened_meanwhile_fails_its_scene_only(color_model, tmp_path):
    scenes = [write_raster(tmp_path / f"{n}.tif", np.full((3, 500, 300), 90, np.uint8)) for n in "ab"]
    out = tmp_path / "out"

    def open_it():
        while not (out / ".geoseg" / "a" / "strips").is_dir():
            time.sleep(0.001)
        (out / "a.gpkg-wal").touch()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(open_it)
        settings = RunSettings(inputs=tuple(map(str, scenes)), output=out, model=color_model, workers=0, quiet=True)
        result = map_scenes(settings)
    assert {r.name: r.status for r in result.results} == {"a": "failed", "b": "done"}
    assert "a.gpkg-wal" in result.results[0].reason
    (out / "a.gpkg-wal").unlink()
    assert [r.status for r in map_scenes(settings).results] == ["done", "up to date"]


def test_a_scene_that_fails_does_not_stop_the_others(color_model, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 90, 70), dtype=np.uint8)
    write_raster(tmp_path / "good.tif", pixels)
    (tmp_path / "bad.tif").write_text("not a raster")
    code = main(["map", str(tmp_path), "-o", str(tmp_path / "out"), "--model", str(color_model), "--workers", "0"])
    assert code == 1
    assert "bad.tif: not a TIFF" in capsys.readouterr().err
    assert (tmp_path / "out" / "good.gpkg").exists()


def test_a_strip_that_cannot_be_read_is_nodata_and_the_scene_partial(color_model, tmp_path):
    """A block whose bytes are damaged: its strip is listed and left as nodata; mended, only it is mapped."""
    pixels = np.random.default_rng(0).integers(0, 255, (3, 1000, 70), dtype=np.uint8)
    path = write_raster(tmp_path / "in.tif", pixels, compress="deflate", blockysize=64)
    good = path.read_bytes()
    with rasterio.open(path) as src:
        offset = int(src.get_tag_item("BLOCK_OFFSET_0_12", "TIFF", bidx=1))  # rows 768–831
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 400)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    result = map_town(path, tmp_path / "out", color_model, strip_rows=1)
    assert result.exit_code == 1
    (scene,) = result.results
    assert scene.status == "partial"
    assert "cannot be decoded" in scene.reason
    with rasterio.open(tmp_path / "out" / "in_classes.tif") as src:
        ids = src.read(1)
    assert (ids[780:800] == 255).all()
    assert (ids[:500] != 255).all()
    kept = committed(tmp_path / "out")
    assert kept
    path.write_bytes(good)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_everything_nodata_gives_empty_typed_layers(color_model, tmp_path):
    path = write_raster(tmp_path / "empty.tif", np.zeros((3, 100, 80), np.uint8), nodata=0)
    assert map_town(path, tmp_path / "out", color_model).exit_code == 0
    for layer in LAYERS:
        frame = pyogrio.read_info(tmp_path / "out" / "empty.gpkg", layer=layer)
        assert frame["features"] == 0
        assert frame["geometry_type"] == {"road_centerlines": "LineString", "road_nodes": "Point"}.get(layer, "Polygon")


@pytest.mark.parametrize("strip_rows", [1, 100])
def test_noise_is_left_out_with_a_warning(color_model, tmp_path, capsys, strip_rows):
    """Roads of four by four metres and no other: no feature, and nobody should think that nothing was seen."""
    ground, road = ((color.numpy() + 1) * 127.5 for color in TOWN_COLORS[[0, 2]])
    row, column = np.indices((600, 200)) // 8
    pixels = np.where((row % 2 & column % 2)[..., None], road, ground)
    path = write_raster(tmp_path / "x.tif", pixels.astype(np.uint8).transpose(2, 0, 1))
    run = map_town(path, tmp_path / "out", color_model, strip_rows=strip_rows)
    (result,) = run.results
    assert result.layers["roads"] == 0
    (warning,) = result.warnings
    assert re.fullmatch(
        r"roads: 100 % of class 'road' \([\d,]+ m²\) is specks under 20 m², which are left out", warning
    )
    assert f"warning: x: {warning}" in " ".join(capsys.readouterr().err.split())
    (scene,) = json.loads((tmp_path / "out" / "run.json").read_text())["scenes"]
    assert scene["warnings"] == [warning]


def test_dry_run_needs_neither_torch_nor_dask(town_scene, color_model, tmp_path):
    code = (
        "import sys; from geoseg.cli import main\n"
        f"assert main({command(town_scene, tmp_path / 'out', color_model, '--dry-run')[3:]!r}) == 0\n"
        "assert not {'torch', 'dask', 'distributed'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pixels forwarded per pixel" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_log_has_one_json_object_a_line(town_scene, color_model, tmp_path):
    map_town(town_scene, tmp_path / "out", color_model, log_json=tmp_path / "log.jsonl")
    events = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"look", "runtime", "scene", "strip", "scene_over"} <= set(events)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no input"),
        (["nowhere"], "names no GeoTIFF"),
        (["{scene}", "--tile-size", "1000"], "multiple of 32"),
        (["{scene}", "--bands", "a,b"], "not of the form 1,2,3"),
        (["{scene}", "--nonsense"], "No such option"),
        (["{scene}", "--log-json", "/nowhere/log"], "Name another file with --log-json"),
        (["{scene}", "--model", "nowhere"], "not a directory"),
        (["{scene}", "--scheduler", "nowhere.json"], "neither a file nor an address"),
        (["{scene}", "--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers"),
    ],
)
def test_usage_errors_exit_with_2(town_scene, tmp_path, capsys, arguments, message):
    filled = [a.format(scene=town_scene) for a in arguments]
    assert main(["map", *filled, "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert Path(tmp_path / "out").exists() is (message == "no Dask scheduler answers")
