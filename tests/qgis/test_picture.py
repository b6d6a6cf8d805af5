"""What an analyst sees: the layers of a town in a real QGIS agree with the class raster that they were made of."""

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS

from geoseg.legend import DEFAULT_LEGEND
from geoseg.run.vectorizing import vectorize
from geoseg.town.noisy import NetworkNoise, noisy_classes
from geoseg.town.plan import plan_town
from geoseg.town.settings import TownSettings
from geoseg.town.truth import transform_of
from geoseg.vector.styles import FILL_OPACITY
from geoseg.vectorize_config import VectorizeSettings

SYSTEM_PYTHON = Path("/usr/bin/python3")
CHECK = Path(__file__).with_name("check.py")
SIZE = 2048
SEED = 7
POLYGONS = ("buildings", "roads", "green")


def has_qgis():
    found = [SYSTEM_PYTHON, "-c", "import qgis.core"]
    return SYSTEM_PYTHON.exists() and subprocess.run(found, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.qgis,
    pytest.mark.skipif(not has_qgis(), reason="the system's Python has no qgis.core (Debian: python3-qgis)"),
]


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A class raster as a network gives it of a town at 0.3 m, and its picture in QGIS, a pixel for a pixel."""
    folder = tmp_path_factory.mktemp("render")
    plan = plan_town(TownSettings(size_px=(SIZE, SIZE), seed=SEED))
    classes, _ = noisy_classes(plan, NetworkNoise(seed=SEED))
    transform, path = transform_of(plan), folder / "town_classes.tif"
    profile = {"driver": "GTiff", "height": SIZE, "width": SIZE, "count": 1, "dtype": "uint8", "nodata": 255}
    crs = CRS.from_string(plan.settings.crs)
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as dst:
        dst.write(classes, 1)
        extent = ",".join(map(str, dst.bounds))
    vectorize(VectorizeSettings(classes=path, output=folder / "town.gpkg"))
    return classes, render(folder / "town.gpkg", extent)


def render(geopackage, extent):
    """The polygon layers as QGIS draws them by their own styles, without smoothing, on white: (SIZE, SIZE, 3)."""
    home = geopackage.parent / "home"
    home.mkdir(mode=0o700)
    env = {"QT_QPA_PLATFORM": "offscreen", "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PATH": os.environ["PATH"]}
    picture = geopackage.with_suffix(".png")
    command = [SYSTEM_PYTHON, CHECK, geopackage, geopackage.with_suffix(".json"), "--render", picture]
    command += ["--extent", extent, "--width", str(SIZE), "--only", ",".join(POLYGONS)]
    done = subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)


def classes_seen(picture):
    """Class of each pixel by the nearest colour: white, a fill of the legend on white, or the dark line around a house."""
    colors, ids = [(255, 255, 255)], [0]
    for c in DEFAULT_LEGEND:
        opacity = FILL_OPACITY[c.rule]
        colors.append([round(255 + (v - 255) * opacity) for v in c.rgb])
        ids.append(c.id)
        if c.rule == "building":
            colors.append([v * 2 // 3 for v in c.rgb])
            ids.append(c.id)
    apart = np.square(picture[:, :, None].astype(int) - np.array(colors)).sum(axis=-1)
    return np.array(ids)[apart.argmin(axis=-1)]


def test_the_picture_agrees_with_the_class_raster(town):
    """Walls are straight, borders simplified and specks gone: that is all that may differ."""
    classes, picture = town
    assert picture.shape[:2] == classes.shape
    seen = classes_seen(picture)
    assert (seen == classes).mean() >= 0.97
    for c in DEFAULT_LEGEND:
        ours, theirs = seen == c.id, classes == c.id
        assert (ours & theirs).sum() / (ours | theirs).sum() >= 0.92, c.name


def test_what_differs_is_thin_or_small(town):
    """Hardly a pixel lies more than 3 pixels inside of what differs: specks, and roofs below trees."""
    classes, picture = town
    wrong = (classes_seen(picture) != classes).astype(np.uint8)
    assert cv2.erode(wrong, np.ones((7, 7), np.uint8)).mean() < 0.0015


def test_the_picture_lies_on_the_raster(town):
    """A picture moved by a pixel in any direction agrees less."""
    classes, seen = town[0], classes_seen(town[1])
    straight = (seen == classes).mean()
    for step in (-1, 1):
        for axis in (0, 1):
            assert (np.roll(seen, step, axis) == classes).mean() < straight - 0.005
