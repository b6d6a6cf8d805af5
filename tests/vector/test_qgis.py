"""A real QGIS opens what geoseg writes, styled and without a warning."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.features
import shapely
from affine import Affine
from features import EXTENT, LAYERS, LEGEND, SIZE_M, features

from geoseg.raster.palette import category_names_aux_xml, palette
from geoseg.vector.geopackage import GeoPackageMeta, write_geopackage
from geoseg.vector.metadata import Imagery
from geoseg.vector.project import write_project
from geoseg.vector.styles import ImageryLook, class_raster_qml

SYSTEM_PYTHON = "/usr/bin/python3"
CHECK = Path(__file__).parents[1] / "qgis" / "check.py"
PIXEL_M = 0.5
WHITE = (255, 255, 255)


def missing_qgis():
    """Why the tests cannot run, or None."""
    if not Path(SYSTEM_PYTHON).exists():
        return f"no {SYSTEM_PYTHON}"
    probe = subprocess.run([SYSTEM_PYTHON, "-c", "import qgis.core"], capture_output=True)
    return "the system's Python has no qgis.core (Debian: python3-qgis)" if probe.returncode else None


REASON = missing_qgis()
pytestmark = [pytest.mark.qgis, pytest.mark.skipif(REASON is not None, reason=f"no QGIS: {REASON}")]


def ask_qgis(source, report, *options):
    """The report of check.py, with what QGIS and GDAL said on the way."""
    home = report.parent / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    env = {"QT_QPA_PLATFORM": "offscreen", "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "LANG": "C.UTF-8"}
    env["PATH"] = os.environ["PATH"]
    command = [SYSTEM_PYTHON, str(CHECK), str(source), str(report), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text()) | {"stderr": done.stderr}


def apart(frames):
    """The frames' polygons made disjoint, the first frame's first, as geoseg's layers are."""
    taken = shapely.Polygon()
    for frame in frames:
        if frame.geom_type.iloc[0] == "Polygon":
            kept = []
            for polygon in frame.geometry:
                rest = polygon.difference(taken)
                kept.append(rest if rest.geom_type == "Polygon" and not rest.is_empty else None)
                taken = taken.union(polygon)
            frame.geometry = kept
    return [frame.dropna(subset="geometry") for frame in frames]


def write_classes(path, layers, frames):
    """The class raster of the polygons, with its names, colours and style."""
    ids = {c.name: c.id for c in LEGEND}
    shapes = [
        (geometry, ids[name])
        for layer, frame in zip(layers, frames, strict=True)
        if layer.geometry == "Polygon"
        for geometry, name in zip(frame.geometry, frame["class"], strict=True)
    ]
    size = round(SIZE_M / PIXEL_M)
    transform = Affine(PIXEL_M, 0, EXTENT[0], 0, -PIXEL_M, EXTENT[3])
    classes = rasterio.features.rasterize(shapes, (size, size), transform=transform, dtype="uint8")
    grid = {"width": size, "height": size, "count": 1, "dtype": "uint8", "nodata": 255}
    with rasterio.open(path, "w", driver="GTiff", crs=32633, transform=transform, **grid) as dst:
        dst.write(classes, 1)
        dst.write_colormap(1, palette(LEGEND))
    path.with_name(path.name + ".aux.xml").write_text(category_names_aux_xml(LEGEND), encoding="utf-8")
    path.with_suffix(".qml").write_text(class_raster_qml(LEGEND), encoding="utf-8")
    return classes


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A folder as a run leaves it, with the classes as an array."""
    folder = tmp_path_factory.mktemp("out")
    layers = LAYERS
    frames = apart([features(layer, 60, seed) for seed, layer in enumerate(layers)])
    meta = GeoPackageMeta(
        crs_wkt=pyproj.CRS(32633).to_wkt(),
        scene="town",
        abstract="Mapped for a test.",
        extent=EXTENT,
        class_raster="town_classes.tif",
    )
    content = [(layer, [frame]) for layer, frame in zip(layers, frames, strict=True)]
    empty = replace(layers[0], name="nothing")
    rows = write_geopackage(folder / "town.gpkg", [*content, (empty, [])], meta=meta)
    write_project(folder / "town.qgz", layers, meta=meta, geopackage="town.gpkg")
    return folder, rows, write_classes(folder / "town_classes.tif", layers, frames)


@pytest.fixture(scope="module")
def opened(town, tmp_path_factory):
    """What QGIS says of the GeoPackage, and its picture without the centrelines."""
    work = tmp_path_factory.mktemp("qgis")
    options = ["--render", work / "a.png", "--extent", ",".join(map(str, EXTENT)), "--width", "800"]
    polygons = ",".join(layer.name for layer in LAYERS if layer.geometry == "Polygon")
    report = ask_qgis(town[0] / "town.gpkg", work / "report.json", *options, "--only", polygons)
    return report, cv2.cvtColor(cv2.imread(str(work / "a.png")), cv2.COLOR_BGR2RGB)


def by_name(report):
    return {layer["name"]: layer for layer in report["layers"]}


def test_qgis_opens_it_without_a_warning(opened):
    report, _ = opened
    assert report["messages"] == []
    assert report["stderr"].strip() == ""


def test_qgis_sees_every_layer_whole(opened, town):
    layers = by_name(opened[0])
    assert {name: layer["features"] for name, layer in layers.items()} == town[1]
    for layer in LAYERS:
        seen = layers[layer.name]
        assert seen["crs"] == "EPSG:32633"
        assert seen["geometry"] == layer.geometry
        assert seen["invalid"] == 0
        assert seen["spatial_index"]
        assert {f.name: f.alias for f in layer.fields} == {k: v for k, v in seen["aliases"].items() if k != "fid"}
    assert layers["nothing"]["geometry"] == "Polygon"


def test_qgis_applies_the_styles_of_the_file(opened):
    layers = by_name(opened[0])
    colors = {c.name: c.color for c in LEGEND}
    assert layers["buildings"]["symbols"] == [["", "", colors["building"]]]
    assert layers["plants"]["symbols"] == [[name, name, colors[name]] for name in ("tree", "grass")]
    for seen in layers.values():
        assert seen["styles"] == [seen["name"]]
        assert seen["hidden_columns"] == ["fid"]
        assert "[%" in seen["map_tip"]
        of_class = '"class" || \' \' || "id"'
        assert seen["display"] == ('"id"' if seen["name"] == "road_nodes" else of_class)
        assert not seen["labels"]


def test_qgis_shows_titles_and_abstracts(opened):
    seen = by_name(opened[0])["road_centerlines"]
    assert seen["title"] == "Road centerlines, town"
    assert "width_m: Median width" in seen["abstract"]


def test_the_picture_agrees_with_the_class_raster(opened, town):
    picture = opened[1].astype(float)
    classes = town[2]
    assert picture.shape[:2] == classes.shape
    seen = np.array([WHITE, *(np.median(picture[classes == c.id], axis=0) for c in LEGEND)])
    nearest = np.linalg.norm(picture[:, :, None, :] - seen, axis=-1).argmin(axis=-1)
    assert (nearest == classes).mean() >= 0.97
    for c in LEGEND:  # each is a paler tone of its own colour
        reds = seen[c.id] - 255
        wanted = np.array(c.rgb) - 255.0
        assert reds @ wanted / np.linalg.norm(reds) / np.linalg.norm(wanted) > 0.99


@pytest.mark.parametrize("inside", [False, True])
def test_the_project_opens_beside_and_inside(town, tmp_path, inside):
    folder = town[0]
    source = f"geopackage:{folder}/town.gpkg?projectName=town" if inside else folder / "town.qgz"
    report = ask_qgis(source, tmp_path / "report.json")
    project = report["project"]
    assert project["read"]
    assert project["broken"] == []
    assert project["layers"] == sorted([*(layer.name for layer in LAYERS), "town_classes", *(["nothing"] * inside)])
    assert (project["crs"], project["absolute_paths"]) == ("EPSG:32633", False)
    assert project["extent"] == list(EXTENT)
    assert [r["classes"] for r in project["rasters"]] == [[[c.id, c.name, c.color] for c in LEGEND]]
    assert (report["messages"], report["stderr"].strip()) == ([], "")


def test_a_crs_without_a_code_and_none_at_all_open(tmp_path):
    custom = pyproj.CRS.from_proj4("+proj=ortho +lat_0=40 +lon_0=20 +datum=WGS84").to_wkt()
    for wkt in (custom, None):
        meta = GeoPackageMeta(crs_wkt=wkt, scene="town", extent=EXTENT)
        content = [(layer, [features(layer, 3)]) for layer in LAYERS]
        write_geopackage(tmp_path / "town.gpkg", content, meta=meta)
        for source in (tmp_path / "town.gpkg", f"geopackage:{tmp_path}/town.gpkg?projectName=town"):
            report = ask_qgis(source, tmp_path / "report.json")
            assert {layer["features"] for layer in report["layers"]} == {3}
            if wkt:
                assert all(layer["crs_valid"] for layer in report["layers"])


def test_the_class_raster_lists_its_classes_alone(town, tmp_path):
    report = ask_qgis(town[0] / "town_classes.tif", tmp_path / "report.json")
    assert [r["classes"] for r in report["layers"]] == [[[c.id, c.name, c.color] for c in LEGEND]]


def test_imagery_of_more_than_bytes_is_drawn_in_its_range(tmp_path):
    """Blue, green and red in 0–3000; without a range QGIS shows the lower eight bits of each."""
    pixels = np.zeros((3, 64, 64), np.uint16)
    pixels[2, :, 32:] = 3000
    pixels[:, :32, :32] = 1500
    transform = Affine(PIXEL_M, 0, EXTENT[0], 0, -PIXEL_M, EXTENT[3])
    grid = {"width": 64, "height": 64, "count": 3, "dtype": "uint16"}
    with rasterio.open(tmp_path / "scene.tif", "w", driver="GTiff", crs=32633, transform=transform, **grid) as dst:
        dst.write(pixels)
    extent = (EXTENT[0], EXTENT[3] - 32, EXTENT[0] + 32, EXTENT[3])
    meta = GeoPackageMeta(
        crs_wkt=pyproj.CRS(32633).to_wkt(),
        scene="scene",
        extent=extent,
        imagery=(Imagery("scene.tif", ImageryLook((3, 2, 1), (0.0, 3000.0))),),
    )
    write_geopackage(tmp_path / "scene.gpkg", [(layer, []) for layer in LAYERS], meta=meta)
    write_project(tmp_path / "scene.qgz", LAYERS, meta=meta, geopackage="scene.gpkg")
    options = [
        "--render",
        tmp_path / "a.png",
        "--extent",
        ",".join(map(str, extent)),
        "--width",
        "64",
        "--only",
        "scene",
    ]
    ask_qgis(tmp_path / "scene.qgz", tmp_path / "report.json", *map(str, options))
    seen = cv2.cvtColor(cv2.imread(str(tmp_path / "a.png")), cv2.COLOR_BGR2RGB).astype(int)
    for place, wanted in (((48, 48), (255, 0, 0)), ((16, 16), (127, 127, 127)), ((48, 16), (0, 0, 0))):
        assert abs(seen[place] - wanted).max() <= 2
