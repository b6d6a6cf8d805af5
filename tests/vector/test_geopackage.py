"""The GeoPackage writer: what it writes is what it was given, always the same bytes, and whole or not at all."""

import gc
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import warnings
import weakref
import xml.etree.ElementTree as ET
import zipfile
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import pytest
import shapely
from features import EXTENT, LAYERS, features

from geoseg.errors import OutputError
from geoseg.files import _sweep
from geoseg.vector.geopackage import BATCH_ROWS, GeoPackageMeta, write_geopackage
from geoseg.vector.metadata import Imagery
from geoseg.vector.project import project_xml, write_project
from geoseg.vector.schema import Field
from geoseg.vector.styles import ImageryLook

UTM = pyproj.CRS(32633).to_wkt()
CUSTOM = pyproj.CRS.from_proj4(
    "+proj=lcc +lat_1=42.1 +lat_2=43 +lat_0=41 +lon_0=-71.5 +x_0=123 +y_0=456 +datum=NAD83 +units=us-ft"
).to_wkt()
META = GeoPackageMeta(
    crs_wkt=UTM,
    scene="town",
    abstract="Mapped for a test.",
    manifest={"model": "sha256:ab", "größe": [1, 2]},
    extent=EXTENT,
    class_raster="town_classes.tif",
    imagery=(Imagery("../images/town.tif"),),
)
BUILDINGS = LAYERS[0]
MORE_BUILDINGS = replace(BUILDINGS, name="more_buildings")
SYSTEM_PYTHON = "/usr/bin/python3"


def write_all(path, count=40, meta=META, chunks=2):
    content = {layer.name: features(layer, count) for layer in LAYERS}
    parts = [(layer, cut(content[layer.name], chunks)) for layer in LAYERS]
    return content, write_geopackage(path, parts, meta=meta)


def cut(frame, chunks):
    bounds = np.linspace(0, len(frame), chunks + 1).astype(int)
    return [frame.iloc[a:b] for a, b in pairwise(bounds)]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def query(path, sql):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def test_every_feature_and_value_comes_back(tmp_path):
    content, rows = write_all(tmp_path / "town.gpkg")
    assert rows == {layer.name: 40 for layer in LAYERS}
    for layer in LAYERS:
        back = geopandas.read_file(tmp_path / "town.gpkg", layer=layer.name, fid_as_index=True)
        assert back.index.tolist() == list(range(1, 41))
        assert back.crs == pyproj.CRS(32633)
        want = content[layer.name]
        assert shapely.to_wkb(back.geometry).tolist() == shapely.to_wkb(want.geometry).tolist()
        for field in layer.fields:
            assert back[field.name].tolist() == want[field.name].tolist(), field.name


@pytest.mark.parametrize("chunks", [1, 3, 40])
def test_the_same_features_give_the_same_bytes_however_they_are_cut(tmp_path, chunks):
    path = tmp_path / "town.gpkg"
    write_all(path, chunks=2)
    before = sha256(path)
    write_all(path, chunks=chunks)
    assert sha256(path) == before


def test_other_features_or_times_give_other_bytes(tmp_path):
    path = tmp_path / "town.gpkg"
    hashes = set()
    for count, meta in ((40, META), (41, META), (40, replace(META, timestamp="2026-01-31T12:00:00.000Z"))):
        write_all(path, count, meta)
        hashes.add(sha256(path))
    assert len(hashes) == 3


def test_more_rows_than_a_batch_arrive_in_order(tmp_path):
    count = BATCH_ROWS * 2 + 5
    frame = features(BUILDINGS, count)
    write_geopackage(tmp_path / "a.gpkg", [(BUILDINGS, cut(frame, 7))], meta=META)
    assert query(tmp_path / "a.gpkg", "SELECT id, area_m2 FROM buildings ORDER BY fid") == list(
        zip(frame["id"].tolist(), frame["area_m2"].tolist(), strict=True)
    )


def test_layers_without_features_are_typed(tmp_path):
    path = tmp_path / "town.gpkg"
    rows = write_geopackage(path, [(layer, []) for layer in LAYERS], meta=META)
    assert set(rows.values()) == {0}
    for layer in LAYERS:
        info = pyogrio.read_info(path, layer=layer.name)
        assert (info["geometry_type"], info["geometry_name"], info["fid_column"]) == (layer.geometry, "geom", "fid")
        assert info["fields"].tolist() == [f.name for f in layer.fields]
        assert pyproj.CRS(info["crs"]) == pyproj.CRS(32633)


def test_types_of_fields(tmp_path):
    frame = features(BUILDINGS, 5)
    frame["confidence"] = [0.5, np.nan, 0.5, 0.5, 0.5]
    frame["regularized"] = pd.array([True, False, None, True, True], dtype="boolean")
    write_geopackage(tmp_path / "a.gpkg", [(BUILDINGS, [frame])], meta=META)
    declared = {name: kind for _, name, kind, *_ in query(tmp_path / "a.gpkg", "PRAGMA table_info(buildings)")}
    assert {declared[n] for n in ("id", "fid")} == {"INTEGER"}
    assert (declared["area_m2"], declared["class"], declared["geom"]) == ("REAL", "TEXT", "POLYGON")
    assert declared["regularized"] == "BOOLEAN"
    nulls = query(tmp_path / "a.gpkg", "SELECT confidence IS NULL, regularized IS NULL FROM buildings")
    assert nulls == [(0, 0), (1, 0), (0, 1), (0, 0), (0, 0)]


def test_chunks_are_not_kept(tmp_path):
    references = []
    most = 0

    def source():
        nonlocal most
        for seed in range(12):
            frame = features(BUILDINGS, 50, seed)
            references.append(weakref.ref(frame))
            yield frame
            del frame
            gc.collect()
            most = max(most, sum(r() is not None for r in references))

    assert write_geopackage(tmp_path / "a.gpkg", [(BUILDINGS, source())], meta=META) == {"buildings": 600}
    assert most <= 1


def test_the_file_is_a_sound_geopackage_1_3_without_journals(tmp_path):
    path = tmp_path / "town.gpkg"
    write_all(path)
    assert names(tmp_path) == ["town.gpkg"]
    assert query(path, "PRAGMA user_version") == [(10300,)]
    assert query(path, "PRAGMA journal_mode") == [("delete",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "PRAGMA foreign_key_check") == []
    for layer in LAYERS:
        assert query(path, f"SELECT rtreecheck('rtree_{layer.name}_geom')") == [("ok",)]
    assert {t for (t,) in query(path, "SELECT last_change FROM gpkg_contents")} == {META.timestamp}


def test_gdals_validator_finds_nothing(tmp_path):
    probe = [SYSTEM_PYTHON, "-c", "import osgeo_utils.samples.validate_gpkg"]
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("GDAL's validate_gpkg is not installed (Debian: python3-gdal)")
    write_all(tmp_path / "town.gpkg")
    write_geopackage(tmp_path / "empty.gpkg", [(BUILDINGS, [])], meta=replace(META, crs_wkt=None))
    for path in tmp_path.glob("*.gpkg"):
        command = [SYSTEM_PYTHON, "-m", "osgeo_utils.samples.validate_gpkg", "-k", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("wkt", [UTM, CUSTOM, pyproj.CRS(4326).to_wkt(), pyproj.CRS(3857).to_wkt("WKT1_GDAL")])
def test_the_crs_is_kept(tmp_path, wkt):
    write_geopackage(tmp_path / "a.gpkg", [(BUILDINGS, [features(BUILDINGS, 3)])], meta=replace(META, crs_wkt=wkt))
    assert pyproj.CRS(pyogrio.read_info(tmp_path / "a.gpkg", layer="buildings")["crs"]) == pyproj.CRS(wkt)


def test_no_crs_is_the_undefined_plane_and_warns_nobody(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_all(tmp_path / "a.gpkg", meta=replace(META, crs_wkt=None))
    assert {s for (s,) in query(tmp_path / "a.gpkg", "SELECT srs_id FROM gpkg_geometry_columns")} == {-1}


def test_styles_are_where_qgis_looks(tmp_path):
    write_all(tmp_path / "a.gpkg")
    rows = query(
        tmp_path / "a.gpkg",
        "SELECT f_table_name, f_table_schema, f_geometry_column, useAsDefault, substr(styleQML, 1, 14) FROM layer_styles",
    )
    assert rows == [(layer.name, "", "geom", 1, "<!DOCTYPE qgis") for layer in LAYERS]


def test_the_manifest_can_be_found_from_every_layer(tmp_path):
    write_all(tmp_path / "a.gpkg")
    rows = query(
        tmp_path / "a.gpkg",
        "SELECT reference_scope, table_name, metadata FROM gpkg_metadata_reference JOIN gpkg_metadata"
        " ON md_file_id = id WHERE md_standard_uri = 'urn:geoseg:manifest'",
    )
    assert [(scope, table) for scope, table, _ in rows] == [
        ("geopackage", None),
        *(("table", layer.name) for layer in LAYERS),
    ]
    assert all(json.loads(text) == META.manifest for _, _, text in rows)


def test_fields_and_classes_are_described(tmp_path):
    write_all(tmp_path / "a.gpkg")
    titles = query(tmp_path / "a.gpkg", "SELECT column_name, title FROM gpkg_data_columns WHERE table_name='buildings'")
    assert dict(titles) == {f.name: f.alias for f in BUILDINGS.fields}
    values = query(
        tmp_path / "a.gpkg",
        "SELECT value FROM gpkg_data_column_constraints JOIN gpkg_data_columns USING (constraint_name)"
        " WHERE table_name = 'plants' AND column_name = 'class'",
    )
    assert {v for (v,) in values} == {"tree", "grass"}


@pytest.mark.parametrize(("look", "tags"), [
    (ImageryLook((3, 2, 1), (0.0, 3000.0)), ["redContrastEnhancement", "greenContrastEnhancement", "blueContrastEnhancement"]),
    (ImageryLook((2,), (-1.5, 2.0)), ["contrastEnhancement"]),
    (ImageryLook((4, 3, 2), None), []),
])  # fmt: skip
def test_imagery_that_is_no_rgb_of_bytes_is_drawn_as_the_model_sees_it(look, tags):
    meta = replace(META, imagery=(Imagery("../images/town.tif", look),))
    root = ET.fromstring(project_xml(LAYERS, meta, "town.gpkg").partition("\n")[2])  # noqa: S314 - our own
    (layer,) = (m for m in root.iter("maplayer") if m.findtext("id") == "geoseg_imagery")
    renderer = layer.find("pipe/rasterrenderer")
    named = ("grayBand",) if len(look.bands) == 1 else ("redBand", "greenBand", "blueBand")
    assert tuple(int(renderer.get(name)) for name in named) == look.bands
    assert [child.tag for child in renderer] == tags
    for child in renderer:
        assert (float(child.findtext("minValue")), float(child.findtext("maxValue"))) == look.value_range


def test_the_project_inside_is_the_project_beside(tmp_path):
    write_all(tmp_path / "town.gpkg")
    write_project(tmp_path / "town.qgz", LAYERS, meta=META, geopackage="town.gpkg")
    ((name, content),) = query(tmp_path / "town.gpkg", "SELECT name, content FROM qgis_projects")
    assert (name, bytes.fromhex(content)) == ("town", (tmp_path / "town.qgz").read_bytes())
    text = zipfile.ZipFile(tmp_path / "town.qgz").read("town.qgs").decode()
    for source in ("./town.gpkg|layername=buildings", "./town_classes.tif", "../images/town.tif"):
        assert f"<datasource>{source}</datasource>" in text
    assert str(tmp_path) not in text


def test_a_failing_source_raises_its_own_error_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "town.gpkg"
    write_all(path)
    before = sha256(path)
    for error in (RuntimeError("strip 3 is gone"), KeyboardInterrupt(), OutputError("no part 7")):

        def source(error=error):
            yield features(BUILDINGS, 10)
            raise error

        with pytest.raises(type(error)) as caught:
            write_geopackage(path, [(BUILDINGS, source())], meta=META)
        assert caught.value is error
        assert sha256(path) == before
        assert names(tmp_path) == ["town.gpkg"]


def test_gdals_options_are_put_back(tmp_path):
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2001-01-01T00:00:00.000Z"})
    try:
        write_all(tmp_path / "a.gpkg")
        with pytest.raises(OutputError):
            write_geopackage(tmp_path / "a.gpkg", [(BUILDINGS, [features(LAYERS[2], 1)])], meta=META)
        assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") == "2001-01-01T00:00:00.000Z"
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    write_all(tmp_path / "a.gpkg")
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None


def with_multipolygon():
    frame = features(BUILDINGS, 3)
    frame.geometry = [shapely.MultiPolygon([g]) if i == 1 else g for i, g in enumerate(frame.geometry)]
    return frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (with_multipolygon(), "row 1 has MultiPolygon, but the layer takes Polygon"),
        (features(BUILDINGS, 3).set_geometry([shapely.Point(0, 0)] * 3), "row 0 has Point"),
        (features(BUILDINGS, 3).set_geometry([shapely.Polygon()] * 3), "an empty Polygon"),
        (features(BUILDINGS, 3).set_geometry([None] * 3), "no geometry"),
        (features(BUILDINGS, 3).drop(columns="area_m2"), "no column area_m2"),
        (features(BUILDINGS, 3).assign(area_m2="wide"), "column 'area_m2' is not double"),
    ],
)
def test_what_does_not_fit_the_layer_is_refused(tmp_path, frame, message):
    with pytest.raises(OutputError, match=message):
        write_geopackage(tmp_path / "a.gpkg", [(BUILDINGS, [features(BUILDINGS, 2), frame])], meta=META)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name", ['a"; DROP TABLE gpkg_contents; --', "gpkg_x", "layer_styles", "RTREE_a", "", "ü", "a b", "1a", "a" * 64]
)
def test_unsafe_layer_names_are_refused(tmp_path, name):
    with pytest.raises(OutputError, match="name"):
        write_geopackage(tmp_path / "a.gpkg", [(replace(BUILDINGS, name=name), [])], meta=META)


@pytest.mark.parametrize("name", ["fid", "GEOM", "ID", 'x"y', "a-b"])
def test_unsafe_field_names_are_refused(tmp_path, name):
    layer = replace(BUILDINGS, fields=(*BUILDINGS.fields, Field(name, "int64", name, "")))
    with pytest.raises(OutputError, match="field of layer 'buildings'"):
        write_geopackage(tmp_path / "a.gpkg", [(layer, [])], meta=META)


def test_names_differ_by_more_than_case(tmp_path):
    with pytest.raises(OutputError, match="twice"):
        write_geopackage(tmp_path / "a.gpkg", [(BUILDINGS, []), (replace(BUILDINGS, name="Buildings"), [])], meta=META)


def test_names_in_texts_may_be_anything(tmp_path):
    # The last letter is what Python makes of a byte in a file name that is no UTF-8.
    meta = replace(
        META,
        imagery=(Imagery("../a\udcff.tif"),),
        manifest={"scene": "a\udcff"},
        scene="O'Brien \"&<\x02> 9]]> \udcff",
        title="'; DROP TABLE x; --",
        abstract="ä & <b>",
    )
    content, _ = write_all(tmp_path / "it's 100%.gpkg", meta=meta)
    assert len(geopandas.read_file(tmp_path / "it's 100%.gpkg", layer="buildings")) == len(content["buildings"])


def test_a_file_that_is_open_elsewhere_is_left_alone(tmp_path):
    path = tmp_path / "town.gpkg"
    write_all(path)
    before = sha256(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("SELECT count(*) FROM buildings").fetchone()
        with pytest.raises(OutputError, match="open in another program"):
            write_all(path, 3)
        other.execute("PRAGMA journal_mode = DELETE")
    write_all(path)
    assert sha256(path) == before


def test_the_name_must_end_in_gpkg_and_its_folder_be_one(tmp_path):
    with pytest.raises(OutputError, match=r"must end in \.gpkg"):
        write_all(tmp_path / "town.shp")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_all(tmp_path / "file" / "town.gpkg")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_geopackage import write_all
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
write_all(Path(sys.argv[1]), 2000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("limit_bytes", [0, 150_000, 600_000, 1_600_000])
def test_a_disk_that_fills_up_is_said_and_nothing_is_left(tmp_path, limit_bytes):
    here = Path(__file__).parent
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.gpkg"), str(limit_bytes), str(here)]
    env = os.environ | {"PYTHONPATH": str(here.parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    last = done.stderr.strip().splitlines()[-1]
    assert "geoseg.errors.OutputError" in last, done.stderr
    assert "cannot be written" in last
    assert len(last) < 400
    assert names(tmp_path) == []


def test_what_a_killed_writer_left_is_deleted(tmp_path):
    seen = []

    def source():
        seen.extend(names(tmp_path))
        yield features(BUILDINGS, 3)

    write_geopackage(tmp_path / "a.gpkg", [(BUILDINGS, []), (LAYERS[1], []), (MORE_BUILDINGS, source())], meta=META)
    (temporary,) = seen
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / temporary.replace(str(os.getpid()), str(dead.pid))
    left.touch()
    left.with_name(f"{left.name}-journal").touch()
    _sweep.cache_clear()  # a process looks once
    write_all(tmp_path / "a.gpkg")
    assert names(tmp_path) == ["a.gpkg"]
