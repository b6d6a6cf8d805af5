"""What goes wrong in real runs: workers that die, blocks that cannot be read, full disks, links that lead elsewhere."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import geopandas
import numpy as np
import psutil
import pytest
import rasterio
import shapely

from benchmarks.faults import environment
from geoseg.cli import main
from geoseg.config import RunSettings
from geoseg.errors import DiskFull
from geoseg.files import sha256_file
from geoseg.legend import DEFAULT_LEGEND
from geoseg.raster.strips import StripFile, StripRaster, write_strip
from geoseg.raster.write import RasterSpec, write_cog
from geoseg.run import tasks
from geoseg.run.journal import journals, read_journal
from geoseg.run.mapping import map_scenes
from geoseg.run.verify import verify_folder
from geoseg.vector.exchange import write_layers
from geoseg.vector.schema import layers_of
from tests.conftest import write_raster

TILING = {"tile_size": 64, "overlap": 32, "strip_rows": 2}
ARGUMENTS = ["--tile-size", "64", "--overlap", "32", "--strip-rows", "2"]


def mosaic(path, rows=448, cols=96, seed=0, **profile):
    """Squares of random colours: the map of each strip differs."""
    squares = np.random.default_rng(seed).integers(1, 255, (3, -(-rows // 16), -(-cols // 16)), dtype=np.uint8)
    return write_raster(path, squares.repeat(16, 1).repeat(16, 2)[:, :rows, :cols], **profile)


def run_map(scene, output, model, **changes):
    values = {"workers": 0, "quiet": True, **TILING, **changes}
    return map_scenes(RunSettings(inputs=(str(scene),), output=output, model=model, **values))


def command(scene, output, model, *more):
    arguments = ["map", scene, "-o", output, "--model", model, *ARGUMENTS, *more]
    return [sys.executable, "-m", "geoseg.cli", *map(str, arguments)]


def events(output, *names):
    return [e for path in journals(output) for e in read_journal(path) if e["event"] in names]


def classes(output, name="in"):
    with rasterio.open(output / f"{name}_classes.tif") as src:
        return src.read(1)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return mosaic(tmp_path_factory.mktemp("faults") / "in.tif")


@pytest.fixture(scope="module")
def sound(scene, color_model, tmp_path_factory):
    output = tmp_path_factory.mktemp("sound")
    assert run_map(scene, output, color_model).exit_code == 0
    return output


# Strips that kill their workers


@pytest.mark.slow
def test_a_poison_strip_fails_alone_and_is_all_that_is_done_again(scene, sound, color_model, tmp_path):
    """A worker dies with it twice, a third one when it is run alone; strips that waited there are not charged."""
    arguments = command(scene, tmp_path, color_model, "--workers", "2", "--quiet")
    done = subprocess.run(arguments, env=environment(poison=(3,)), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    record = json.loads((tmp_path / ".geoseg" / "in" / "scene.json").read_text())
    assert record["status"] == "partial"
    ((rows, reason),) = record["failed_rows"].items()
    assert "took 3 workers with it, the last one with nothing else to do" in reason
    assert "run the same command again: only this is missing" in done.stderr
    first, last = map(int, rows.split("–"))
    whole, ours = classes(sound), classes(tmp_path)
    assert (ours[first : last + 1] == 255).all()
    keep = np.r_[0:first, last + 1 : len(whole)]
    np.testing.assert_array_equal(ours[keep], whole[keep])
    lost = events(tmp_path, "worker lost")
    poisoned = [e for e in lost if e["task"].startswith("segment-in-00005")]
    assert [(e["deaths"], e["alone"]) for e in poisoned] == [(1, False), (2, False), (3, True)]
    assert all(e["deaths"] == 0 for e in lost if e not in poisoned), "an innocent strip was charged"
    (told,) = json.loads((tmp_path / "run.json").read_text())["scenes"]
    assert told["pixels"] == whole[keep].size
    assert [f.state for f in verify_folder(tmp_path) if f.state != "whole"] == ["hole"]
    assert main(["status", str(tmp_path)]) == 1
    computed = len(events(tmp_path, "strip"))
    assert run_map(scene, tmp_path, color_model).exit_code == 0
    assert len(events(tmp_path, "strip")) == computed + 1
    assert sha256_file(tmp_path / "in_classes.tif") == sha256_file(sound / "in_classes.tif")


# Blocks of the scene that cannot be decoded


def damage(path, *blocks):
    """Overwrite blocks (column, row) of a compressed file; its time of change stays."""
    stat = path.stat()
    with rasterio.open(path) as src:
        places = [int(src.get_tag_item(f"BLOCK_OFFSET_{c}_{r}", "TIFF", bidx=1)) for c, r in blocks]
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(b"\xff" * 30)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


TILED = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
BAD = (1, 7)
"""Column and row of a block: pixels 224–255 × 32–63."""


def test_a_bad_block_is_nodata_only_when_asked(color_model, tmp_path):
    """As if the scene had said nodata there: a scene with a mask is the oracle."""
    path = mosaic(tmp_path / "in.tif", nodata=0, **TILED)
    with rasterio.open(path) as src:
        pixels = src.read()
    pixels[:, 224:256, 32:64] = 0
    write_raster(tmp_path / "oracle.tif", pixels, nodata=0, **TILED)
    run_map(tmp_path / "oracle.tif", tmp_path / "oracle", color_model)
    damage(path, BAD)
    out = tmp_path / "out"
    refused = run_map(path, out, color_model)
    assert refused.exit_code == 1
    assert "map all but the bad blocks with --on-bad-block nodata" in refused.results[0].reason
    assert refused.results[0].status == "partial"
    computed = len(events(out, "strip"))
    taken = run_map(path, out, color_model, on_bad_block="nodata")
    assert taken.exit_code == 0
    assert "1,024 pixels lie in blocks that cannot be decoded: taken as nodata" in taken.results[0].warnings
    assert 0 < len(events(out, "strip")) - computed <= 2, "only what failed is done"
    np.testing.assert_array_equal(classes(out), classes(tmp_path / "oracle", "oracle"))
    assert (classes(out)[224:256, 32:64] == 255).all()
    assert run_map(path, out, color_model, on_bad_block="nodata").results[0].status == "up to date"
    assert run_map(path, out, color_model).results[0].status == "partial", "a map with such holes is not whole"


def test_bad_blocks_of_a_strip_that_is_tried_again_count_once(color_model, tmp_path, monkeypatch):
    path = mosaic(tmp_path / "in.tif", nodata=0, **TILED)
    damage(path, BAD)
    failures = [OSError(errno.EIO, "a disk that was away")]

    def written(*arguments):
        counts = write_strip(*arguments)
        if failures:
            raise failures.pop()
        return counts

    monkeypatch.setattr(tasks, "write_strip", written)
    done = run_map(path, tmp_path / "out", color_model, on_bad_block="nodata", strip_rows=100)
    assert not failures
    assert "1,024 pixels lie in blocks that cannot be decoded: taken as nodata" in done.results[0].warnings


def test_a_file_that_goes_away_is_no_bad_block(color_model, tmp_path):
    from geoseg.errors import BrokenRaster
    from geoseg.raster.read import SceneReader
    from geoseg.raster.scene import inspect

    path = mosaic(tmp_path / "in.tif", **TILED)
    damage(path, BAD)
    found = inspect(path)
    reader = SceneReader(found, (1, 2, 3), tolerant=True)
    path.rename(tmp_path / "elsewhere.tif")
    with pytest.raises(BrokenRaster, match="can no longer be opened"):
        reader.rows(0, 300)


@pytest.mark.parametrize("profile", [TILED, {"compress": "deflate", "blockysize": 8}, {**TILED, "interleave": "band"}])
def test_a_tolerant_reader_loses_the_bad_blocks_only(tmp_path, profile):
    """Against the file as it was, block by block."""
    from geoseg.raster.read import SceneReader
    from geoseg.raster.scene import inspect

    path = mosaic(tmp_path / "in.tif", **profile)
    with rasterio.open(path) as src:
        before, (high, wide) = src.read(), src.block_shapes[0]
    bad = [(0, 2), (0, 5)] if wide == 96 else [(0, 2), (2, 7), (1, 13)]
    damage(path, *bad)
    expected = np.ones(before.shape[1:], bool)
    for c, r in bad:
        expected[r * high : (r + 1) * high, c * wide : (c + 1) * wide] = False
    reader = SceneReader(inspect(path), (1, 2, 3), tolerant=True)
    for start in range(0, 448, 48):
        rows = reader.rows(start, min(448, start + 64))
        np.testing.assert_array_equal(rows.valid, expected[rows.start : rows.stop])
        np.testing.assert_array_equal(rows.pixels[:, rows.valid], before[:, rows.start : rows.stop][:, rows.valid])
    assert reader.lost_pixels(0, 448) == int((~expected).sum())
    assert reader.lost_pixels(0, 8) == 0
    reader.close()


def test_a_bad_spot_in_a_tall_strip_loses_the_same_rows_in_any_order(tmp_path):
    """GDAL decodes such a strip from its top: from the bad row on all is lost, whichever rows were asked for before."""
    from geoseg.raster.read import SceneReader
    from geoseg.raster.scene import inspect

    high, wide = 20_000, 1500
    pixels = np.random.default_rng(0).integers(1, 255, (1, high, wide), dtype=np.uint8)
    path = tmp_path / "tall.tif"
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": high, "width": wide, "crs": "EPSG:32633"}
    transform = rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5.5e6)
    with rasterio.open(path, "w", compress="lzw", blockysize=high, transform=transform, **profile) as dst:
        dst.write(pixels)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size * 3 // 4)
        file.write(bytes(4000))
    reader = SceneReader(inspect(path), (1,), tolerant=True)
    first = reader.rows(12_000, 17_000).valid.copy()
    assert not first.all()
    assert first[0].all()
    reader.rows(17_000, 17_512)
    np.testing.assert_array_equal(reader.rows(12_000, 17_000).valid, first)
    reader.close()


def test_blocks_that_were_never_written_are_named(color_model, tmp_path):
    path = tmp_path / "in.tif"
    profile = {
        "driver": "GTiff",
        "count": 3,
        "dtype": "uint8",
        "height": 128,
        "width": 96,
        "crs": "EPSG:32633",
        **TILED,
    }
    with rasterio.open(
        path, "w", sparse_ok=True, transform=rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6), **profile
    ) as dst:
        dst.write(np.full((3, 32, 96), 90, np.uint8), window=((0, 32), (0, 96)))
    result = run_map(path, tmp_path / "out", color_model)
    assert result.exit_code == 0
    assert result.results[0].warnings == ("9 of 12 blocks of its file were never written: taken as nodata",)
    assert (classes(tmp_path / "out")[32:] == 255).all()
    assert (classes(tmp_path / "out")[:32] != 255).all()


# Signals, disks and links


def alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "everyone"), [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGINT, True)]
)
def test_a_signal_stops_workers_and_driver_within_ten_seconds(scene, sound, color_model, tmp_path, number, everyone):
    """`everyone`: a terminal sends Ctrl-C to all processes of a command."""
    run = psutil.Popen(
        command(scene, tmp_path, color_model, "--workers", "2"),
        env=environment(slow_s=1.0), stderr=subprocess.PIPE, text=True,
        # What a shell starts in the background is deaf to SIGINT, and hands that on.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL), start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob(".geoseg/in/strips/[0-9]*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    family = run.children(recursive=True)
    asked = time.monotonic()
    os.killpg(run.pid, number) if everyone else run.send_signal(number)
    _, err = run.communicate(timeout=30)
    while any(map(alive, family)) and time.monotonic() - asked < 10:
        time.sleep(0.05)
    assert time.monotonic() - asked < 10, family
    assert run.returncode == 130, err
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    assert json.loads((tmp_path / "run.json").read_text())["exit_code"] == 130
    kept = len(list(tmp_path.glob(".geoseg/in/strips/[0-9]*.json")))
    assert run_map(scene, tmp_path, color_model).exit_code == 0
    assert events(tmp_path, "scene")[-1]["committed"] == kept > 0
    assert sha256_file(tmp_path / "in_classes.tif") == sha256_file(sound / "in_classes.tif")


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("after_s", [1.5, 3.0])
def test_ctrl_c_while_workers_start_is_one_line(scene, color_model, tmp_path, after_s):
    run = psutil.Popen(
        command(scene, tmp_path, color_model, "--workers", "1"), stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), start_new_session=True,
    )  # fmt: skip
    time.sleep(after_s)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=30)
    # Python itself ends by the signal where it came while an extension ran code of its own.
    assert run.returncode in (130, -signal.SIGINT), err
    assert "Traceback" not in err


@pytest.fixture
def small_disk(tmp_path, request):
    """A file system of its own with 300 kB, or what a test asks for."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    options = ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', '300k')}", "tmpfs", str(folder)]
    if not mounted or subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_run_with_one_line(color_model, small_disk, tmp_path, capsys):
    """At whatever it is full: strips, rasters or vectors. With space, the same command goes on."""
    path = tmp_path / "in.tif"
    noise = np.random.default_rng(3).integers(1, 255, (3, 256, 512), dtype=np.uint8)
    write_raster(path, noise)
    for filler_kb in (100, 200, 280):
        out = small_disk / f"out_{filler_kb}"
        (small_disk / "filler").write_bytes(bytes(filler_kb * 1000))
        code = main(command(path, out, color_model, "--workers", "0", "--quiet")[3:])
        told = capsys.readouterr().err.splitlines()
        assert code == 1, told
        assert told[-1].startswith("geoseg: "), told
        assert "full" in told[-1], told
        assert not [p for p in out.rglob("*") if ".tmp" in p.name], "something half-written is left"
        assert not (out / "in.gpkg").exists()
        (small_disk / "filler").unlink()
        if out.exists():
            shutil.rmtree(out)


@pytest.mark.parametrize("small_disk", ["3m"], indirect=True)
def test_a_disk_that_fills_while_gdal_writes_is_full(small_disk, tmp_path):
    """And so it is for a strip, a class raster and a layer: before, these were failures that others may not share."""
    noise = np.random.default_rng(0).integers(0, 255, (2, 4096, 2048), np.uint8)
    part = SimpleNamespace(start=0, classes=noise[0], confidence=noise[1])
    with pytest.raises(DiskFull):
        write_strip(small_disk / "a.tif", 4096, 2048, [part])
    write_strip(tmp_path / "a.tif", 4096, 2048, [part])
    raster = StripRaster((StripFile(0, 4096, tmp_path / "a.tif"),), 2048, 2)
    spec = RasterSpec(
        height=4096, width=2048, crs_wkt="", transform=(1, 0, 0, 0, -1, 0), palette=None, tags={}, resampling="average"
    )
    with pytest.raises(DiskFull):
        write_cog(small_disk / "b.tif", raster, spec)
    boxes = shapely.box(*np.random.default_rng(1).uniform(0, 1e6, (4, 60_000)))
    layer = next(layer for layer in layers_of(DEFAULT_LEGEND) if layer.name == "green")
    values = {"int64": 1, "float64": 0.5, "string": "x" * 40, "bool": True}
    columns = {f.name: [values[f.type]] * len(boxes) for f in layer.fields}
    frame = geopandas.GeoDataFrame(columns, geometry=boxes, crs="EPSG:32633")
    for suffix in ("fgb", "parquet"):
        with pytest.raises(DiskFull):
            write_layers([small_disk / f"c.{suffix}"], [(layer, [frame])], frame.crs.to_wkt())
    assert not list(small_disk.iterdir())


AFTER_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from types import SimpleNamespace
from geoseg.config import RunSettings
from geoseg.run.mapping import map_scenes

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
scene, output, model = map(Path, sys.argv[1:])
settings = RunSettings(inputs=(str(scene),), output=output, model=model, workers=0, quiet=True)
settings = settings.model_copy(update={"tile_size": 64, "overlap": 32, "strip_rows": 4})
for limit, expected in ((4096, False), (resource.RLIM_INFINITY, True)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        done = map_scenes(settings).exit_code == 0
    except Exception as exc:
        done = False
    assert done == expected, limit
"""


def test_a_process_maps_on_after_a_strip_could_not_be_written(color_model, tmp_path):
    """The strip that failed holds the network no longer."""
    noise = np.random.default_rng(3).integers(1, 255, (3, 512, 128), dtype=np.uint8)
    scene = write_raster(tmp_path / "in.tif", noise)
    run = [sys.executable, "-c", AFTER_A_FULL_DISK, scene, tmp_path / "out", color_model]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "link", [".geoseg", ".geoseg/in", ".geoseg/in/strips", ".geoseg/journal", "in.gpkg", "in_classes.tif"]
)
def test_links_that_lead_out_of_the_output_folder(scene, color_model, tmp_path, capsys, link):
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    treasure = elsewhere / "treasure.tif"
    treasure.write_text("mine")
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(treasure if "." in Path(link).name[1:] else elsewhere)
    code = main(command(scene, out, color_model, "--workers", "0", "--quiet")[3:])
    assert code == 1
    assert "Remove the link" in capsys.readouterr().err
    assert [p.name for p in elsewhere.iterdir()] == ["treasure.tif"]
    assert treasure.read_text() == "mine"


def test_a_folder_of_hostile_files_ends_in_one_line_each(scene, color_model, tmp_path, capsys):
    """The one good scene among them is mapped."""
    folder = tmp_path / "in"
    folder.mkdir()
    content = scene.read_bytes()
    (folder / "good.tif").write_bytes(content)
    (folder / "truncated.tif").write_bytes(content[: len(content) // 2])
    (folder / "vrt.tif").write_text(f'<VRTDataset rasterXSize="9" rasterYSize="9"><SRS>{scene}</SRS></VRTDataset>')
    (folder / "wms.tif").write_text(
        "<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1:9/</ServerUrl></Service></GDAL_WMS>"
    )
    (folder / "empty.tif").write_bytes(b"")
    mosaic(folder / "nan.tif", transform=rasterio.Affine(float("nan"), 0, 0, 0, -1, 0))
    mosaic(folder / "nowhere.tif", crs=None)
    (folder / "nowhere.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:32633</SRS></PAMDataset>")
    code = main(command(folder, tmp_path / "out", color_model, "--workers", "0", "--quiet")[3:])
    err = capsys.readouterr().err
    assert code == 1
    for name, why in {
        "truncated": "truncated", "vrt": "an XML description", "wms": "an XML description", "empty": "empty",
        "nan": "not finite", "nowhere": "no CRS",
    }.items():  # fmt: skip
        assert sum(f"refused: {folder}/{name}.tif: " in line and why in line for line in err.splitlines()) >= 1, name
    assert "Traceback" not in err
    assert sorted(p.stem for p in (tmp_path / "out").glob("*.gpkg")) == ["good"]


def test_hostile_configurations(tmp_path, capsys):
    bombs = {
        "aliases": "a: &a [x, x]\nb: &b [*a, *a]\ninputs: *b",
        "nested": "[" * 20_000,
        "code": "inputs: !!python/object/apply:os.system ['true']",
        "twice": "overlap: 64\noverlap: 128",
        "large": "# " + "x" * 2**20,
    }
    for name, text in bombs.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        assert main(["map", "--config", str(path), "-o", str(tmp_path / "out")]) == 2, name
        assert capsys.readouterr().err.startswith(f"geoseg: {path}: "), name


@pytest.mark.slow
def test_ten_kills_change_nothing(color_model):
    """Of workers and drivers, at random moments: see benchmarks/chaos.py for what is checked."""
    from benchmarks.chaos import chaos

    tally = chaos(kills=10, seed=11, workers=2, model=color_model)
    assert tally.kills.total() == 10
    assert tally.finished >= 1
