"""Maps in every form against each other: hand-worked, and as rasterio and torch see the same files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import torch
from rasterio.enums import ColorInterp
from rasterio.features import rasterize
from torch.nn import functional

from geoseg.cli import main
from geoseg.config import RunSettings
from geoseg.contract import DEFAULT_MODEL, PixelSize, load_contract
from geoseg.errors import ConfigError
from geoseg.evaluate.run import evaluate
from geoseg.evaluate.settings import EvaluateSettings
from geoseg.nn.modeldir import load_model
from geoseg.nn.scaling import scale_pixels
from geoseg.run.mapping import map_scenes
from tests.conftest import write_raster
from tests.nn.training_sets import ORIGIN, PIXEL_M, SIDE, outlines, squares, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
LAYERS = ("buildings", "roads", "green")
UTM = "EPSG:32633"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One map in every form, and a worse one: the same, moved by two pixels."""
    folder = tmp_path_factory.mktemp("maps")
    _, label = squares(4)
    moved = np.roll(label, (2, 2), axis=(0, 1))
    for name, ids in (("truth", label), ("map", moved)):
        write_tiff(folder / f"{name}.tif", ids, nodata=255)
        vectors(folder / f"{name}.gpkg", ids)
    vectors(folder / "degrees.gpkg", label, "EPSG:4326")
    return folder


def vectors(path, ids, crs=UTM):
    for class_id, layer in enumerate(LAYERS, start=1):
        outlines(ids == class_id).to_crs(crs).to_file(path, layer=layer)


def compared(folder, prediction, reference, **changes):
    values = {"prediction": folder / prediction, "reference": folder / reference, "output": folder / "out"}
    return evaluate(EvaluateSettings(**values | changes))


@pytest.mark.parametrize("reference", ["truth.tif", "truth.gpkg", "degrees.gpkg"])
@pytest.mark.parametrize("prediction", ["map.tif", "map.gpkg"])
def test_every_form_gives_the_same_pixels(files, prediction, reference):
    expected = np.zeros((4, 4), int)
    with rasterio.open(files / "map.tif") as a, rasterio.open(files / "truth.tif") as b:
        np.add.at(expected, (b.read(1), a.read(1)), 1)
    image = write_tiff(files / "image.tif", squares(4)[0])
    found = compared(files, prediction, reference, image=image)
    assert found["confusion"] == expected.tolist()
    assert found["objects"]["building"]["reference"] == len(outlines(squares(4)[1] == 1).explode())
    assert found["loss"] > 0


@pytest.mark.parametrize(
    ("kinds", "values"),
    [
        (("building", "road", "green"), {}),
        (("Haus", "Weg", "Wiese"), {"building": ["Haus"], "road": ["Weg"], "green": ["Wiese"]}),
        ((1, 2, 3), {"building": [1], "road": [2], "green": [3]}),
    ],
)
def test_one_layer_for_all_classes_is_the_same_truth(files, tmp_path, kinds, values):
    with rasterio.open(files / "truth.tif") as src:
        ids = src.read(1)
    parts = [outlines(ids == i).assign(kind=kind) for i, kind in enumerate(kinds, start=1)]
    gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs=parts[0].crs).to_file(tmp_path / "one.gpkg")
    got = compared(files, "map.tif", tmp_path / "one.gpkg", class_field="kind", values=values)
    assert got["confusion"] == compared(files, "map.tif", "truth.gpkg")["confusion"]
    assert got["not_labelled"] == []
    assert got["of_no_class"] == ""


def test_only_the_named_values_of_a_field_are_labelled(files, tmp_path):
    truth = squares(4)[1]
    parts = [outlines(truth == 1).assign(kind=7), outlines(truth == 2).assign(kind=np.nan)]  # read as 7.0
    gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs=parts[0].crs).to_file(tmp_path / "roofs.gpkg")
    got = compared(files, "map.tif", tmp_path / "roofs.gpkg", class_field="kind", values={"building": [7]})
    assert got["not_labelled"] == ["road", "green"]
    assert got["of_no_class"] == f"{len(parts[1])} nothing"
    assert got["confusion"] == compared(files, "map.tif", "truth.gpkg", classes=("building",))["confusion"]


def test_a_map_is_perfect_against_itself(files):
    found = compared(files, "truth.tif", "truth.gpkg")
    assert {s["iou"] for s in found["classes"].values()} == {1}
    assert found["objects"]["building"]["f1"] == 1
    assert found["roads"]["road"]["quality"] == found["roads"]["road"]["apls"] == 1


@pytest.mark.parametrize("strip_rows", [1, 17, 40])
@pytest.mark.parametrize("reference", ["truth.tif", "truth.gpkg"])
def test_strips_do_not_matter(files, reference, strip_rows):
    whole = compared(files, "map.tif", reference)
    assert compared(files, "map.tif", reference, strip_rows=strip_rows) == whole


def test_vectors_alone_make_their_own_grid(files):
    found = compared(files, "map.gpkg", "truth.gpkg", pixel_size_m=0.25)
    assert found["grid"]["pixel_m"] == pytest.approx([0.25] * 2, rel=1e-3)  # the scale of UTM
    label = squares(4)[1]
    roads = (outlines(np.roll(label, (2, 2), (0, 1)) == 2), outlines(label == 2))
    a, b = (r.union_all() for r in roads)
    assert found["classes"]["road"]["iou"] == pytest.approx(a.intersection(b).area / a.union(b).area, abs=1e-6)


def test_pixels_of_vectors_are_metres_on_the_ground_in_web_mercator(files, tmp_path):
    for name in ("map", "truth"):
        for layer in ("buildings", "roads", "green"):
            frame = gpd.read_file(files / f"{name}.gpkg", layer=layer).to_crs(3857)
            frame.to_file(tmp_path / f"{name}.gpkg", layer=layer)
    found = compared(tmp_path, "map.gpkg", "truth.gpkg", pixel_size_m=0.25)
    assert found["grid"]["pixel_m"] == pytest.approx([0.25] * 2, rel=1e-3)
    assert found["accuracy"] == pytest.approx(
        compared(files, "map.gpkg", "truth.gpkg", pixel_size_m=0.25)["accuracy"], abs=0.01
    )


def test_a_reference_with_one_class_says_nothing_about_the_others(files, tmp_path):
    outlines(squares(4)[1] == 1).to_file(tmp_path / "houses.geojson")
    found = compared(files, "truth.tif", tmp_path / "houses.geojson", classes=("building",))
    assert found["not_labelled"] == ["road", "green"]
    assert list(found["classes"]) == ["building"]
    assert (found["classes"]["building"]["iou"], found["roads"]) == (1, {})


def test_other_values_and_values_that_say_nothing(files, tmp_path):
    _, label = squares(4)
    coded = np.where(label == 1, 200, 10).astype(np.uint8)
    coded[:30] = 77
    write_tiff(tmp_path / "coded.tif", coded)
    with pytest.raises(ConfigError, match=r"values \[10, 77, 200\] belong to no class"):
        compared(files, "truth.tif", tmp_path / "coded.tif")
    found = compared(
        files, "truth.tif", tmp_path / "coded.tif", classes=("building",), values={"building": (200,)}, ignore=(77,)
    )
    assert found["pixels"] == SIDE * (SIDE - 30)
    assert found["classes"]["building"]["iou"] == 1


@pytest.mark.parametrize("nodata", [None, 0, 255])
def test_masks_of_0_and_255_are_masks_whatever_they_call_nodata(files, tmp_path, nodata):
    houses = squares(4)[1] == 1
    write_tiff(tmp_path / "mask.tif", np.where(houses, 255, 0).astype(np.uint8), nodata=nodata)
    found = compared(files, "map.tif", tmp_path / "mask.tif", classes=("building",), values={"building": (255,)})
    moved = np.roll(houses, (2, 2), axis=(0, 1))
    assert found["pixels"] == SIDE**2
    assert found["classes"]["building"]["iou"] == pytest.approx((houses & moved).sum() / (houses | moved).sum())


@pytest.mark.parametrize("side", ["prediction", "reference"])
def test_background_that_is_called_nodata_is_background(files, tmp_path, side):
    with rasterio.open(files / "truth.tif") as src:
        write_raster(tmp_path / "zero.tif", src.read(), transform=src.transform, crs=UTM, nodata=0)
    pair = (tmp_path / "zero.tif", "map.tif") if side == "prediction" else ("map.tif", tmp_path / "zero.tif")
    usual = ("truth.tif", "map.tif") if side == "prediction" else ("map.tif", "truth.tif")
    found, expected = compared(files, *pair), compared(files, *usual)
    assert (found["pixels"], found["classes"]) == (expected["pixels"], expected["classes"])


@pytest.mark.parametrize("warp", [False, True])
@pytest.mark.parametrize("how", ["mask", "alpha"])
def test_a_mask_or_alpha_decides_where_background_is_called_nodata(files, tmp_path, how, warp):
    """Both in the file; the warped one has pixels of half the size."""
    with rasterio.open(files / "truth.tif") as src:
        ids, transform = np.kron(src.read(1), np.ones((1 + warp,) * 2, np.uint8)), src.transform
    shown = np.full(ids.shape, 255, np.uint8)
    shown[: 30 * (1 + warp)] = 0
    grid = {"width": ids.shape[1], "height": ids.shape[0], "dtype": "uint8", "nodata": 0, "crs": UTM}
    grid["transform"] = transform @ rasterio.Affine.scale(1 / (1 + warp))
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(tmp_path / "x.tif", "w", driver="GTiff", count=1 + (how == "alpha"), **grid) as dst,
    ):
        dst.write(ids, 1)
        if how == "alpha":
            dst.write(shown, 2)
            dst.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        else:
            dst.write_mask(shown)
    found = compared(files, tmp_path / "x.tif", "truth.tif", warp=warp)
    assert (found["pixels"], found["accuracy"]) == (SIDE * (SIDE - 30), 1)


def test_background_that_is_called_nodata_ends_where_a_warped_map_ends(files, tmp_path):
    with rasterio.open(files / "truth.tif") as src:
        part, transform = src.read()[:, :48], src.transform @ rasterio.Affine.translation(0.5, 0)
    write_raster(tmp_path / "part.tif", part, transform=transform, crs=UTM, nodata=0)
    found = compared(files, tmp_path / "part.tif", "truth.tif", warp=True)
    assert found["pixels"] == pytest.approx(48 * SIDE, abs=2 * SIDE)


@pytest.mark.parametrize("form", ["layer", "thinned pixels"])
def test_roads_count_where_both_maps_know_the_ground(files, tmp_path, form):
    x, y = ORIGIN
    line = shapely.LineString([(x + 2, y - 24), (x + SIDE * PIXEL_M - 2, y - 24)])
    transform = rasterio.Affine(PIXEL_M, 0, x, 0, -PIXEL_M, y)
    road = rasterize([line.buffer(2)], out_shape=(SIDE, SIDE), transform=transform, default_value=2).astype(np.uint8)
    write_tiff(tmp_path / "all.tif", road)
    gpd.GeoDataFrame(geometry=[line], crs=UTM).to_file(tmp_path / "all.gpkg", layer="road_centerlines")
    road[:, SIDE // 2 :] = 255
    write_tiff(tmp_path / "half.tif", road, nodata=255)
    whole = tmp_path / ("all.gpkg" if form == "layer" else "all.tif")
    for pair in ((whole, tmp_path / "half.tif"), (tmp_path / "half.tif", whole)):
        scores = compared(files, *pair, classes=("road",))["roads"]["road"]
        assert form in scores["lines_of"].values()
        assert (scores["precision"], scores["recall"]) == (pytest.approx(1, abs=0.1), pytest.approx(1, abs=0.1))
        assert scores["predicted_m"] == pytest.approx(SIDE * PIXEL_M / 2 - 2, abs=3)


def test_single_pixels_without_data_do_not_tear_a_road(files, unet_model, tmp_path):
    image, _ = squares(4)
    image = np.maximum(image, 1)
    write_tiff(tmp_path / "whole.tif", image, nodata=0)
    spots = np.random.default_rng(0).integers(0, SIDE, (60, 2))
    image[spots[:, 0], spots[:, 1]] = 0
    write_tiff(tmp_path / "spots.tif", image, nodata=0)
    roads = [
        compared(files, "map.gpkg", "truth.gpkg", image=tmp_path / f"{name}.tif", model=unet_model)["roads"]["road"]
        for name in ("whole", "spots")
    ]
    assert roads[0] == roads[1]


def test_a_mask_beside_a_raster_hides_it(files, tmp_path):
    for side in ("truth", "map"):
        shutil.copy(files / f"{side}.tif", tmp_path / f"{side}.tif")
    shown = np.full((SIDE, SIDE), 255, np.uint8)
    shown[:30] = 0
    write_tiff(tmp_path / "truth.tif.msk", shown)
    assert compared(tmp_path, "map.tif", "truth.tif")["pixels"] == SIDE * (SIDE - 30)


def test_a_part_of_the_grid_is_compared_where_it_lies(files, tmp_path):
    with rasterio.open(files / "truth.tif") as src:
        part, transform = src.read()[:, 20:70, 10:60], src.transform @ rasterio.Affine.translation(10, 20)
    write_raster(tmp_path / "part.tif", part, transform=transform, crs=UTM)
    found = compared(files, tmp_path / "part.tif", "truth.tif")
    assert (found["pixels"], found["accuracy"]) == (50 * 50, 1)
    assert found["unmapped_pixels"] == SIDE**2 - 50 * 50


def test_another_grid_is_refused_or_warped(files, tmp_path):
    with rasterio.open(files / "truth.tif") as src:
        ids = np.kron(src.read(), np.ones((1, 2, 2), np.uint8))
        transform = src.transform @ rasterio.Affine.scale(0.5)
    write_raster(tmp_path / "fine.tif", ids, transform=transform, crs=UTM)
    with pytest.raises(ConfigError, match="do not lie on the grid of the reference"):
        compared(files, tmp_path / "fine.tif", "truth.tif")
    found = compared(files, tmp_path / "fine.tif", "truth.tif", warp=True)
    assert (found["accuracy"], found["pixels"]) == (1, SIDE**2)


@pytest.mark.parametrize("nodata", [None, 255])
def test_what_lies_outside_of_a_warped_map_is_not_background(files, tmp_path, nodata):
    with rasterio.open(files / "truth.tif") as src:
        part, transform = src.read()[:, :48], src.transform @ rasterio.Affine.translation(0.5, 0)
    write_raster(tmp_path / "part.tif", part, transform=transform, crs=UTM, nodata=nodata)
    found = compared(files, tmp_path / "part.tif", "truth.tif", warp=True)
    assert found["pixels"] == pytest.approx(48 * SIDE, abs=2 * SIDE)
    assert found["pixels"] + found["unmapped_pixels"] == SIDE**2


def test_lines_become_roads(files, tmp_path):
    x, y = ORIGIN
    line = shapely.LineString([(x + 5, y - 24), (x + 40, y - 24)])
    beyond, point = shapely.LineString([(x - 90, y), (x - 50, y)]), shapely.LineString([(x + 9, y - 9), (x + 9, y - 9)])
    gpd.GeoDataFrame({"width_m": [4.0] * 3}, geometry=[line, beyond, point], crs=UTM).to_file(
        tmp_path / "r.gpkg", layer="road_centerlines"
    )
    road = np.zeros((SIDE, SIDE), np.uint8)
    area = line.buffer(2)
    transform = rasterio.Affine(PIXEL_M, 0, x, 0, -PIXEL_M, y)
    rasterize([area], out=road, transform=transform, default_value=2)
    write_tiff(tmp_path / "road.tif", road)
    found = compared(files, tmp_path / "road.tif", tmp_path / "r.gpkg", classes=("road",))
    assert found["classes"]["road"]["iou"] == pytest.approx(1, abs=0.03)
    scores = found["roads"]["road"]
    assert scores["lines_of"] == {"prediction": "thinned pixels", "reference": "layer"}
    assert (scores["precision"], scores["recall"]) == (1, pytest.approx(1, abs=0.06))
    assert scores["reference_m"] == 35


def test_hand_drawn_areas_are_mended_and_counted(files, tmp_path):
    """A spike makes an area invalid: only the spike goes."""
    x, y = ORIGIN
    boxes = [shapely.box(x + 10 * i, y - 20, x + 10 * i + 6, y - 10) for i in range(4)]
    spiked = shapely.Polygon(
        [(x, y - 20), (x + 6, y - 20), (x + 6, y - 10), (x + 9, y - 7), (x + 6, y - 10), (x, y - 10)]
    )
    collapsed = shapely.Polygon([(x, y), (x + 9, y), (x, y)])
    mixed = shapely.GeometryCollection([boxes[1], shapely.Point(x, y)])
    for name, shapes in (("found", boxes), ("drawn", [spiked, mixed, *boxes[2:], shapely.Polygon(), collapsed])):
        gpd.GeoDataFrame(geometry=shapes, crs=UTM).to_file(tmp_path / f"{name}.gpkg", layer="buildings")
    found = compared(files, tmp_path / "found.gpkg", tmp_path / "drawn.gpkg", classes=("building",))
    assert found["classes"]["building"]["iou"] == 1
    assert found["objects"]["building"]["reference"] == 4


def test_vectors_that_are_empty_or_far_apart_are_refused(files, tmp_path):
    far = shapely.box(0, 0, 1, 1)
    for name, shapes in (
        ("none", [shapely.Polygon()]),
        ("empty", [shapely.Polygon()]),
        ("far", [far, shapely.box(5e5, 5e6, 5e5 + 1, 5e6 + 1)]),
    ):
        gpd.GeoDataFrame(geometry=shapes, crs=UTM).to_file(tmp_path / f"{name}.gpkg", layer="buildings")
    with pytest.raises(ConfigError, match="no feature with a CRS"):
        compared(tmp_path, "empty.gpkg", "none.gpkg", classes=("building",))
    with pytest.raises(ConfigError, match="km apart, too far for a grid"):
        compared(tmp_path, "far.gpkg", "empty.gpkg", classes=("building",))


def test_maps_of_other_ground_are_not_compared(files, tmp_path):
    far = shapely.box(ORIGIN[0] + 5000, ORIGIN[1], ORIGIN[0] + 5010, ORIGIN[1] + 10)
    gpd.GeoDataFrame(geometry=[far], crs=UTM).to_file(tmp_path / "far.gpkg", layer="buildings")
    with pytest.raises(ConfigError, match=r"far\.gpkg: none of its features lies on the ground of the other map"):
        compared(files, "map.tif", tmp_path / "far.gpkg")


def test_lines_on_both_sides_of_a_zone_border_are_measured_on_one_plane(tmp_path):
    """In degrees across 12° E, where UTM changes its zone: the truth has all lines, the map the one in the east."""
    lines = [shapely.LineString([(x, 48.0005), (x + 0.0009, 48.0005)]) for x in (11.9985, 12.0001)]
    frame = gpd.GeoDataFrame({"width_m": [4.0, 4.0]}, geometry=lines, crs="EPSG:4326")
    frame.to_file(tmp_path / "truth.gpkg", layer="road_centerlines")
    road = np.zeros((1, 200, 600), np.uint8)
    road[0, 96:104, 320:520] = 2
    grid = {"crs": "EPSG:4326", "transform": rasterio.Affine(5e-6, 0, 11.9985, 0, -5e-6, 48.001)}
    write_raster(tmp_path / "map.tif", road, **grid)
    scores = compared(tmp_path, "map.tif", "truth.gpkg", classes=("road",))["roads"]["road"]
    assert scores["precision"] > 0.9
    assert scores["recall"] == pytest.approx(0.5, abs=0.05)
    assert scores["reference_m"] == pytest.approx(2 * 67.1, abs=0.5)


def test_where_the_scene_has_no_data_nothing_is_compared(files, unet_model, tmp_path):
    """Two files of vectors know nothing of nodata; the scene does."""
    image, label = squares(4)
    image[:, SIDE // 2 :] = 0
    write_tiff(tmp_path / "image.tif", image, nodata=0)
    found = compared(files, "map.gpkg", "truth.gpkg", image=tmp_path / "image.tif", model=unet_model)
    moved = np.roll(label, (2, 2), axis=(0, 1))
    seen = np.s_[:, : SIDE // 2]
    assert found["pixels"] == label[seen].size
    assert found["accuracy"] == pytest.approx((label == moved)[seen].mean())
    lines = found["roads"]["road"]
    everywhere = compared(files, "map.gpkg", "truth.gpkg")["roads"]["road"]
    assert 0 < lines["reference_m"] < everywhere["reference_m"]


def test_classes_that_share_a_layer_are_compared_by_their_field(files, tmp_path):
    legend = [
        {"id": 1, "name": "house", "color": "#d7301f", "layer": "buildings", "rule": "building"},
        {"id": 2, "name": "shed", "color": "#4d4d4d", "layer": "buildings", "rule": "building"},
    ]
    contract = json.loads((DEFAULT_MODEL / "contract.json").read_text())
    shutil.copytree(DEFAULT_MODEL, tmp_path / "model")
    (tmp_path / "model" / "contract.json").write_text(json.dumps({**contract, "classes": legend, "metrics": {}}))
    _, label = squares(4)
    label[label == 3] = 0
    both = [outlines(label == i).assign(**{"class": name}) for i, name in ((1, "house"), (2, "shed"))]
    pd.concat(both).to_file(tmp_path / "map.gpkg", layer="buildings")
    write_tiff(tmp_path / "truth.tif", label)
    found = compared(tmp_path, "map.gpkg", "truth.tif", model=tmp_path / "model")
    assert found["accuracy"] == 1.0
    alone = compared(tmp_path, "map.gpkg", "truth.tif", model=tmp_path / "model", classes=("house",))
    assert alone["classes"]["house"] == found["classes"]["house"]


def test_the_loss_is_that_of_the_model(unet_model, tmp_path):
    """One tile, so that the blended logits are those of one forward."""
    image, label = squares(4)
    write_tiff(tmp_path / "image.tif", image)
    label[:20] = 255
    write_tiff(tmp_path / "label.tif", label, nodata=255)
    changes = {"image": tmp_path / "image.tif", "model": unet_model}
    found = compared(tmp_path, "label.tif", "label.tif", **changes)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    from tests.conftest import make_contract

    with torch.no_grad():
        logits = load_model(unet_model)(scale_pixels(pixels, None, make_contract().scaling))
    expected = functional.cross_entropy(logits, torch.from_numpy(label)[None].long(), ignore_index=255)
    # bfloat16 where the CPU computes in it.
    assert found["loss"] == pytest.approx(float(expected), rel=0.03)
    write_tiff(tmp_path / "image.tif", image.astype(np.uint16) * 10 + 400)
    assert compared(tmp_path, "label.tif", "label.tif", **changes, value_range=(400, 2950))["loss"] == pytest.approx(
        found["loss"], rel=5e-3
    )


def test_map_and_loss_are_those_of_the_scene_as_the_network_is_shown_it(unet_model, tmp_path):
    """Pixels of 0.5 m, enlarged as if they were coarser than the model's own; the logits made smaller again."""
    from tests.conftest import make_contract

    size = {"native": 0.3, "min": 0.1, "max": 1.2, "enlarged_to": 0.4}
    shutil.copytree(unet_model, tmp_path / "model")
    contract = load_contract(unet_model)
    contract.model_copy(update={"pixel_size_m": PixelSize(**size)}).write(tmp_path / "model")
    image, label = squares(4)
    write_tiff(tmp_path / "image.tif", image)
    write_tiff(tmp_path / "label.tif", label)
    done = map_scenes(
        RunSettings(
            inputs=(str(tmp_path / "image.tif"),), output=tmp_path / "out", model=tmp_path / "model",
            workers=0, precision="float32", quiet=True,
        )
    )  # fmt: skip
    assert done.exit_code == 0
    pixels = scale_pixels(torch.from_numpy(image).permute(2, 0, 1)[None], None, make_contract().scaling)
    shown = functional.pad(functional.interpolate(pixels, scale_factor=1.25, mode="bicubic"), (0, 8, 0, 8), "reflect")
    with torch.no_grad():
        logits = load_model(unet_model)(shown)[..., :120, :120]  # of 96 pixels
    logits = functional.interpolate(logits, size=label.shape, mode="bilinear", antialias=True)
    with rasterio.open(tmp_path / "out" / "image_classes.tif") as src:
        assert (src.read(1) == logits.argmax(1)[0].numpy()).mean() > 0.999
    found = compared(tmp_path, "label.tif", "label.tif", image=tmp_path / "image.tif", model=tmp_path / "model")
    expected = functional.cross_entropy(logits, torch.from_numpy(label)[None].long())
    assert found["loss"] == pytest.approx(float(expected), rel=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "none.tif"}, "no such file"),
        ({"reference": "."}, "is a folder, but a map is one file"),
        ({"output": Path(__file__) / "out"}, "must be a folder"),
        ({"reference": "liar.gpkg"}, "does not begin like a .gpkg"),
        (
            {"reference": "truth.gpkg", "layers": {"road": "streets"}},
            r"no layer 'streets' \(road\); there are buildings",
        ),
        ({"reference": "other.gpkg"}, "its layers are things, but buildings, roads, green are looked for"),
        ({"reference": "far.tif"}, "no pixel in common"),
        ({"classes": ("houses",)}, "no class 'houses'"),
        ({"reference": "image.tif"}, "one band of class ids is needed"),
        (
            {"reference": "truth.gpkg", "class_field": "kind"},
            "one layer for all classes, but there are buildings, roads",
        ),
        ({"reference": "other.gpkg", "class_field": "kind"}, "no field 'kind'; there are"),
        ({"reference": "words.gpkg", "class_field": "kind"}, "no feature is of a class: .* holds, 1 'Building'"),
        ({"image": "far.tif"}, "not on the pixel grid"),
        ({"classes": ("building",), "values": {"building": (300,)}}, "a raster of values 0–255, but .* name 300"),
        ({"ignore": (-1,)}, "name -1"),
        ({"class_field": "kind", "values": {"building": ("house",)}}, "name 'house'"),
    ],
)
def test_what_cannot_be_compared_is_said(files, changes, message):
    write_tiff(files / "image.tif", squares(4)[0])
    (files / "liar.gpkg").write_text("<OGRVRTDataSource/>")
    outlines(squares(4)[1] == 1).to_file(files / "other.gpkg", layer="things")
    outlines(squares(4)[1] == 1).dissolve().assign(kind="Building").to_file(files / "words.gpkg")
    write_tiff(files / "far.tif", squares(4)[1], column=50)
    given = {k: files / v if k in ("reference", "image") else v for k, v in changes.items()}
    with pytest.raises(ConfigError, match=message):
        compared(files, "map.tif", given.pop("reference", "truth.tif"), **given)


@pytest.mark.parametrize(("changes", "message"), [
    ({"bands": (0, 1, 2)}, "greater than or equal to 1"), ({"value_range": (255, 0)}, "low < high"),
])  # fmt: skip
def test_settings_of_the_image_are_checked_first(files, changes, message):
    with pytest.raises(ValueError, match=message):
        compared(files, "map.tif", "truth.tif", image=files / "image.tif", **changes)


def test_vectors_of_different_ground_are_not_compared(files):
    outlines(squares(4)[1] == 1).translate(5e3).to_file(files / "far.gpkg", layer="buildings")
    with pytest.raises(ConfigError, match="lie on different ground"):
        compared(files, "far.gpkg", "truth.gpkg")


def test_the_command_leaves_json_a_picture_and_a_table(files, tmp_path, capsys):
    command = ["evaluate", str(files / "map.tif"), str(files / "truth.gpkg"), "-o", str(tmp_path / "out")]
    assert main([*command, "--boundary-tolerance-m", "0.5"]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["boundary_tolerance_m"] == 0.5
    assert metrics["loss"] is None
    assert metrics["prediction"]["path"] == "map.tif"
    assert cv2.imread(str(tmp_path / "out" / "confusion.png")).shape == (90 + 4 * 120, 180 + 4 * 120, 3)
    text = capsys.readouterr().out
    assert f"{metrics['classes']['building']['iou']:.3f}" in text
    assert "Road centrelines" in text


def test_the_command_without_maps_says_what_it_needs(capsys):
    assert main(["evaluate"]) == 2
    assert "'prediction' is needed" in capsys.readouterr().err


def test_the_pipeline_reads_a_configuration(files, tmp_path):
    text = f"prediction: {files / 'map.tif'}\nreference: {files / 'truth.tif'}\noutput: {tmp_path / 'out'}\n"
    (tmp_path / "c.yaml").write_text(text)
    script = Path(__file__).parents[2] / "pipelines" / "evaluate.py"
    subprocess.run([sys.executable, script, "--config", tmp_path / "c.yaml"], check=True, capture_output=True)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["pixels"] == SIDE**2
