"""`geoseg vectorize`: the layers of a class raster are those of the map it came from, in every format."""

import os
import signal

import geopandas
import numpy as np
import pyarrow.parquet
import pyogrio
import pytest
import rasterio
from rasterio.transform import from_origin

from geoseg.cli import main
from geoseg.errors import ContractError
from geoseg.files import _host, _sweep
from geoseg.legend import DEFAULT_LEGEND
from geoseg.raster.palette import palette
from geoseg.run import vectorizing
from geoseg.run.vectorizing import vectorize
from geoseg.town.noisy import NetworkNoise, noisy_classes
from geoseg.town.plan import plan_town
from geoseg.town.settings import TownSettings
from geoseg.vectorize_config import VectorizeSettings

UTM = "EPSG:32633"
LAYERS = ("buildings", "roads", "road_centerlines", "road_nodes", "green")


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    rows = np.zeros((600, 500), np.uint8)
    rows[50:110, 60:150] = rows[300:360, 300:420] = 1
    rows[200:214, :] = rows[:, 240:254] = 2
    rows[400:520, 40:200] = 3
    path = tmp_path_factory.mktemp("vectorize") / "town_classes.tif"
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 600, "width": 500, "nodata": 255}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=from_origin(4e5, 5.4e6, 0.5, 0.5), **profile) as dst:
        dst.write(rows, 1)
        dst.write_colormap(1, palette(DEFAULT_LEGEND))
    return path


def layers(path):
    return {name: geopandas.read_file(path, layer=name) for name in LAYERS}


def test_layers_of_a_class_raster(classes, tmp_path, capsys):
    out = tmp_path / "town.gpkg"
    assert main(["vectorize", str(classes), "-o", str(out)]) == 0
    made = layers(out)
    assert sorted(made["buildings"].area) == pytest.approx([60 * 90 / 4, 60 * 120 / 4], rel=0.01)
    assert made["green"].area.sum() == pytest.approx(120 * 160 / 4, rel=0.01)
    assert made["road_centerlines"].length.sum() == pytest.approx((500 + 600) / 2, rel=0.02)
    assert set(made["buildings"]["scene"]) == {"town"}
    assert "2 buildings" in capsys.readouterr().out
    assert out.with_suffix(".qgz").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["town.gpkg", "town.qgz"]


def test_workers_and_formats_change_nothing(classes, tmp_path):
    one = vectorize(VectorizeSettings(classes=classes, output=tmp_path / "one.gpkg", vector={"block_rows": 128}))
    two = vectorize(
        VectorizeSettings(classes=classes, output=tmp_path / "two.gpkg", vector={"block_rows": 128}, workers=2)
    )
    assert one == two
    expected = layers(tmp_path / "one.gpkg")
    for name, kind, suffix in (("a", "geoparquet", "parquet"), ("b", "flatgeobuf", "fgb")):
        counts = vectorize(VectorizeSettings(classes=classes, output=tmp_path / name, format=kind))
        assert counts == one
        for layer in LAYERS:
            path = tmp_path / f"{name}_{layer}.{suffix}"
            found = geopandas.read_parquet(path) if suffix == "parquet" else geopandas.read_file(path)
            found, wanted = (f.sort_values("id", ignore_index=True) for f in (found, expected[layer]))
            assert found["id"].equals(wanted["id"])
            assert found.normalize().geom_equals_exact(wanted.normalize(), 1e-9).all()
            assert found.crs == expected[layer].crs


def test_empty_layers_are_written_too(tmp_path):
    path = tmp_path / "nothing.tif"
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 64, "width": 64}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=from_origin(4e5, 5.4e6, 0.5, 0.5), **profile) as dst:
        dst.write(np.full((64, 64), 255, np.uint8), 1)
    for kind in ("geopackage", "geoparquet", "flatgeobuf"):
        told = []
        counts = vectorize(VectorizeSettings(classes=path, output=tmp_path / f"{kind}.gpkg", format=kind), told.append)
        assert set(counts.values()) == {0}
        assert told == ["nothing became a feature: 0 is background, 255 nodata, 1 building, 2 road, 3 green"]


def test_any_legend_gives_its_layers(classes, tmp_path):
    legend = [
        {"id": 1, "name": "house", "color": "#aa0000", "layer": "houses", "rule": "building"},
        {"id": 2, "name": "water", "color": "#0000aa", "layer": "water", "rule": "area"},
        {"id": 3, "name": "grass", "color": "#00aa00", "layer": "grass", "rule": "area"},
    ]
    counts = vectorize(VectorizeSettings(classes=classes, output=tmp_path / "o.gpkg", legend=legend))
    assert counts == {"houses": 2, "water": 1, "grass": 1}


@pytest.mark.parametrize(
    ("bands", "dtype", "message"), [(3, "uint8", "3 bands of uint8"), (1, "float32", "1 bands of float32")]
)
def test_what_is_no_class_raster_is_refused(bands, dtype, message, tmp_path, capsys):
    path = tmp_path / "image.tif"
    profile = {"driver": "GTiff", "dtype": dtype, "count": bands, "height": 32, "width": 32, "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=from_origin(4e5, 5.4e6, 0.5, 0.5), **profile) as dst:
        dst.write(np.zeros((bands, 32, 32), dtype))
    assert main(["vectorize", str(path), "-o", str(tmp_path / "o.gpkg")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o.gpkg").exists()


@pytest.mark.parametrize("how", ["nodata value", "internal mask", "mask beside it"])
def test_what_a_mask_hides_is_nodata(classes, tmp_path, how):
    path = tmp_path / "x.tif"
    with rasterio.open(classes) as src:
        profile, rows = {**src.profile, "nodata": {"nodata value": 3, "internal mask": 255}.get(how)}, src.read()
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=how == "internal mask"), rasterio.open(path, "w", **profile) as dst:
        dst.write(rows)
        if how != "nodata value":
            dst.write_mask(rows[0] != 3)
    assert (tmp_path / "x.tif.msk").exists() == (how == "mask beside it")
    counts = vectorize(VectorizeSettings(classes=path, output=tmp_path / "x.gpkg"))
    assert counts["green"] == 0
    assert counts["buildings"] == 2


def test_confidence_must_be_percent_on_the_same_grid(classes, tmp_path):
    with rasterio.open(classes) as src:
        profile = src.profile
    for name, value, crs in (
        ("high", 200, UTM),
        ("else", 50, "EPSG:32631"),
        ("gaps", 255, UTM),
        ("same", 50, "EPSG:25833"),
    ):
        with rasterio.open(tmp_path / f"{name}.tif", "w", **{**profile, "crs": crs}) as dst:
            dst.write(np.full((1, 600, 500), value, np.uint8))
    for name, message in (
        ("high", "holds 200, but percent are needed"),
        ("else", "lies on another grid"),
        ("gaps", "has gaps where"),
    ):
        settings = VectorizeSettings(classes=classes, output=tmp_path / "x.gpkg", confidence=tmp_path / f"{name}.tif")
        with pytest.raises(ContractError, match=message):
            vectorize(settings)
    # The same pixels on ETRS89, which GDAL does not tell from WGS 84.
    vectorize(VectorizeSettings(classes=classes, output=tmp_path / "x.gpkg", confidence=tmp_path / "same.tif"))
    assert set(layers(tmp_path / "x.gpkg")["buildings"].confidence) == {0.5}


@pytest.mark.parametrize(("target", "code", "message"), [
    ("{classes}/x.gpkg", 2, "must be a folder"),
    ("{folder}/x.shp", 2, "a GeoPackage is written; name it x.gpkg"),
    ("{folder}/" + 250 * "x" + ".gpkg", 1, "cannot be written"),
])  # fmt: skip
def test_an_output_that_cannot_be_is_said_in_one_line(classes, tmp_path, capsys, target, code, message):
    assert main(["vectorize", str(classes), "-o", target.format(classes=classes, folder=tmp_path)]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["geopackage", "geoparquet", "flatgeobuf"])
def test_the_command_names_the_files_that_it_wrote(classes, tmp_path, capsys, kind):
    assert main(["vectorize", str(classes), "-o", str(tmp_path / "x.gpkg"), "--format", kind]) == 0
    told = capsys.readouterr().out.splitlines()[-1].removeprefix("written: ").split(", ")
    assert sorted(told) == sorted(str(p) for p in tmp_path.iterdir() if p.suffix in (".gpkg", ".parquet", ".fgb"))


def test_every_feature_is_valid_where_buildings_were_cut_out_of_noise(tmp_path):
    """This town's cuts leave a spike that crosses itself once its corners are rounded to the map's coordinates."""
    town = plan_town(TownSettings(size_px=(700, 700), pixel_size_m=0.5, seed=105, downtown=0.3))
    rows, _ = noisy_classes(town, NetworkNoise(seed=5, amplitude=0.2))
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 700, "width": 700}
    with rasterio.open(tmp_path / "x.tif", "w", crs=UTM, transform=from_origin(5e5, 5.5e6, 0.5, 0.5), **profile) as dst:
        dst.write(rows, 1)
    vectorize(VectorizeSettings(classes=tmp_path / "x.tif", output=tmp_path / "x.gpkg"))
    for name, layer in layers(tmp_path / "x.gpkg").items():
        assert layer.is_valid.all(), name
        assert layer["id"].is_unique, name


@pytest.mark.parametrize("kind", ["geoparquet", "flatgeobuf"])
def test_empty_layers_have_the_types_of_full_ones(classes, tmp_path, kind):
    with rasterio.open(classes) as src, rasterio.open(tmp_path / "no.tif", "w", **src.profile) as dst:
        dst.write(np.zeros((1, 600, 500), np.uint8))
    for name, path in (("full", classes), ("none", tmp_path / "no.tif")):
        vectorize(VectorizeSettings(classes=path, output=tmp_path / name, format=kind))
    for layer in LAYERS:
        full, none = (
            tmp_path / f"{name}_{layer}.{'parquet' if kind == 'geoparquet' else 'fgb'}" for name in ("full", "none")
        )
        if kind == "geoparquet":
            assert pyarrow.parquet.read_schema(none).types == pyarrow.parquet.read_schema(full).types
        else:
            assert (pyogrio.read_info(none)["dtypes"] == pyogrio.read_info(full)["dtypes"]).all()


def test_a_name_with_a_dot_is_a_name(classes, tmp_path, capsys):
    for output in ("area.2023", "area.2024", "whole.fgb"):
        assert main(["vectorize", str(classes), "-o", str(tmp_path / output), "--format", "flatgeobuf"]) == 0
    assert "area.2024_buildings.fgb" in capsys.readouterr().out
    expected = {f"{name}_{layer}.fgb" for name in ("area.2023", "area.2024", "whole") for layer in LAYERS}
    assert {p.name for p in tmp_path.iterdir()} == expected


def test_a_killed_process_is_said_in_one_line(classes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(vectorizing, "vectorize_block_row", die)
    assert main(["vectorize", str(classes), "-o", str(tmp_path / "x.gpkg"), "--workers", "1"]) == 1
    assert "a process was killed, most likely for want of memory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def die(*_):
    os._exit(1)


def test_sigterm_leaves_nothing_behind(classes, tmp_path, monkeypatch):
    def terminated(*_):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(vectorizing, "vectorize_block_row", terminated)
    assert main(["vectorize", str(classes), "-o", str(tmp_path / "x.gpkg")]) == 130
    assert list(tmp_path.iterdir()) == []
    killed = tmp_path / f".x.gpkg.{_host()}-{2**22 + 1}.abc.tmp"  # of a process that cannot be
    killed.mkdir()
    monkeypatch.undo()
    _sweep.cache_clear()  # a process looks once
    assert main(["vectorize", str(classes), "-o", str(tmp_path / "x.gpkg")]) == 0
    assert not killed.exists()
