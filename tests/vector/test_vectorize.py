"""Class rasters to layers, end to end."""

import hashlib
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio.features
import shapely
import shapely.affinity
from affine import Affine
from rasters import UTM, make_job, noise, settings, town

from geoseg.errors import BrokenRaster, OutputError
from geoseg.legend import DEFAULT_LEGEND, Legend, LegendClass
from geoseg.vector.schema import layers_of
from geoseg.vector.settings import BuildingSettings, RuleSettings, VectorSettings
from geoseg.vector.vectorize import assemble, block_rows, vectorize_block_row

AREAS = ["buildings", "roads", "green"]


def layers(job, parts=None):
    """All layers of a job, each in one frame in the order of the ids."""
    parts = parts or [vectorize_block_row(job, i) for i in range(block_rows(job))]
    found = {}
    for layer in layers_of(job.legend):
        chunks = [c for c in assemble(job, parts)[layer.name] if len(c)]
        empty = geopandas.GeoDataFrame({f.name: [] for f in layer.fields}, geometry=[], crs=job.crs)
        frame = geopandas.GeoDataFrame(pd.concat(chunks)) if chunks else empty
        found[layer.name] = frame.sort_values("id").reset_index(drop=True)
    return found


def same(one, other):
    """Whether two results are alike to the last bit, but for the order of the chunks."""
    for name, frame in one.items():
        assert len(frame) == len(other[name])
        assert (shapely.to_wkb(frame.geometry) == shapely.to_wkb(other[name].geometry)).all()
        pd.testing.assert_frame_equal(
            pd.DataFrame(frame.drop(columns="geometry")),
            pd.DataFrame(other[name].drop(columns="geometry")),
            check_exact=True,
        )
    return True


def burned(frames, shape, legend=DEFAULT_LEGEND):
    """The layers drawn back to a class raster."""
    ids = {c.layer: c.id for c in legend}
    shapes = [(g, ids[name]) for name, frame in frames.items() if name in ids for g in frame.geometry]
    return rasterio.features.rasterize(shapes, out_shape=shape, transform=UTM) if shapes else np.zeros(shape, np.uint8)


def test_layers_have_exactly_their_fields_and_reference_system(tmp_path):
    job = make_job(tmp_path, *town(300), how=VectorSettings())
    parts = [vectorize_block_row(job, 0)]
    for layer in layers_of(DEFAULT_LEGEND):
        (chunk,) = assemble(job, parts)[layer.name]
        assert list(chunk.columns) == [*(f.name for f in layer.fields), "geometry"]
        assert set(chunk.geom_type) == {layer.geometry}
        assert chunk.crs.to_epsg() == 32633
        kinds = {"int64": np.integer, "float64": np.floating, "string": np.object_, "bool": np.bool_}
        for field in layer.fields:
            assert np.issubdtype(
                chunk[field.name].to_numpy(dtype=None if field.type != "string" else object).dtype, kinds[field.type]
            )


def test_unsimplified_polygons_draw_the_class_raster_again(tmp_path):
    classes = noise(np.random.default_rng(1), (200, 230), nodata=0.1, smooth=2)
    job = make_job(tmp_path, classes, how=settings(block_rows=64))
    assert (burned(layers(job), classes.shape) == np.where(classes == 255, 0, classes)).all()


def test_simplified_layers_stay_within_the_tolerance_do_not_overlap_and_are_valid(tmp_path):
    classes, confidence = town(700, seed=4)
    job = make_job(tmp_path, classes, confidence, how=VectorSettings(block_rows=256))
    found = layers(job)
    areas = pd.concat(found[name] for name in AREAS)
    assert areas.is_valid.all()
    union = shapely.union_all(areas.geometry.to_numpy())
    assert areas.area.sum() == pytest.approx(union.area, rel=1e-9)
    drawn = burned(found, classes.shape)
    changed = drawn != classes
    distance = rasterio.features.rasterize(
        [
            (shapely.LineString(r.coords).buffer(1.75 * 0.3 + 0.3), 1)
            for g in areas.geometry
            for r in [g.exterior, *g.interiors]
        ],
        out_shape=classes.shape,
        transform=UTM,
    )
    # What is left are specks and pinholes.
    assert np.count_nonzero(changed & (distance == 0)) < 0.004 * classes.size
    assert np.count_nonzero(changed) < 0.02 * classes.size
    assert areas.count_coordinates().sum() < 0.15 * sum(
        len(r) for p, v in rasterio.features.shapes(classes) if v for r in p["coordinates"]
    )


def test_neighbours_share_their_borders_to_the_last_bit(tmp_path):
    classes = noise(np.random.default_rng(8), (150, 160), smooth=6)
    job = make_job(
        tmp_path, classes, how=settings(simplify_m=0.6, block_rows=50), transform=Affine(0.1, 0, 1 / 3, 0, -0.1, 7 / 9)
    )
    areas = pd.concat(layers(job)[name] for name in AREAS)
    assert shapely.coverage_is_valid(areas.geometry.to_numpy())


def test_any_order_and_any_process_give_the_same_bytes(tmp_path):
    classes, confidence = town(500, seed=2)
    how = VectorSettings(block_rows=128)
    one, two, three = (make_job(tmp_path / n, classes, confidence, how=how) for n in "abc")
    indexes = list(range(block_rows(one)))
    assert len(indexes) == 4
    first = [vectorize_block_row(one, i) for i in indexes]
    for i in (2, 0, 3, 1, 2):
        vectorize_block_row(two, i)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        third = list(pool.map(vectorize_block_row, [three] * 4, range(4)))
    second = [two.part(i) for i in range(4)]
    for a, b, c in zip(first, second, third, strict=True):
        assert hashlib.sha256(a.read_bytes()).digest() == hashlib.sha256(b.read_bytes()).digest()
        assert hashlib.sha256(a.read_bytes()).digest() == hashlib.sha256(c.read_bytes()).digest()
    assert same(layers(one, first), layers(three, third))


@pytest.mark.parametrize("block", [30, 77, 500])
def test_confidence_and_areas_equal_brute_force_for_any_blocks(tmp_path, block):
    rng = np.random.default_rng(3)
    classes = noise(rng, (300, 200), nodata=0.1, smooth=4)
    confidence = rng.integers(0, 101, classes.shape).astype(np.uint8)
    found = layers(make_job(tmp_path, classes, confidence, how=settings(block_rows=block)))
    for name in AREAS:
        frame = found[name]
        assert len(frame) > 10
        assert list(frame["id"]) == list(range(1, len(frame) + 1))
        drawn = rasterio.features.rasterize(
            zip(frame.geometry, frame["id"], strict=True), classes.shape, transform=UTM, dtype="int32"
        )
        first = []
        for row in frame.itertuples():
            mine = drawn == row.id
            assert row.confidence == pytest.approx(confidence[mine].mean() / 100, abs=1e-12)
            assert row.area_m2 == pytest.approx(mine.sum() * 0.09, rel=1e-6)
            first.append(int(np.flatnonzero(mine)[0]))
        assert first == sorted(first)


def test_without_confidence_the_column_is_empty(tmp_path):
    frame = layers(make_job(tmp_path, town(200)[0]))["buildings"]
    assert frame["confidence"].isna().all()
    assert len(frame)


def test_nodata_is_no_polygon_and_fills_no_hole(tmp_path):
    classes = np.full((60, 60), 3, np.uint8)
    classes[20:22, 20:22] = 255
    classes[40:42, 40:42] = 0
    job = make_job(
        tmp_path, classes, how=settings(area=RuleSettings(min_area_m2=0, min_hole_m2=1, min_area_px=0, min_hole_px=0))
    )
    (green,) = layers(job)["green"].geometry
    assert len(green.interiors) == 1
    assert green.area == pytest.approx((3600 - 4) * 0.09)


BOX = np.zeros((120, 100), np.uint8)
BOX[10:110, 10:90] = 3  # a lawn
BOX[58:63, 40:44] = 0  # a pinhole across the seam at row 60, 20 pixels
BOX[30:34, 20:24] = 1  # a house of 16 pixels in it
BOX[56:64, 70:80] = 0  # a clearing of 80 pixels with
BOX[59:62, 73:77] = 1  # a house of 12 pixels in it, across the seam


@pytest.mark.parametrize("block", [60, 61, 200])
@pytest.mark.parametrize(
    ("house_px", "hole_px", "houses", "holes"),
    [(0, 0, 2, 3), (0, 21, 2, 2), (16, 21, 1, 2), (17, 21, 0, 1), (17, 81, 0, 0), (0, 100, 2, 2)],
)
def test_specks_are_dropped_and_holes_filled_the_same_for_any_blocks(tmp_path, block, house_px, hole_px, houses, holes):
    none = settings().building
    how = settings(
        block_rows=block,
        building=none.model_copy(update={"min_area_px": house_px}),
        area=none.model_copy(update={"min_hole_px": hole_px}),
    )
    found = layers(make_job(tmp_path, BOX, how=how))
    (lawn,) = found["green"].geometry
    assert len(found["buildings"]) == houses
    assert len(lawn.interiors) == holes
    assert sum(b.intersection(lawn).area for b in found["buildings"].geometry) == 0


@pytest.mark.parametrize("seed", range(6))
def test_what_is_small_goes_the_same_way_for_any_blocks(tmp_path, seed):
    """Nothing is simplified or squared, which heeds the lattice of blocks."""
    scenes = [
        *(town(700, n) for n in range(4)),
        *((noise(np.random.default_rng(n), (500, 400), smooth=n),) * 2 for n in (3, 6)),
    ]
    classes, confidence = scenes[seed]
    found = []
    for block in (700, 300, 131, 64):
        how = VectorSettings(simplify_m=0.0, buildings=BuildingSettings(enabled=False), block_rows=block)
        found.append(layers(make_job(tmp_path / str(block), classes, confidence % 101, how=how)))
    for other in found[1:]:
        for name, frame in found[0].items():
            assert list(frame["id"]) == list(other[name]["id"])
            assert frame.geometry.geom_equals(other[name].geometry).all()
            if "confidence" in frame:
                assert frame["confidence"].equals(other[name]["confidence"])


@pytest.mark.parametrize("block", [256, 700])
def test_a_speck_on_a_seam_does_not_go_to_a_longer_one_beside_it(tmp_path, block):
    """A hair of green that does not touch the seam, and ends beyond the first rows looked at, is a speck too."""
    classes = np.ones((700, 200), np.uint8)
    classes[249:264, 90:93] = 2
    classes[257:357, 93] = 3
    how = VectorSettings(simplify_m=0.0, buildings=BuildingSettings(enabled=False), block_rows=block)
    found = layers(make_job(tmp_path, classes, how=how))
    (building,) = found["buildings"].geometry
    assert building.area == pytest.approx(700 * 200 * 0.09)
    assert not len(building.interiors)


def test_a_speck_too_long_for_the_first_look_goes_too(tmp_path):
    """A hair of 200 pixels over a seam, and one of as many that goes on: neither is seen whole within 64 rows."""
    classes = np.zeros((700, 60), np.uint8)
    classes[:, :20] = 3
    classes[250:450, 20] = 2
    classes[100:660, 40] = 2
    none = settings()
    how = none.model_copy(update={"road": none.road.model_copy(update={"min_area_px": 250}), "block_rows": 350})
    found = layers(make_job(tmp_path, classes, how=how))
    (road,) = found["roads"].geometry
    (lawn,) = found["green"].geometry
    assert road.area == pytest.approx(560 * 0.09)
    assert lawn.area == pytest.approx((700 * 20) * 0.09), "of equal borders the lowest class takes it"


@pytest.mark.parametrize(
    "classes",
    [
        np.zeros((70, 50), np.uint8),
        np.full((70, 50), 255, np.uint8),
        np.full((70, 50), 2, np.uint8),
        np.full((1, 90), 2, np.uint8),
        np.full((90, 1), 1, np.uint8),
        (np.indices((128, 130)).sum(axis=0) % 2 + 1).astype(np.uint8),
    ],
    ids=["background", "nodata", "one road", "one row", "one column", "checkerboard"],
)
def test_odd_scenes_end_well(tmp_path, classes):
    found = layers(make_job(tmp_path, classes, classes // 3, how=VectorSettings(block_rows=32)))
    for frame in found.values():
        assert frame.is_valid.all()


def test_a_large_checkerboard_ends_in_bounded_time_and_memory(tmp_path):
    classes = (np.indices((2048, 2048)).sum(axis=0) % 2).astype(np.uint8)
    found = layers(make_job(tmp_path, classes, how=VectorSettings()))
    assert not any(len(frame) for frame in found.values())


def test_classes_of_one_layer_share_it_but_keep_their_names(tmp_path):
    trees, grass = (
        LegendClass(id=i, name=n, color="#00ff00", layer="plants", rule="area") for i, n in ((1, "tree"), (2, "grass"))
    )
    classes = noise(np.random.default_rng(2), (80, 80), classes=3, smooth=4)
    found = layers(make_job(tmp_path, classes, legend=Legend((trees, grass))))
    assert set(found) == {"plants"}
    assert set(found["plants"]["class"]) == {"tree", "grass"}
    assert found["plants"].area.sum() == pytest.approx(np.count_nonzero(classes) * 0.09)


@pytest.mark.parametrize(("pixel_m", "drops"), [(0.1, 799), (10.0, 3)])
def test_limits_follow_the_ground_with_a_floor_in_pixels(tmp_path, pixel_m, drops):
    job = make_job(tmp_path, BOX, how=VectorSettings(), transform=Affine(pixel_m, 0, 500_000, 0, -pixel_m, 4_500_000))
    # UTM is shrunk by 0.04 % at its central meridian, so a pixel on the ground is a little larger.
    assert job.limits.min_area[1] == drops + 1 or job.limits.min_area[1] == drops + 2


def test_measures_do_not_depend_on_the_map(tmp_path):
    from geoseg.vector.measure import ground_pixel_size_m

    classes = town(200, seed=1)[0]
    mercator = Affine(0.5, 0, 1_113_195, 0, -0.5, 8_399_738)
    job = make_job(tmp_path, classes, how=settings(), transform=mercator, epsg=3857)
    height, width = ground_pixel_size_m(mercator, job.crs, classes.shape)
    frame = layers(job)["buildings"]
    assert frame["area_m2"].to_numpy() == pytest.approx(frame.area.to_numpy() / 0.25 * height * width, rel=1e-3)
    assert (frame["area_m2"] < 0.3 * frame.area).all()


def test_broken_inputs_are_named(tmp_path):
    job = make_job(tmp_path, BOX)
    with pytest.raises(OutputError, match="vectors_00000"):
        assemble(job, [job.part(0)])
    job.part(0).write_bytes(b"PK no")
    with pytest.raises(OutputError, match="vectors_00000"):
        assemble(job, [job.part(0)])
    job.classes.write_bytes(job.classes.read_bytes()[:500])
    with pytest.raises(BrokenRaster, match=r"classes\.tif"):
        vectorize_block_row(job, 0)


def test_vectorizing_imports_neither_torch_nor_dask():
    import subprocess

    code = (
        "import sys, geoseg.vector.vectorize; sys.exit(any(m in sys.modules for m in ('torch', 'dask', 'distributed')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def overlaps_m2(frames) -> float:
    """Area that two features of any layers share."""
    areas = np.concatenate([frames[name].geometry.to_numpy() for name in AREAS])
    one, other = shapely.STRtree(areas).query(areas, predicate="intersects")
    pairs = one < other
    return float(shapely.area(shapely.intersection(areas[one[pairs]], areas[other[pairs]])).sum())


@pytest.mark.parametrize("how", [VectorSettings(), settings(buildings=BuildingSettings(), simplify_m=None)], ids=str)
def test_squared_buildings_overlap_nothing_else(tmp_path, how):
    classes, confidence = town(500, seed=4)
    found = layers(make_job(tmp_path, classes, confidence, how=how.model_copy(update={"block_rows": 200})))
    assert overlaps_m2(found) < 1e-6
    assert found["buildings"]["regularized"].sum() > 15
    for name in AREAS:
        frame = found[name]
        assert frame["id"].is_unique
        assert frame.is_valid.all()
        assert set(frame.geom_type) == {"Polygon"}
        assert frame["area_m2"].to_numpy() == pytest.approx(frame.area.to_numpy(), rel=1e-6)


def test_squared_buildings_do_not_depend_on_blocks(tmp_path):
    classes, confidence = town(500, seed=4)
    found = []
    for block in (64, 230, 500):
        how = settings(buildings=BuildingSettings(), block_rows=block)  # no specks, whose fate a seam may change
        frame = layers(make_job(tmp_path / str(block), classes, confidence, how=how))["buildings"]
        found.append(frame[frame["regularized"]])
    assert len(found[0]) > 20
    for frame in found[1:]:
        assert same({"buildings": found[0]}, {"buildings": frame})


def terrace(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Class raster of a row of houses of two classes in turn, which share walls, and the houses in map coordinates."""
    classes = np.zeros((260, 300), np.uint8)
    houses = [shapely.box(40 + 40 * k, 110, 80 + 40 * k, 150 + 14 * (k % 2)) for k in range(5)]
    houses = shapely.affinity.rotate(shapely.MultiPolygon(houses), degrees, origin=(150, 130))
    rng = np.random.default_rng(1)
    scores = np.zeros((3, *classes.shape), np.float32)
    for k, house in enumerate(houses.geoms):
        scores[1 + k % 2] += rasterio.features.rasterize([house], out_shape=classes.shape)
    scores[0] = 1 - scores.sum(axis=0)
    scores = np.stack([cv2.GaussianBlur(s, (0, 0), 2) for s in scores])
    bumps = np.stack([cv2.GaussianBlur(n, (0, 0), 3) for n in rng.standard_normal(scores.shape).astype(np.float32)])
    classes = (scores + bumps * (0.08 / bumps.std())).argmax(axis=0).astype(np.uint8)
    return classes, shapely.transform(np.array(houses.geoms), lambda xy: xy * (UTM.a, UTM.e) + (UTM.c, UTM.f))


@pytest.mark.parametrize("degrees", [0, 9, 30, 45, 71])
def test_houses_that_share_walls_share_them_after_squaring(tmp_path, degrees):
    classes, houses = terrace(degrees)
    legend = Legend(
        tuple(
            LegendClass(id=i, name=n, color="#ff0000", layer="buildings", rule="building")
            for i, n in ((1, "brick"), (2, "timber"))
        )
    )
    found = layers(make_job(tmp_path, classes, how=VectorSettings(block_rows=128), legend=legend))["buildings"]
    assert len(found) == 5
    assert found["regularized"].all()
    polygons = found.geometry.to_numpy()
    assert shapely.coverage_is_valid(polygons)
    whole = shapely.union_all(polygons)
    assert (whole.geom_type, len(whole.interiors)) == ("Polygon", 0)
    assert found.count_coordinates().max() <= 9
    at, to = shapely.STRtree(houses).query(shapely.point_on_surface(polygons), predicate="within")
    assert len(at) == 5
    shared = shapely.area(shapely.intersection(polygons[at], houses[to]))
    assert (shared / shapely.area(shapely.union(polygons[at], houses[to]))).min() > 0.93


@pytest.mark.parametrize("degrees", [0, 20, 45, 77])
@pytest.mark.parametrize(
    ("transform", "epsg", "stretch"),
    [(UTM, 32633, 1.0), (Affine(3e-6, 0, 15, 0, -3e-6, 60), 4326, 2.0)],
    ids=["metres", "degrees"],
)
def test_walls_are_square_on_the_ground_and_directions_are_from_east(tmp_path, degrees, transform, epsg, stretch):
    """At 60° north a degree of longitude is half as long as one of latitude: pixels are half as wide as high."""
    house = shapely.affinity.rotate(shapely.box(0, 0, 60, 36), -degrees, origin=(0, 0))  # rows go down
    house = shapely.affinity.translate(shapely.affinity.scale(house, stretch, 1, origin=(0, 0)), 100 * stretch, 100)
    classes = rasterio.features.rasterize([house], out_shape=(220, int(220 * stretch)))
    job = make_job(tmp_path, classes, how=VectorSettings(), transform=transform, epsg=epsg)
    (found,) = layers(job)["buildings"].itertuples()
    assert (found.regularized, found.shape) == (True, "right angles")
    assert abs((found.orientation_deg - degrees + 45) % 90 - 45) < 0.7
    assert 0 <= found.orientation_deg < 90
    xy = shapely.get_coordinates(found.geometry) * (abs(1 / transform.a) / stretch, abs(1 / transform.e))
    sides = np.hypot(*np.diff(xy, axis=0).T)
    assert sorted(sides) == pytest.approx([36, 36, 60, 60], abs=0.7)


def test_buildings_end_at_the_scene_and_keep_their_outline_at_nodata(tmp_path):
    classes = np.zeros((150, 200), np.uint8)
    for k, x in enumerate((25, 130)):
        house = shapely.affinity.rotate(shapely.box(x, -20, x + 50, 40), 25)
        classes[rasterio.features.rasterize([house], out_shape=classes.shape) > 0] = 1
        if k:
            classes[:12, 100:] = 255
    found = layers(make_job(tmp_path, classes, how=VectorSettings()))["buildings"]
    assert list(found["regularized"]) == [True, False]
    assert list(found["shape"])[1] == "outline"
    assert np.isnan(found["orientation_deg"][1])
    assert found.total_bounds[3] == UTM.f
    nodata = shapely.box(UTM.c + 100 * UTM.a, UTM.f + 12 * UTM.e, UTM.c + 200 * UTM.a, UTM.f)
    assert found.intersection(nodata).area.sum() == 0
