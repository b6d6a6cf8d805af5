"""Reading of every form of labels, the split, and the windows; errors are said before anything is trained."""

import shutil
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from geoseg.contract import PixelSize
from geoseg.errors import ConfigError, TrainingError
from geoseg.evaluate.maps import VectorMap
from geoseg.nn.augment import ColorChanges, turn
from geoseg.nn.data import GridWindows, RandomWindows, at_tolerated_size, pad_to, read_data, resample
from geoseg.nn.data_sources import IGNORE, UNSEEN, read_source
from geoseg.nn.ground import ImageGrid, ground_mask, read_geotiff
from geoseg.nn.spill import Spill
from geoseg.nn.town_source import town_chips
from geoseg.nn.vector_labels import paint_vectors
from geoseg.raster.aligned import PixelGrid
from geoseg.town.chips import chip
from geoseg.town.settings import TownSettings
from geoseg.train_config import Augment, TownSource, load_train_config
from geoseg.yaml_file import read_yaml
from tests.nn.training_sets import COLORS, MAKERS, ORIGIN, SIDE, outlines, settings, source, squares, write_tiff


def read(folder, *sources, **changes):
    return read_data(load_train_config(settings(folder, *sources, **changes)))


@pytest.mark.parametrize("form", MAKERS)
def test_every_form_reads_the_same_labels(form, tmp_path):
    data = read(tmp_path, source(form, MAKERS[form](tmp_path / "set")))
    assert len(data.training) == 2
    assert len(data.validation) == 1
    for i, scene in enumerate([*data.training, *data.validation]):
        image, label = squares(i)
        counted = scene.label != IGNORE
        assert counted.mean() > 0.95
        assert (scene.label[counted] == label[counted]).all()
        assert np.abs(scene.image.astype(int) - image).mean() < 6
        assert scene.known == (True,) * 4


def test_vector_labels_in_one_layer_with_a_class_field(tmp_path):
    image, label = squares(0)
    write_tiff(tmp_path / "a0.tif", image, 0)
    write_tiff(tmp_path / "a2.tif", image, 2)
    for column in (0, 2):
        frames = [
            outlines(label == k, column).assign(kind=name) for k, name in ((1, "house"), (2, "street"), (3, "park"))
        ]
        pd.concat(frames).to_crs("EPSG:3857").to_file(tmp_path / f"a{column}.geojson")
    one = source("vectors", tmp_path) | {"labels": "{stem}.geojson", "layers": {}, "class_field": "kind"}
    one["values"] = {"building": ["house"], "road": ["street"], "green": ["park"]}
    data = read(tmp_path, one)
    assert (data.training[0].label == label).all()


def test_a_partial_source_says_so(tmp_path):
    one = source("rasters", MAKERS["rasters"](tmp_path / "a"))
    two = source("colors", MAKERS["colors"](tmp_path / "b")) | {"labelled": ["building"]}
    data = read(tmp_path, one, two)
    assert {s.source: s.known for s in data.training} == {
        "rasters": (True,) * 4,
        "colors": (True, True, False, False),
    }


def test_nodata_is_masked_and_not_learnt(tmp_path):
    root = MAKERS["rasters"](tmp_path / "set")
    image, _ = squares(0)
    image[:, :30] = 0
    write_tiff(root / "images" / "a0.tif", image, 0, nodata=0)
    config = load_train_config(settings(tmp_path, source("rasters", root), window_px=96))
    data = read_data(config)
    assert (data.training[0].label[:, :30] == UNSEEN).all()
    whole = GridWindows(data.training, config)[0]
    assert not whole.valid[:, :30].any()
    assert whole.valid[:, 30:].all()
    assert (whole.label[:, :30] == IGNORE).all()


@pytest.mark.parametrize(
    ("nodata", "values", "label"),
    [
        (255, {"building": [1]}, IGNORE),
        (0, {"building": [1]}, 0),  # of a mask that calls its background nodata
        (9, {"building": [1, 9]}, 1),
    ],
)
def test_nodata_of_labels_says_nothing_unless_it_is_a_class(tmp_path, nodata, values, label):
    root = MAKERS["rasters"](tmp_path / "set")
    _, ids = squares(0)
    ids[:20] = nodata
    write_tiff(root / "labels" / "a0.tif", ids, 0, nodata=nodata)
    one = source("rasters", root) | {"values": values, "labelled": ["building"]}
    other = source("vectors", MAKERS["vectors"](tmp_path / "other"))  # all classes must occur
    (scene,) = (s for s in read(tmp_path, one, other).training if s.source == "rasters" and s.path.name == "a0.tif")
    assert (scene.label[:20] == label).all()
    assert (scene.label[20:] == (ids[20:] == 1)).all()


@pytest.mark.parametrize(("column", "crs"), [(1, "EPSG:32633"), (0, "EPSG:32631")])
def test_label_rasters_that_lie_elsewhere_are_refused(tmp_path, column, crs):
    root = MAKERS["rasters"](tmp_path / "set")
    path = write_tiff(root / "labels" / "a0.tif", squares(0)[1], column)
    with rasterio.open(path, "r+") as dst:
        dst.crs = crs
    with pytest.raises(TrainingError, match=r"a0\.tif: does not lie on the pixels of its image"):
        read(tmp_path, source("rasters", root))


def test_a_label_raster_may_write_the_same_crs_otherwise(tmp_path):
    root = MAKERS["rasters"](tmp_path / "set")
    for path in (root / "labels").glob("*.tif"):
        with rasterio.open(path, "r+") as dst:
            dst.crs = "EPSG:25833"
    assert read(tmp_path, source("rasters", root)).training


def test_bands_of_images_are_those_of_their_colours(tmp_path):
    root = MAKERS["rasters"](tmp_path / "set")
    image, _ = squares(0)
    path = write_tiff(root / "images" / "a0.tif", image[..., ::-1], 0)
    with rasterio.open(path, "r+") as dst:
        dst.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    (scene,) = (s for s in read(tmp_path, source("rasters", root)).training if s.path == path)
    assert (scene.image == image).all()


def test_large_parts_are_ignored_in_training_only(tmp_path):
    one = source("rasters", MAKERS["rasters"](tmp_path / "a")) | {"ignore_larger_m2": {"building": 1.0}}
    config = load_train_config(settings(tmp_path, one))
    for i, scene in enumerate(read_source(config.sources[0], config, Spill(tmp_path))):
        label = squares(i)[1]
        expected = label if scene.validation else np.where(label == 1, IGNORE, label)
        assert (scene.label == expected).all()


def test_a_mosaic_joins_neighbours_and_splits_by_ground(tmp_path):
    one = source("rasters", MAKERS["rasters"](tmp_path / "a"))
    del one["group"], one["validation_groups"]
    west = 15.0 + 0.00085
    data = read(tmp_path, one | {"mosaic": True, "validation_ground": [west, 40.0, 16.0, 60.0]})
    (training,), (validation,) = data.training, data.validation
    assert training.label.shape[0] == validation.label.shape[0] == SIDE
    assert training.label.shape[1] + validation.label.shape[1] == 3 * SIDE
    whole = np.concatenate([squares(i)[1] for i in range(3)], axis=1)
    assert (np.concatenate([training.label, validation.label], axis=1) == whole).all()


def test_chips_of_a_held_out_image_are_found_however_small(tmp_path):
    """Each is a hundredth of it."""
    image, label = squares(2, 10 * SIDE)
    write_tiff(tmp_path / "whole" / "images" / "a2.tif", image)
    write_tiff(tmp_path / "whole" / "labels" / "a2.tif", label)
    whole = source("rasters", tmp_path / "whole")
    for column in range(1, 4):
        part = np.s_[:SIDE, column * SIDE : (column + 1) * SIDE]
        write_tiff(tmp_path / "chips" / "images" / f"b{column}.tif", image[part], column)
        write_tiff(tmp_path / "chips" / "labels" / f"b{column}.tif", label[part], column)
    chips = {**source("rasters", tmp_path / "chips"), "name": "chips", "group": "", "validation_groups": []}
    with pytest.raises(TrainingError, match="show the same ground"):
        read(tmp_path, whole, chips)


def test_classes_that_share_a_layer_are_told_by_their_field(tmp_path):
    """As geoseg writes them."""
    root = MAKERS["vectors"](tmp_path / "a")
    for i in range(3):
        label = squares(i)[1]
        parts = [outlines(label == k, i).assign(**{"class": name}) for k, name in ((1, "building"), (3, "green"))]
        pd.concat(parts).to_file(root / f"a{i}.gpkg", layer="both")
    one = source("vectors", root) | {"layers": {"building": "both", "road": "roads", "green": "both"}}
    data = read(tmp_path, one)
    for scene in [*data.training, *data.validation]:
        assert (scene.label == squares(int(scene.group))[1]).all()


def test_labels_that_name_other_files_are_refused(tmp_path):
    root = MAKERS["vectors"](tmp_path / "a")
    (root / "a0.gpkg").rename(tmp_path / "elsewhere.gpkg")
    (root / "a0.gpkg").write_text(
        f'<OGRVRTDataSource><OGRVRTLayer name="buildings"><SrcDataSource>{tmp_path}/elsewhere.gpkg</SrcDataSource>'
        "</OGRVRTLayer></OGRVRTDataSource>"
    )
    with pytest.raises(ConfigError, match=r"does not begin like a \.gpkg file"):
        read(tmp_path, source("vectors", root))
    for i in range(3):
        (root / f"a{i}.gpkg").rename(root / f"a{i}.vrt")
    with pytest.raises(TrainingError, match="must be a GeoPackage or a GeoJSON"):
        read(tmp_path, source("vectors", root) | {"labels": "{stem}.vrt"})


def test_values_that_no_class_claims_are_said_where_background_is_named(tmp_path):
    root = MAKERS["rasters"](tmp_path / "a")
    label = squares(0)[1]
    label[:3, :3] = 77
    write_tiff(root / "labels" / "a0.tif", label)
    one = source("rasters", root)
    assert read(tmp_path, one)
    values = one["values"] | {"background": [0]}
    with pytest.raises(TrainingError, match="its labels hold 77, which are neither in `values` nor in `ignore`"):
        read(tmp_path, one | {"values": values})
    assert (read(tmp_path, one | {"values": values, "ignore": [77]}).training[0].label[:3, :3] == IGNORE).all()


def test_void_of_cityscapes_says_nothing_unless_it_is_named(tmp_path):
    root = MAKERS["cityscapes"](tmp_path / "a")
    path = root / "gtFine/train/ulm/ulm_0_gtFine_labelIds.png"
    ids = np.asarray(Image.open(path)).copy()
    ids[:4, :4] = 3  # out of the region of interest
    Image.fromarray(ids).save(path)
    one = source("cityscapes", root)
    assert (read(tmp_path, one).training[0].label[:4, :4] == IGNORE).all()
    named = one | {"values": one["values"] | {"road": [7, 3]}}
    assert (read(tmp_path, named).training[0].label[:4, :4] == 2).all()


def test_images_of_other_bands_are_refused_unless_theirs_are_named(tmp_path):
    root = MAKERS["rasters"](tmp_path / "a")
    for i in range(3):
        image = squares(i)[0]
        path = write_tiff(root / "images" / f"a{i}.tif", np.dstack([image[..., ::-1], image[..., 0]]), i)
        with rasterio.open(path, "r+") as dst:
            dst.colorinterp = [ColorInterp.gray] + 3 * [ColorInterp.undefined]
    one = source("rasters", root)
    with pytest.raises(TrainingError, match=r"4 bands, but 3 are needed .* such as \[3, 2, 1\]"):
        read(tmp_path, one)
    scene = read(tmp_path, one | {"bands": [3, 2, 1]}).training[0]
    assert (scene.image == squares(int(scene.group))[0]).all()


def test_no_features_mean_that_nothing_is_there(tmp_path):
    root = MAKERS["vectors"](tmp_path / "a")
    for layer in ("buildings", "roads", "green"):
        gpd.read_file(root / "a0.gpkg", layer=layer).iloc[:0].to_file(root / "a0.gpkg", layer=layer)
    scene = next(s for s in read(tmp_path, source("vectors", root)).training if s.group == "0")
    assert (scene.label == 0).all()


def one_layer_each(root, kind, suffix=".gpkg"):
    """Three images with a layer of all classes each; `kind` of image and class is what its field `kind` holds."""
    for i in range(3):
        image, label = squares(i)
        write_tiff(root / f"a{i}.tif", image, i)
        frames = [outlines(label == k, i).assign(kind=kind(i, k)) for k in (1, 2, 3)]
        pd.concat(frames).to_file(root / f"a{i}{suffix}")


NAMES = ("background", "building", "road", "green")


def test_words_of_a_class_field_are_those_of_the_classes_or_are_listed(tmp_path):
    root = tmp_path / "a"
    one_layer_each(root, lambda _, k: NAMES[k])
    one = source("vectors", root) | {"layers": {}, "class_field": "kind"}
    assert (read(tmp_path, one).validation[0].label == squares(2)[1]).all()
    with pytest.raises(TrainingError, match=r"no feature is of a class: .* holds, 3 'building', 3 'road', 3 'green'"):
        read(tmp_path, one | {"values": {"building": ["Building"]}})


def test_features_of_no_class_are_told(tmp_path, capfd):
    """Other words, and a field that was left empty; whole numbers are words too."""
    root = tmp_path / "a"
    one_layer_each(root, lambda i, k: k if k < 3 or i else None)
    one = source("vectors", root) | {"layers": {}, "class_field": "kind"}
    read(tmp_path, one | {"values": {"building": [1], "road": [2], "green": [3]}})
    assert "source 'vectors': features of no class count as background: 1 nothing" in capfd.readouterr().err
    read(tmp_path, one | {"values": {"building": [1], "green": [3, 4]}}, classes=[
        {"id": 1, "name": "building", "color": "#d7301f", "layer": "buildings", "rule": "building"},
        {"id": 2, "name": "green", "color": "#4daf4a", "layer": "green", "rule": "area"},
    ])  # fmt: skip
    assert "count as background: 3 '2', 1 nothing" in capfd.readouterr().err


def test_a_label_file_that_images_share_is_told_of_once(tmp_path, capfd):
    root = tmp_path / "a"
    one_layer_each(root, lambda i, k: NAMES[k] if k < 3 else None)
    shared = pd.concat([gpd.read_file(root / f"a{i}.gpkg") for i in range(3)])
    shared.to_file(root / "all.gpkg")
    shared.to_file(root / "all.edited.gpkg")
    one = source("vectors", root) | {"layers": {}, "class_field": "kind", "labels": "all.gpkg"}
    read(tmp_path, one | {"labelled": ["building", "road"]}, classes=[
        {"id": 1, "name": "building", "color": "#d7301f", "layer": "buildings", "rule": "building"},
        {"id": 2, "name": "road", "color": "#4d4d4d", "layer": "roads", "rule": "road"},
    ])  # fmt: skip
    told = capfd.readouterr().err
    assert "count as background: 3 nothing\n" in told
    assert told.count("all.edited.gpkg") == 1


def test_corrections_that_were_set_aside_are_told(tmp_path, capfd):
    root = MAKERS["vectors"](tmp_path / "a")
    read(tmp_path, source("vectors", root))
    assert capfd.readouterr().err == ""
    shutil.copy(root / "a1.gpkg", root / "a1.edited.gpkg")
    read(tmp_path, source("vectors", root))
    told = capfd.readouterr().err
    assert "a1.gpkg: corrections that were set aside (a1.edited.gpkg; the newest last) are not trained on" in told


def test_an_image_beside_its_labels_is_told(tmp_path, capfd):
    """One map of several images, of which it holds some: elsewhere nothing is known, though it counts as background."""
    root = MAKERS["vectors"](tmp_path / "a")
    everything = [gpd.read_file(root / "a0.gpkg", layer=name) for name in ("buildings", "roads", "green")]
    for name, frame in zip(("buildings", "roads", "green"), everything, strict=True):
        frame.to_file(root / "one.gpkg", layer=name)
    with rasterio.open(root / "a0.tif") as src:
        profile, half = src.profile, src.transform @ Affine.translation(0, 0.8 * src.height)
    with rasterio.open(root / "a1.tif", "w", **profile | {"transform": half}) as dst:
        dst.write(np.ones((3, profile["height"], profile["width"]), np.uint8))
    with rasterio.open(root / "a2.tif", "w", **profile | {"transform": half @ Affine.translation(0, 5000)}) as dst:
        dst.write(np.ones((3, profile["height"], profile["width"]), np.uint8))
    read(tmp_path, source("vectors", root) | {"labels": "one.gpkg"})
    told = capfd.readouterr().err
    assert "a0.tif" not in told
    assert "a1.tif: 9" in told
    assert "% of it lie outside of the ground of its labels, and count as background." in told
    assert "a2.tif: no feature of its labels lies on it, so all of it counts as background." in told


def test_label_rasters_of_another_size_are_refused(tmp_path):
    root = MAKERS["rasters"](tmp_path / "a")
    write_tiff(root / "labels" / "a1.tif", squares(1)[1][:-5], 1)
    with pytest.raises(TrainingError, match=r"a1\.tif: \(96, 96\) pixels, but its labels have \(91, 96\)"):
        read(tmp_path, source("rasters", root))


def test_a_file_of_other_words_or_of_nothing_says_that_there_is_nothing(tmp_path):
    """Farmland only, where other files of the source have the classes; and a GeoJSON without features has no fields."""
    root = tmp_path / "a"
    one_layer_each(root, lambda i, k: NAMES[k] if i else "farmland", ".geojson")
    one = source("vectors", root) | {"layers": {}, "class_field": "kind", "labels": "{stem}.geojson"}
    for _ in range(2):
        scenes = {s.group: s for s in read(tmp_path, one).training}
        assert (scenes["0"].label == 0).all()
        assert (scenes["1"].label == squares(1)[1]).all()
        (root / "a0.geojson").write_text('{"type": "FeatureCollection", "features": []}')


def test_polygons_that_cross_themselves_are_painted_as_an_evaluation_sees_them(tmp_path):
    """A figure of eight, as a slip of the mouse draws it, and a spike that is no area."""
    image, _ = squares(0)
    write_tiff(tmp_path / "a0.tif", image, 0)
    x, y = ORIGIN
    eight = shapely.Polygon([(x, y), (x + 20, y - 20), (x + 20, y), (x, y - 20)])
    spike = shapely.Polygon([(x, y - 30), (x + 20, y - 30), (x, y - 30)])
    path = tmp_path / "a0.gpkg"
    gpd.GeoDataFrame(geometry=[eight, spike], crs="EPSG:32633").to_file(path, layer="houses")
    one = load_train_config(settings(tmp_path, source("vectors", tmp_path) | {"layers": {"building": "houses"}}))
    grid = read_geotiff(tmp_path / "a0.tif", ("red", "green", "blue"), "uint8")[2]
    label = paint_vectors(path, one.sources[0], one.legend, grid).label
    table = PixelGrid.of(tmp_path / "a0.tif")
    seen = VectorMap(path, table, one.legend, {"building": "houses"}, line_width_m=6.0).rows(0, SIDE)
    assert (label == seen).all()
    assert (label == 1).sum() * 0.25 == pytest.approx(200, rel=0.1)


def test_words_of_somebody_else_do_not_hide_a_shared_layer(tmp_path):
    """Of two kinds of road that the legend has in one layer the source has one; its `class` tells other things."""
    legend = [
        {"id": 1, "name": "paved", "color": "#d7301f", "layer": "roads", "rule": "road"},
        {"id": 2, "name": "dirt", "color": "#4d4d4d", "layer": "roads", "rule": "road"},
    ]
    image, label = squares(0)
    write_tiff(tmp_path / "a0.tif", image, 0)
    shapes = outlines(label == 1)
    grid = read_geotiff(tmp_path / "a0.tif", ("red", "green", "blue"), "uint8")[2]
    one = source("vectors", tmp_path) | {"layers": {"paved": "roads"}}
    config = load_train_config(settings(tmp_path, one, classes=legend))
    for words, expected in ((["residential"], label == 1), (["paved"], label == 1), (["dirt"], label == 7)):
        shapes.assign(**{"class": (words * len(shapes))[: len(shapes)]}).to_file(tmp_path / "a0.gpkg", layer="roads")
        found = paint_vectors(tmp_path / "a0.gpkg", config.sources[0], config.legend, grid).label
        assert ((found == 1) == expected).all()


def test_a_pixel_size_is_that_of_the_georeference(tmp_path):
    one = source("rasters", MAKERS["rasters"](tmp_path / "a")) | {"pixel_size_m": 0.25}
    assert read(tmp_path, one).training[0].pixel_size_m == pytest.approx(0.5, rel=1e-3)


def test_lines_are_as_wide_on_the_ground_in_degrees(tmp_path):
    """At 60° N, where a degree east is half as long as one north."""
    size, at = 200, (15.0, 60.0)
    degree = 111_412.0  # m of a degree north there; east it is half
    step = 0.5 / degree
    transform = rasterio.Affine(2 * step, 0, at[0], 0, -step, at[1])
    path = tmp_path / "a0.gpkg"
    middle = (at[0] + size * step, at[1] - size / 2 * step)
    for line, across in (
        ([(middle[0], at[1]), (middle[0], at[1] - size * step)], 1),
        ([(at[0], middle[1]), (at[0] + 2 * size * step, middle[1])], 0),
    ):
        far = [(15.0, 10.0), (15.01, 10.0)]  # of another image: it says nothing about the width of a degree here
        shapes = [shapely.LineString(points) for points in (line, far, [far[0], line[0]])]
        shapes[2] = shapely.transform(shapes[2], lambda xy: xy - 20)
        gpd.GeoDataFrame({"width_m": ["12", "6 m", None]}, geometry=shapes, crs="EPSG:4326").to_file(
            path, layer="roads"
        )
        one = load_train_config(settings(tmp_path, source("vectors", tmp_path) | {"layers": {"road": "roads"}}))
        grid = ImageGrid(transform, pyproj.CRS("EPSG:4326").to_wkt(), (size, size))
        label = paint_vectors(path, one.sources[0], one.legend, grid).label
        assert (label == 2).sum(axis=across).max() == pytest.approx(24, abs=1)


def test_groups_and_ground_are_held_out_together(tmp_path):
    """The ground is the first image; the group that is held out is the third."""
    one = source("rasters", MAKERS["rasters"](tmp_path / "a"))
    west = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True).transform(
        ORIGIN[0] + (SIDE - 0.4) / 2, ORIGIN[1]
    )[0]
    data = read(tmp_path, one | {"validation_ground": [10.0, 40.0, west, 60.0]})
    assert [s.group for s in data.training if (s.label < IGNORE).all()] == ["1"]
    assert {s.group for s in data.validation} == {"0", "2"}
    assert (next(s for s in data.validation if s.group == "2").label == squares(2)[1]).all()


def test_the_collar_of_one_image_hides_nothing_of_another_in_a_mosaic(tmp_path):
    """The second image overlaps the first and the third, with data in its middle only."""
    root = MAKERS["rasters"](tmp_path / "a")
    image, label = squares(1)
    wide = np.zeros((SIDE, 3 * SIDE, 3), np.uint8)
    wide[:, SIDE : 2 * SIDE] = image
    write_tiff(root / "images" / "a1.tif", wide, 0, nodata=0)
    write_tiff(root / "labels" / "a1.tif", np.tile(label, (1, 3)), 0)
    one = source("rasters", root) | {"mosaic": True}
    del one["group"], one["validation_groups"]
    config = load_train_config(settings(tmp_path, one))
    (scene,) = read_source(config.sources[0], config, Spill(tmp_path))
    assert (scene.label == np.concatenate([squares(i)[1] for i in range(3)], axis=1)).all()
    assert (scene.image == np.concatenate([squares(i)[0] for i in range(3)], axis=1)).all()


@pytest.mark.parametrize(
    ("form", "changes", "message"),
    [
        ("rasters", {"images": "nothing/*.tif"}, "no images"),
        ("rasters", {"labels": "../nothing/{stem}.tif"}, "expects its labels at"),
        ("rasters", {"values": {"building": [1], "road": [2]}}, "no training pixel is labelled green"),
        ("rasters", {"validation_groups": []}, "no labelled pixel is held out"),
        ("rasters", {"validation_groups": ["0", "1", "2"]}, "no labelled pixel is left for training"),
        ("rasters", {"validation_groups": ["7"]}, "no group"),
        ("rasters", {"same_ground": [["1", "2"]]}, "same ground"),
        ("rasters", {"group": "(a)", "validation_groups": ["a"]}, "no labelled pixel is left"),
        ("colors", {"colors": {"#c83c32": "building"}}, "#328c3c"),
        ("colors", {"validation_groups": [], "validation_ground": [0, 0, 1, 1]}, "no CRS"),
        ("colors", {"pixel_size_m": 5}, "pixels of 5 m on the ground, but the model is for 0.4–0.6 m"),
        ("rasters", {"bands": [1, 2, 7]}, "name 7, but there are 3 bands"),
        ("rasters", {"values": {"building": [1], "road": [1]}}, "value 1 is named for building and road"),
        (
            "rasters",
            {"validation_groups": [], "validation_ground": [47, 15, 48, 16]},
            r"\[47.0, 15.0, 48.0, 16.0\], and its images lie in \[15.0000, 47.85",
        ),
        ("colors", {"images": "/*/images/*.png"}, "must be a pattern under `root`"),
        ("vectors", {"layers": {"building": "houses"}}, "houses.*; there are buildings, roads, green"),
        ("vectors", {"layers": {}, "class_field": "kind", "values": {"road": ["a"]}}, "no field 'kind'"),
    ],
)
def test_what_is_wrong_with_a_source_is_said(form, changes, message, tmp_path):
    one = source(form, MAKERS[form](tmp_path / "set"))
    with pytest.raises((TrainingError, ConfigError), match=message) as caught:
        read(tmp_path, one | changes)
    assert "\n" not in str(caught.value)


def test_labels_beside_the_image_are_refused(tmp_path):
    root = MAKERS["vectors"](tmp_path / "set")
    for layer in ("buildings", "roads", "green"):
        outlines(np.ones((4, 4), bool), 900).to_file(root / "a0.gpkg", layer=layer)
    with pytest.raises(TrainingError, match="no feature overlaps"):
        read(tmp_path, source("vectors", root))


def test_the_same_ground_on_both_sides_is_refused(tmp_path):
    one = source("rasters", MAKERS["rasters"](tmp_path / "a"))
    two = source("rasters", MAKERS["rasters"](tmp_path / "b")) | {"name": "again", "validation_groups": ["1"]}
    with pytest.raises(TrainingError, match="show the same ground"):
        read(tmp_path, one, two)


def test_neighbours_may_overlap_a_little(tmp_path):
    """By 0.7 % on each of four sides: a neighbour each is no leak, and so are all of them."""
    root = tmp_path / "a"
    shift = 1 - 0.7 / SIDE
    for i in range(9):
        image, label = squares(i)
        x, y = ORIGIN[0] + (i % 3) * SIDE * 0.5 * shift, ORIGIN[1] - (i // 3) * SIDE * 0.5 * shift
        for folder, pixels in (("images", image), ("labels", label)):
            path = write_tiff(root / folder / f"a{i}.tif", pixels, 0)
            with rasterio.open(path, "r+") as dst:
                dst.transform = rasterio.Affine(0.5, 0, x, 0, -0.5, y)
    data = read(tmp_path, source("rasters", root) | {"validation_groups": ["4"]})
    assert len(data.training) == 8


def test_one_image_on_both_sides_is_refused(tmp_path):
    """Two sources of the same images, with and without a place on the ground."""
    for form in ("rasters", "colors"):
        one = source(form, MAKERS[form](tmp_path / form))
        two = one | {"name": "again", "validation_groups": []}
        with pytest.raises(TrainingError, match="'again'"):
            read(tmp_path, one, two)


def test_scenes_that_overlap_are_split_by_the_middle_of_their_ground(tmp_path):
    """What is left for training of each is a ring: its bounding box is all of it, with no label in the middle."""
    root = tmp_path / "a"
    for i, column in enumerate((0, 0.25)):
        image, label = squares(i)
        write_tiff(root / "images" / f"a{i}.tif", image, column)
        write_tiff(root / "labels" / f"a{i}.tif", label, column)
    one = source("rasters", root)
    del one["group"], one["validation_groups"]
    x, y = ORIGIN
    to_degrees = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    (west, east), (south, north) = to_degrees.transform([x + 20, x + 34], [y - 30, y - 16])
    data = read(tmp_path, one | {"validation_ground": [west, south, east, north]})
    assert [s.label.shape for s in data.training] == [(SIDE, SIDE)] * 2
    assert all((s.label == IGNORE).any() for s in data.training)
    assert len(data.validation) == 2


def test_a_mosaic_keeps_to_the_groups_that_are_held_out(tmp_path):
    data = read(tmp_path, source("rasters", MAKERS["rasters"](tmp_path / "a")) | {"mosaic": True})
    (training,), (validation,) = data.training, data.validation
    assert (validation.label == squares(2)[1]).all()
    assert (training.label == np.concatenate([squares(i)[1] for i in range(2)], axis=1)).all()


def test_a_mosaic_may_have_a_held_out_image_in_its_middle(tmp_path):
    one = source("rasters", MAKERS["rasters"](tmp_path / "a")) | {"mosaic": True, "validation_groups": ["1"]}
    data = read(tmp_path, one)
    (validation,) = data.validation
    assert (validation.label == squares(1)[1]).all()
    for scene, i in zip(data.training, (0, 2), strict=True):
        assert (scene.label == squares(i)[1]).all()


def test_a_mosaic_is_of_images_that_touch(tmp_path):
    """Else it would be made of emptiness, and of memory."""
    root = MAKERS["rasters"](tmp_path / "a")
    image, label = squares(3)
    write_tiff(root / "images" / "a9.tif", image, 200)
    write_tiff(root / "labels" / "a9.tif", label, 200)
    one = source("rasters", root) | {"mosaic": True, "group": r"/a(\d)", "validation_groups": ["9"]}
    data = read(tmp_path, one)
    assert [s.label.shape for s in data.training] == [(SIDE, 3 * SIDE)]
    assert [s.label.shape for s in data.validation] == [(SIDE, SIDE)]
    both = read_source(
        load_train_config(settings(tmp_path, one | {"validation_groups": []})).sources[0],
        load_train_config(settings(tmp_path, one)),
        Spill(tmp_path),
    )
    assert [s.label.shape for s in both] == [(SIDE, 3 * SIDE), (SIDE, SIDE)]


def test_zeros_of_a_mask_count_where_an_internal_mask_shows_them(tmp_path):
    root = MAKERS["rasters"](tmp_path / "set")
    for path in (root / "labels").glob("*.tif"):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dst:
            dst.nodata = 0
            shown = np.full(dst.shape, 255, np.uint8)
            shown[:10] = 0
            dst.write_mask(shown)
    for scene in read(tmp_path, source("rasters", root)).training:
        assert (scene.label[:10] == IGNORE).all()
        assert (scene.label[10:] == squares(int(scene.group))[1][10:]).all()


def test_pictures_of_bytes_are_no_pixels_of_another_type(tmp_path):
    one = source("colors", MAKERS["colors"](tmp_path / "set"))
    with pytest.raises(TrainingError, match="pixels of type uint8, but `dtype` is uint16"):
        read(tmp_path, one, dtype="uint16")


def test_a_broken_picture_is_named(tmp_path):
    root = MAKERS["colors"](tmp_path / "set")
    path = root / "tile_0" / "images" / "p.png"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(TrainingError, match=r"p\.png: cannot be read as a picture"):
        read(tmp_path, source("colors", root))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_px": 100}, "multiples of 32"),
        ({"surprise": 1}, "surprise"),
        ({"loss": {"hinge": 1.0}}, "hinge"),
        ({"class_weights": [1.0, 1.0]}, "2 given, 4 needed"),
        ({"class_weights": [0.0, 1.0, 1.0, 1.0]}, "class_weights"),
        ({"sources": []}, "sources"),
        ({"tile_size": 1000}, "tile_size 1000 is not a multiple of 32"),
        ({"name": ""}, "name"),
        ({"bands": ["red", "red", "blue"]}, "are not unique"),
        ({"bands": ["red", "green"]}, "2 bands, but 3 means"),
    ],
)
def test_wrong_settings_are_said_with_their_key(changes, message, tmp_path):
    path = settings(tmp_path, source("rasters", tmp_path), **changes)
    with pytest.raises(ConfigError, match=message):
        load_train_config(path)


def test_labels_of_broken_numbers_are_refused(tmp_path):
    root = MAKERS["rasters"](tmp_path / "set")
    write_tiff(root / "labels" / "a0.tif", squares(0)[1].astype(np.float32))
    read(tmp_path, source("rasters", root))
    write_tiff(root / "labels" / "a0.tif", squares(0)[1].astype(np.float32) * np.float32(0.999))
    with pytest.raises(TrainingError, match="must be whole numbers"):
        read(tmp_path, source("rasters", root))


TOWNS = {"name": "t", "form": "town", "palettes": ["desert"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"palettes": ["lunar"]}, "palette 'lunar' is unknown"),
        ({"validation_palettes": ["desert+lunar"]}, "palette 'lunar' is unknown"),
        ({"palettes": []}, "palettes"),
        ({"draw_m": [0.8, 0.3]}, r"draw_m: \[0.8, 0.3\] must be low, high"),
        ({"draw_m": [0, 0.3]}, "draw_m"),
        ({"validation_ground": [2.0, 1.0, 1.0, 2.0]}, "must be west, south, east, north"),
        ({"draw_m": [2.0, 3.0]}, "lies outside of"),
    ],
)
def test_ranges_and_palettes_of_a_source_are_checked(change, message, tmp_path):
    path = settings(tmp_path, TOWNS | {"root": str(tmp_path)} | change)
    with pytest.raises(ConfigError, match=message):
        load_train_config(path)


def test_precision_may_be_a_number(tmp_path):
    assert load_train_config(settings(tmp_path, source("rasters", tmp_path), precision=32)).precision == "32"


@pytest.mark.parametrize("values", [{"building": [256]}, {"building": [-1]}])
def test_values_that_no_label_raster_holds_are_refused(values, tmp_path):
    with pytest.raises(ConfigError, match=r"values\.building"):
        load_train_config(settings(tmp_path, source("rasters", tmp_path) | {"values": values}))


def test_an_unknown_class_is_named(tmp_path):
    with pytest.raises(ConfigError, match="river"):
        load_train_config(settings(tmp_path, source("rasters", tmp_path) | {"labelled": ["river"]}))


@pytest.fixture
def windows(tmp_path):
    path = settings(
        tmp_path,
        source("colors", MAKERS["colors"](tmp_path / "set")),
        augment={"color": 0, "channel_gain": 0, "levels": 0, "gray": 0, "blur": 0, "noise": 0, "jpeg": 0, "shadow": 0},
    )
    config = load_train_config(path)
    return read_data(config), config


def test_a_window_depends_on_its_number_alone(windows):
    data, config = windows
    far = RandomWindows(data.training, config, 10, 5)
    near = RandomWindows(data.training, config, 0, 20)
    for i in range(5):
        for a, b in zip(far[i], near[10 + i], strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(near[0].image, near[1].image)


def test_labels_stay_on_their_pixels(windows):
    data, config = windows
    for i in range(12):
        window = RandomWindows(data.training, config, 0, 12)[i]
        image = window.image.permute(1, 2, 0).numpy().astype(int)
        nearest = ((image[:, :, None] - COLORS) ** 2).sum(-1).argmin(-1)
        counted = window.label.numpy() != IGNORE
        # Resampling mixes colours along the edges only.
        assert (nearest == window.label.numpy())[counted].mean() > 0.9


def test_windows_drawn_as_mapped_are_the_image_s_own_pixels(windows):
    data, config = windows
    sources = tuple(s.model_copy(update={"draw_as_mapped": 1.0}) for s in config.sources)
    augment = config.augment.model_copy(update={"flip": False})
    config = config.model_copy(update={"sources": sources, "window_px": 32, "augment": augment})
    for window in (RandomWindows(data.training, config, 0, 8)[i] for i in range(8)):
        image = np.moveaxis(window.image.numpy(), 0, -1)
        crops = (np.lib.stride_tricks.sliding_window_view(s.image, image.shape)[:, :, 0] for s in data.training)
        assert any((crop == image).all(axis=(2, 3, 4)).any() for crop in crops)


def test_coarse_windows_drawn_as_mapped_are_enlarged():
    size = PixelSize(native=0.5, min=0.25, max=1.2, enlarged_to=0.66)
    assert size.shown(0.1) == 0.25
    assert size.shown(0.5) == 0.5
    assert size.shown(0.99) == pytest.approx(0.66)
    assert size.shown(1.2) == size.shown(2.0) == pytest.approx(0.8)


@pytest.mark.parametrize(("own", "shown"), [(0.1, 0.25), (0.25, 0.25), (0.7, 0.7), (1.5, 1.2)])
def test_scenes_are_validated_at_the_nearest_pixel_size_the_model_tolerates(windows, own, shown):
    scene = replace(windows[0].validation[0], pixel_size_m=own)
    resampled = at_tolerated_size(scene, PixelSize(native=0.5, min=0.25, max=1.2))
    assert resampled.pixel_size_m == shown
    assert resampled.label.shape == tuple(round(n * own / shown) for n in scene.label.shape)


def test_the_grid_shows_every_labelled_pixel_once(windows):
    data, config = windows
    config = config.model_copy(update={"validation_window_px": 64})
    seen = sum(int((w.label != IGNORE).sum()) for w in GridWindows(data.validation, config))
    assert seen == sum(int((s.label != IGNORE).sum()) for s in data.validation)


def test_windows_of_a_scene_that_is_larger_show_nothing_but_it(windows):
    data, config = windows
    config = config.model_copy(update={"validation_window_px": 64})
    scene = data.validation[0]
    crops = {
        np.moveaxis(scene.image[row : row + 64, col : col + 64], -1, 0).tobytes()
        for row in (0, SIDE - 64)
        for col in (0, SIDE - 64)
    }
    assert {w.image.numpy().tobytes() for w in GridWindows([scene], config)} == crops


@given(st.integers(1, 70), st.integers(1, 70), st.integers(70, 200))
@hypothesis_settings(max_examples=20, deadline=None)
def test_padding_mirrors_the_image_and_ignores_the_label(height, width, size):
    image = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    padded, label = pad_to(image, np.ones((height, width), np.uint8), size)
    assert padded.shape == (size, size, 3)
    assert (padded[:height, :width] == image).all()
    assert (label == 1).sum() == height * width
    assert (label == IGNORE).sum() == size * size - height * width


@given(st.integers(0, 1000))
@hypothesis_settings(max_examples=12, deadline=None)
def test_turning_moves_image_and_label_alike(seed):
    label = np.arange(36, dtype=np.uint8).reshape(6, 6)
    image = np.repeat(label[..., None], 3, 2)
    turned, turned_label = turn(image, label, np.random.default_rng(seed))
    assert (turned[..., 1] == turned_label).all()
    assert set(turned_label.ravel()) == set(range(36))


def test_resampling_keeps_means_and_classes():
    image, label = squares(0)
    small, small_label = resample(image, label, (SIDE // 3, SIDE // 3))
    assert np.abs(small.mean((0, 1)) - image.mean((0, 1))).max() < 1
    assert (small_label == label[1::3, 1::3]).all()


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("side", [SIDE // 2, 2 * SIDE])
def test_every_type_of_pixels_is_resampled(dtype, side):
    image, label = squares(0)
    scale = 2**23 if dtype in ("uint32", "int32") else 1
    resized, _ = resample((image.astype(dtype) * scale).astype(dtype), label, (side, side))
    assert resized.dtype == dtype
    expected, _ = resample(image.astype("float64") * scale, label, (side, side))
    assert np.abs(resized - expected).max() <= scale / 2 + (dtype == "uint32") * scale  # below 0 there is nothing


@pytest.mark.parametrize("bands", [1, 4, 5, 13])
def test_any_number_of_bands_is_resampled(bands):
    image, label = (
        np.random.default_rng(bands).integers(0, 255, (64, 64, bands), dtype=np.uint8),
        squares(0)[1][:64, :64],
    )
    resized, _ = resample(image, label, (37, 37))
    assert resized.shape == (37, 37, bands)
    for k in range(bands):
        assert (resized[..., k] == resample(image[..., k : k + 1], label, (37, 37))[0][..., 0]).all()


def test_colour_changes_repeat_and_keep_the_type():
    changes = ColorChanges(Augment(blur=1, noise=1, jpeg=1, shadow=1, gray=1))
    image = torch.from_numpy(squares(0)[0]).permute(2, 0, 1).contiguous()
    once, again, other = (changes(image, np.random.default_rng(s)) for s in (1, 1, 2))
    assert once.dtype == torch.uint8
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    four = changes(torch.full((4, 16, 16), 40_000, dtype=torch.uint16), np.random.default_rng(0))
    assert four.dtype == torch.uint16


def test_stretches_are_curves_of_grey_levels_alike_or_of_each_band():
    only = dict.fromkeys(("color", "channel_gain", "gray", "blur", "noise", "jpeg", "shadow"), 0.0)
    changes = ColorChanges(Augment(levels=1, **only))
    # Each band is a ramp of 256 grey levels; the second is at half the light.
    ramp = torch.arange(256).repeat(256, 1)
    image = torch.stack([ramp, ramp // 2, ramp]).to(torch.uint8)
    same = []
    for seed in range(20):
        first, second, third = changes(image, np.random.default_rng(seed)).int()
        assert (first.diff(dim=1) >= 0).all()
        assert first.max() > first.min()
        assert torch.equal(first, third)
        same.append(torch.equal(second, first[:, ramp[0] // 2]))
    assert 4 <= sum(same) <= 16  # half of the stretches take all bands together


def test_pixel_size_and_ground_in_degrees_and_metres():
    utm = ImageGrid(Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000), _wkt(32633), (100, 100))
    assert utm.pixel_size_m == pytest.approx(0.5, rel=1e-3)
    degrees = ImageGrid(Affine(1e-5, 0, 15.0, 0, -1e-5, 60.0), _wkt(4326), (100, 100))
    # At 60° north a degree of longitude is half as long.
    assert degrees.pixel_size_m == pytest.approx(np.sqrt(1.1141 * 0.5580), rel=2e-3)
    mask = ground_mask(degrees, (15.0, 59.9995, 15.0005, 61.0))
    assert mask.sum() == 50 * 50
    assert mask[:50, :50].all()


def _wkt(code):
    return rasterio.crs.CRS.from_epsg(code).to_wkt()


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_settings_that_ship_are_valid(path):
    config = load_train_config(path)
    assert config.steps % config.steps_per_epoch == 0
    assert all(s.root.is_absolute() for s in config.sources)


def test_one_file_names_every_key_and_its_default():
    path = Path(__file__).parents[2] / "configs" / "train" / "keys.yaml"
    config, values = load_train_config(path), read_yaml(path)
    for settings_, there in (
        (config, values),
        *((getattr(config, k), values[k]) for k in ("model", "optimization", "augment")),
    ):
        assert set(there) == set(type(settings_).model_fields)
        for name, field in type(settings_).model_fields.items():
            if not field.is_required():
                assert getattr(settings_, name) == field.get_default(call_default_factory=True), name
    common = set(type(config.sources[0]).__mro__[1].model_fields)
    assert common <= set(values["sources"][0])
    for source_, there in zip(config.sources, values["sources"], strict=True):
        assert set(type(source_).model_fields) - common <= set(there), source_.form
    assert {s.form for s in config.sources} == {"vectors", "rasters", "colors", "voc", "cityscapes", "town"}


REAL = Path(__file__).parents[2] / "../shared/data"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real training data is not beside the checkout")
def test_the_real_sources_of_the_default_model_read_and_split(tmp_path):
    config = load_train_config(Path(__file__).parents[2] / "configs/train/default.yaml")
    by_name = {s.name: s for s in config.sources}
    training, validation = sorted(read_source(by_name["kampala"], config, Spill(tmp_path)), key=lambda s: s.validation)
    assert training.label.shape == (1024, 1024)
    assert validation.label.shape == (1024, 512)
    assert training.pixel_size_m == pytest.approx(0.149, abs=0.001)
    assert 0.2 < (validation.label == 1).mean() < 0.3
    town = read_source(by_name["massachusetts"], config, Spill(tmp_path))
    assert [s.validation for s in town] == [False, True]
    assert all(0.03 < (s.label == 1).mean() < 0.08 for s in town)
    assert [s.pixel_size_m for s in read_source(by_name["quebec"], config, Spill(tmp_path))] == pytest.approx(
        [0.3, 0.15], rel=1e-2
    )


def test_rendered_towns_are_kept_and_towns_of_other_settings_refused(tmp_path):
    source = TownSource(
        form="town", name="towns", root=tmp_path, licence="Apache-2.0", size_px=256, scenes=3, validation_scenes=1,
        palettes=("desert",), downtown=0.9,
    )  # fmt: skip
    first = town_chips(source)
    assert [c.validation for c in first] == [False, False, False, True]
    expected = chip(TownSettings(seed=1, downtown=0.9), 2, 256, ("desert",))
    np.testing.assert_array_equal(np.asarray(Image.open(first[2].image)).transpose(2, 0, 1), expected[0])
    np.testing.assert_array_equal(np.asarray(Image.open(first[2].label)), expected[1])
    written = first[0].image.stat().st_mtime_ns
    assert town_chips(source.model_copy(update={"scenes": 2})) == [*first[:2], first[3]]
    assert first[0].image.stat().st_mtime_ns == written
    (tmp_path / "towns.json").write_text('{"size_')  # as a full disk leaves it
    assert town_chips(source) == first
    other = town_chips(source.model_copy(update={"seed": 4, "root": tmp_path / "other"}))
    assert not {c.image.read_bytes() for c in other} & {c.image.read_bytes() for c in first}
    with pytest.raises(TrainingError, match="towns of other settings"):
        town_chips(source.model_copy(update={"downtown": 0.0}))
