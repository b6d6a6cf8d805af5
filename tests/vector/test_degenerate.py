"""Class rasters that no town gives: each ends in bounded time and memory, and says what it left out.

The shapes are those of 4096² in small: `python tests/vector/test_degenerate.py SIZE` measures them in any size.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geoseg.cli import main
from geoseg.run.vectorizing import vectorize
from geoseg.vectorize_config import VectorizeSettings

PIXEL_M = 0.3
SIZE = 1024


def checkerboard(size, one, other):
    y, x = np.indices((size, size), np.int32)
    return np.where((x + y) % 2, one, other)


def spiral(size, value, pitch):
    """A round band, half as wide as its pitch."""
    y, x = np.indices((size, size), np.float32) - size / 2
    return np.where((np.hypot(x, y) / pitch - np.arctan2(y, x) / (2 * np.pi)) % 1 < 0.5, value, 0)


RASTERS = {
    "all nodata": lambda n: np.full((n, n), 255),
    "all building": lambda n: np.full((n, n), 1),
    "all road": lambda n: np.full((n, n), 2),
    "all green": lambda n: np.full((n, n), 3),
    "checkerboard of two classes": lambda n: checkerboard(n, 1, 3),
    "checkerboard on background": lambda n: checkerboard(n, 2, 0),
    "noise": lambda n: np.random.default_rng(0).integers(0, 4, (n, n)),
    "stripes": lambda n: np.broadcast_to(2 * (np.arange(n) % 2), (n, n)),
    "road spiral": lambda n: spiral(n, 2, 4),
    "green spiral": lambda n: spiral(n, 3, 4),
    "one row": lambda n: np.full((1, 4 * n), 2),
    "one column": lambda n: np.full((4 * n, 1), 3),
}

SPECKS = "100 % of class '{}' ({} m²) is specks under {} m², which are left out"
WARNINGS = {
    "all nodata": ["nothing became a feature: 0 is background, 255 nodata, 1 building, 2 road, 3 green"],
    "all road": ["road_centerlines: 100 % of the roads"],
    "checkerboard of two classes": [
        "buildings: " + SPECKS.format("building", "47,212", 8),
        "green: " + SPECKS.format("green", "47,212", 20),
    ],
    "checkerboard on background": ["roads: " + SPECKS.format("road", "47,212", 20)],
    "noise": ["buildings: 100 %", "roads: 100 %", "green: 100 %"],
    "stripes": ["road_centerlines: 100 % of the roads"],
    "road spiral": ["road_centerlines: 9"],
}
"""How each warning begins, for rasters of 1024²."""


def write(path, classes):
    height, width = classes.shape
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": height, "width": width, "nodata": 255}
    transform = from_origin(4e5, 5.4e6, PIXEL_M, PIXEL_M)
    with rasterio.open(path, "w", crs="EPSG:32633", transform=transform, compress="deflate", **profile) as dst:
        dst.write(classes.astype(np.uint8), 1)
    return path


def told(path, **changes):
    """The warnings and the features of a class raster."""
    warnings = []
    settings = VectorizeSettings(classes=path, output=path.with_suffix(".gpkg"), **changes)
    return warnings, vectorize(settings, warnings.append)


def peak_mb():
    """Peak memory of this program; what getrusage says includes the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def measured(size):
    """CPU seconds, peak memory in MB so far, warnings and features of each raster."""
    with tempfile.TemporaryDirectory() as folder:
        for name, make in RASTERS.items():
            path = write(Path(folder) / "x.tif", make(size))
            started = time.process_time()
            warnings, counts = told(path)
            seconds = round(time.process_time() - started, 1)
            sys.stdout.write(json.dumps([name, seconds, peak_mb(), warnings, counts]) + "\n")
            sys.stdout.flush()


@pytest.fixture(scope="module")
def results():
    """Of all rasters, made in a process of their own, so that memory is theirs."""
    run = [sys.executable, __file__, str(SIZE)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", RASTERS)
def test_time_and_memory_are_bounded(results, name):
    seconds, peak, _, _ = results[name]
    assert seconds < 15
    assert peak < 1100


@pytest.mark.parametrize("name", RASTERS)
def test_what_is_left_out_is_said_and_nothing_else(results, name):
    warnings, expected = results[name][2], WARNINGS.get(name, [])
    assert len(warnings) == len(expected), warnings
    for text, start in zip(warnings, expected, strict=True):
        assert text.startswith(start), text


def test_what_can_be_a_feature_is_one(results):
    counts = {name: rest[3] for name, rest in results.items()}
    assert set(counts["all nodata"].values()) == {0}
    assert counts["all building"]["buildings"] == 1
    assert counts["all green"]["green"] == 1
    assert counts["all road"]["roads"] == 1
    assert counts["one column"]["green"] == 1
    assert counts["one row"]["road_centerlines"] == 1
    assert counts["road spiral"]["roads"] > 0
    assert counts["green spiral"]["green"] > 0


def test_all_of_a_scene_keeps_its_area(tmp_path):
    classes = write(tmp_path / "x.tif", np.full((300, 500), 3))
    told(classes)
    green = geopandas.read_file(tmp_path / "x.gpkg", layer="green")
    assert green.area.sum() == pytest.approx(300 * 500 * PIXEL_M**2, abs=1e-6)


@pytest.mark.parametrize("changes", [{"vector": {"block_rows": 64}}, {"vector": {"block_rows": 100}, "workers": 2}])
def test_blocks_and_workers_say_the_same(tmp_path, changes):
    """Half of the green and all of the roads are noise; buildings are whole."""
    rng = np.random.default_rng(3)
    classes = np.zeros((400, 300), np.uint8)
    classes[:200, :150] = 3
    classes[200:, :150] = 3 * (rng.random((200, 150)) < 0.3)
    classes[:, 150:] = 2 * (rng.random((400, 150)) < 0.25)
    classes[100:140, 200:240] = 1
    path = write(tmp_path / "x.tif", classes)
    warnings, _ = told(path)
    assert len(warnings) == 1
    assert warnings[0].startswith("roads: ")
    assert told(path, **changes)[0] == warnings


def test_few_specks_are_not_worth_a_word(tmp_path):
    """All buildings are specks, but they are less than 1 % of the scene."""
    classes = np.full((300, 300), 3)
    classes[::30, ::30] = 1
    assert told(write(tmp_path / "x.tif", classes))[0] == []


def test_values_that_no_class_has_are_told(tmp_path):
    classes = np.full((50, 50), 3)
    classes[:10, :10] = 9
    (warning,), counts = told(write(tmp_path / "x.tif", classes))
    assert warning == "value 9 of the class raster (9 m²) is no class of the legend: left out"
    assert counts["green"] == 1


def test_without_a_reference_rows_go_down(tmp_path):
    """As QGIS shows the raster beside it."""
    path = tmp_path / "x.tif"
    classes = np.zeros((1, 60, 40), np.uint8)
    classes[0, 5:15, 10:30] = 3
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=1, height=60, width=40, nodata=255) as dst:
        dst.write(classes)
    assert told(path, allow_ungeoreferenced=True)[1]["green"] == 1
    green = geopandas.read_file(tmp_path / "x.gpkg", layer="green")
    assert green.total_bounds.tolist() == [10, -15, 30, -5]


def test_lines_that_nobody_asked_for_are_not_missed(tmp_path):
    """A square of road is too wide for lines: worth a word, unless lines are switched off."""
    path = write(tmp_path / "x.tif", np.full((400, 400), 2))
    (warning,), _ = told(path)
    assert warning.startswith("road_centerlines: 100 % of the roads")
    assert told(path, vector={"centerlines": {"enabled": False}})[0] == []


def test_the_command_prints_warnings(tmp_path, capsys):
    path = write(tmp_path / "x.tif", checkerboard(64, 1, 0))
    assert main(["vectorize", str(path), "-o", str(tmp_path / "x.gpkg")]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("warning: buildings: 100 % of class 'building' (184 m²)")
    assert "warning" not in printed.out


if __name__ == "__main__":
    measured(int(sys.argv[1]))
