"""Centrelines: right on simple roads, the same for any blocks, and a network that a router can use."""

from collections import Counter

import cv2
import networkx
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from rasters import UTM, make_job, settings, town
from skimage.morphology import skeletonize
from test_vectorize import layers, same

from geoseg.legend import DEFAULT_LEGEND, Legend
from geoseg.vector.network import traced
from geoseg.vector.settings import CenterlineSettings, VectorSettings


def painted(paths, width_px, shape=(900, 900)):
    """Roads along polylines (column, row): the pixels whose middle is on them."""
    roads = [(shapely.LineString(p).buffer(width_px / 2, cap_style="flat"), 2) for p in paths]
    return rasterio.features.rasterize(roads, out_shape=shape, dtype=np.uint8)


def lines_of(folder, classes, **kwargs):
    return layers(make_job(folder, classes, **kwargs))["road_centerlines"]


def on_map(path):
    return shapely.LineString([(UTM.a * x + UTM.c, UTM.e * y + UTM.f) for x, y in path])


@pytest.mark.parametrize("angle", [0, 17, 45, 80, 90])
@pytest.mark.parametrize("width_px", [12, 23])
def test_a_straight_road_gives_one_line_of_its_length_and_width(tmp_path, angle, width_px):
    turn = np.deg2rad(angle)
    half = 300 * np.array([np.cos(turn), np.sin(turn)])
    ends = [np.array([450, 450]) - half, np.array([450, 450]) + half]
    roads = painted([ends], width_px)
    (line,) = lines_of(tmp_path, roads, how=settings(block_rows=400)).itertuples()
    truth = on_map(ends)
    assert line.width_m == pytest.approx(np.count_nonzero(roads) * 0.09 / truth.length, abs=0.25)
    # The skeleton of a road that ends inside the scene stops short by up to half its width at either end.
    assert truth.length - 1.5 * width_px * 0.3 <= line.length_m <= truth.length + 0.6
    inner = shapely.segmentize(line.geometry, 0.3).intersection(truth.interpolate(0.5, normalized=True).buffer(80))
    assert max(shapely.distance(truth, shapely.points(inner.coords))) < 0.35
    assert shapely.get_num_coordinates(line.geometry) < 8


def test_lines_reach_the_edge_of_the_scene(tmp_path):
    (line,) = lines_of(tmp_path, painted([[(-50, 300), (950, 420)]], 20)).geometry
    assert line.bounds[0] == pytest.approx(UTM.c, abs=0.5)
    assert line.bounds[2] == pytest.approx(UTM.c + 270, abs=0.9)


def test_a_crossing_is_one_junction_with_one_end_point(tmp_path):
    lines = lines_of(tmp_path, painted([[(100, 450), (800, 450)], [(440, 100), (470, 800)]], 20)).geometry
    assert len(lines) == 4
    ends = Counter(p for line in lines for p in (line.coords[0], line.coords[-1]))
    assert sorted(ends.values()) == [1, 1, 1, 1, 4]
    (junction,) = (p for p, n in ends.items() if n == 4)
    assert shapely.Point(junction).distance(on_map([(455, 450), (456, 450)])) < 1.0


@pytest.mark.parametrize("block", [140, 900])
@pytest.mark.parametrize("angle", [90, 70, 50])
def test_a_street_goes_straight_on_where_another_meets_it(tmp_path, angle, block):
    """The junction of the skeleton alone lies 2.9 m off where streets meet at 70°, and 6.5 m off at 50°."""
    aside = np.array([450, 450]) + 330 * np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    roads = painted([[(100, 450), (800, 450)], [(450, 450), tuple(aside)]], 40)
    lines = lines_of(tmp_path, roads, how=settings(block_rows=block)).geometry
    assert len(lines) == 3
    ends = Counter(p for line in lines for p in (line.coords[0], line.coords[-1]))
    (junction,) = (p for p, n in ends.items() if n == 3)
    street = on_map([(130, 450), (770, 450)])
    assert shapely.Point(junction).distance(on_map([(449, 450), (451, 450)])) < 1.3
    assert shapely.Point(junction).distance(on_map([(100, 450), (800, 450)])) < 0.3
    middle = (
        shapely.union_all(lines.to_numpy())
        .intersection(street.buffer(3.0))
        .intersection(shapely.box(street.bounds[0], -1e9, street.bounds[2], 1e9))
    )
    near = shapely.get_coordinates(shapely.segmentize(middle, 0.5))
    assert np.quantile(shapely.distance(street, shapely.points(near)), 0.9) < 0.5


def test_a_bend_beside_a_junction_does_not_pull_it_away(tmp_path):
    roads = painted([[(450, 100), (450, 300)], [(400, 700), (400, 300), (560, 300), (560, 700)]], 26)
    lines = lines_of(tmp_path, roads).geometry
    ends = Counter(p for line in lines for p in (line.coords[0], line.coords[-1]))
    (junction,) = (p for p, n in ends.items() if n == 3)
    assert shapely.Point(junction).distance(on_map([(450, 300), (450.1, 300)])) < 1.5


def test_a_ring_and_a_roundabout_survive(tmp_path):
    around = [(450 + 200 * np.cos(a), 450 + 200 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 100)]
    (ring,) = lines_of(tmp_path / "ring", painted([around], 18), how=settings(block_rows=300)).geometry
    assert ring.is_ring
    assert ring.length == pytest.approx(2 * np.pi * 60, rel=0.01)
    crossing = lines_of(
        tmp_path / "arms", painted([around, [(650, 450), (900, 450)], [(0, 450), (250, 450)]], 18)
    ).geometry
    assert len(crossing) == 4


def test_bumps_give_no_spurs(tmp_path):
    roads = painted([[(100, 450), (800, 450)]], 20)
    for x in range(150, 760, 60):
        cv2.circle(roads, (x, 440), 8, 2, -1)
    assert len(lines_of(tmp_path, roads)) == 1


@pytest.mark.parametrize("block", [100, 170, 333])
def test_lines_are_the_same_for_any_blocks(tmp_path, block):
    classes, confidence = town(900, seed=6)
    how = VectorSettings(block_rows=900)
    whole = lines_of(tmp_path / "whole", classes, confidence=confidence, how=how)
    cut = lines_of(tmp_path / "cut", classes, confidence=confidence, how=how.model_copy(update={"block_rows": block}))
    assert len(whole) > 20
    assert same({"lines": whole}, {"lines": cut})


def test_lines_meet_only_at_their_ends_and_lie_on_the_roads(tmp_path):
    classes, confidence = town(900, seed=7)
    found = layers(make_job(tmp_path, classes, confidence, how=VectorSettings(block_rows=256)))
    lines, roads = found["road_centerlines"], shapely.union_all(found["roads"].geometry.to_numpy())
    assert lines.is_simple.all()
    assert (lines.length > 0).all()
    seen = lines[~lines["inferred"]]
    inside = sum(line.intersection(roads.buffer(0.5)).length for line in seen.geometry)
    assert inside > 0.995 * seen.length.sum()
    assert seen["confidence"].between(0, 1).all()
    assert seen["width_m"].between(2, 30).all()


def test_coarse_and_fine_pixels_are_thinned_sensibly(tmp_path):
    classes = painted([[(50, 450), (850, 480)]], 3)
    (line,) = lines_of(tmp_path / "s2", classes, transform=Affine(10, 0, 500_000, 0, -10, 4_500_000)).itertuples()
    assert line.length_m == pytest.approx(8006, rel=0.01)
    assert line.width_m == pytest.approx(30, abs=8)
    classes = painted([[(50, 450), (850, 480)]], 60)
    (line,) = lines_of(tmp_path / "drone", classes, transform=Affine(0.1, 0, 500_000, 0, -0.1, 4_500_000)).itertuples()
    assert line.width_m == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize("path", [[(100, 450), (800, 450)], [(450, 100), (450, 800)], [(200, 200), (700, 700)]])
def test_widths_are_those_on_the_ground_where_pixels_are_not_square(tmp_path, path):
    degrees = Affine(3e-6, 0, 24.9, 0, -3e-6, 60.2)  # pixels of 0.33 m by 0.17 m
    job = make_job(tmp_path, painted([path], 24), how=settings(), transform=degrees, epsg=4326)
    (line,) = layers(job)["road_centerlines"].itertuples()
    (height, width), step = job.ground.pixel_m, np.subtract(path[1], path[0])
    length = np.hypot(step[0] * width, step[1] * height)
    area = np.hypot(*step) * 24 * height * width
    assert line.width_m == pytest.approx(area / length, rel=0.05)


def test_centerlines_can_be_left_out(tmp_path):
    how = VectorSettings(centerlines=CenterlineSettings(enabled=False))
    assert len(lines_of(tmp_path, painted([[(100, 450), (800, 450)]], 20), how=how)) == 0


def test_traced_walks_every_edge_once():
    #  0 ── 1 ── 2      4 ⟲ 5     through 1, 4 and 5
    tail, head = np.array([1, 2, 4, 5]), np.array([0, 1, 5, 4])
    edges, offsets, closed = traced(tail, head, np.array([False, True, False, False, True, True]))
    assert sorted(edges % 4) == [0, 1, 2, 3]
    assert list(np.diff(offsets)) == [2, 2]
    assert sorted(closed) == [False, True]


def test_skeleton_of_a_block_with_its_halo_is_that_of_the_whole_scene():
    roads = town(900, seed=6)[0] == 2
    whole, halo = skeletonize(roads), 100
    for first in range(0, 900, 150):
        low, high = max(0, first - halo), min(900, first + 150 + halo)
        assert (skeletonize(roads[low:high])[first - low : first - low + 150] == whole[first : first + 150]).all()


@pytest.mark.parametrize("seed", range(4))
def test_every_line_is_valid_also_in_noise(tmp_path, seed):
    """Loops of a few pixels are smoothed to a point; that is no line."""
    values = cv2.GaussianBlur(np.random.default_rng(seed).random((500, 500)).astype(np.float32), (0, 0), 1.2)
    how = settings(centerlines=CenterlineSettings(island_m2=0.0))
    lines = lines_of(tmp_path, np.where(values > 0.46, 2, 0).astype(np.uint8), how=how)
    assert len(lines) > 50
    assert lines.geometry.is_valid.all()
    assert (lines.length_m > 0).all()


GREEN = 3


def with_gap(path, width_px, gap, shape=(600, 600), hidden=GREEN):
    """A road along a polyline, `hidden` below crowns in the columns of `gap`."""
    roads = painted([path], width_px, shape)
    missing = roads[:, slice(*gap)]
    missing[missing > 0] = hidden
    return roads


def bridging(metres):
    return settings(centerlines=CenterlineSettings(bridge_m=metres))


@pytest.mark.parametrize("block", [600, 110])
def test_a_gap_in_a_road_is_bridged(tmp_path, block):
    roads = with_gap([(40, 280), (560, 320)], 20, (290, 316))
    how = bridging(12.0).model_copy(update={"block_rows": block})
    found = layers(make_job(tmp_path, roads, how=how))
    lines, nodes = found["road_centerlines"], found["road_nodes"]
    assert sorted(lines["inferred"]) == [False, False, True]
    (bridge,) = lines[lines["inferred"]].itertuples()
    assert np.isnan(bridge.width_m)
    # The skeleton of a flat end leans to one of its corners, by less than half the width.
    assert bridge.geometry.distance(on_map([(303, 300.2), (304, 300.2)])) < 3.0
    assert sorted(nodes["degree"]) == [1, 1, 2, 2]
    assert set(lines["component"]) == {1}


@pytest.mark.parametrize("metres", [0.0, 5.0])
def test_a_gap_that_is_too_wide_is_none(tmp_path, metres):
    roads = with_gap([(40, 280), (560, 320)], 20, (290, 316))
    lines = lines_of(tmp_path, roads, how=bridging(metres))
    assert len(lines) == 2
    assert sorted(lines["component"]) == [1, 2]


@pytest.mark.parametrize("block", [600, 110])
def test_over_bare_ground_no_road_goes_on(tmp_path, block):
    """Two culs-de-sac look at each other, and one at a road."""
    roads = np.maximum(
        with_gap([(40, 280), (560, 320)], 20, (290, 316), hidden=0),
        with_gap([(40, 100), (300, 100)], 16, (270, 290), hidden=0)
        | painted([[(300, 40), (300, 200)]], 20, (600, 600)),
    )
    how = bridging(12.0).model_copy(update={"block_rows": block})
    assert not lines_of(tmp_path / "bare", roads, how=how)["inferred"].any()
    cv2.circle(roads, (296, 296), 6, GREEN, -1)  # a crown over a part of the gap is enough
    assert lines_of(tmp_path / "crown", roads, how=how)["inferred"].sum() == 1
    without_green = make_job(tmp_path / "legend", roads, how=how, legend=Legend(DEFAULT_LEGEND.classes[:2]))
    assert layers(without_green)["road_centerlines"]["inferred"].sum() == 2


def test_a_road_that_stops_before_another_is_led_to_it(tmp_path):
    roads = painted([[(300, 40), (300, 560)]], 22, (600, 600))
    roads = np.where(roads, roads, with_gap([(40, 300), (300, 300)], 16, (270, 290)))
    found = layers(make_job(tmp_path, roads, how=bridging(12.0)))
    lines, nodes = found["road_centerlines"], found["road_nodes"]
    assert sorted(lines["inferred"]) == [False, False, False, True]
    assert sorted(nodes["degree"]) == [1, 1, 1, 2, 3]
    (junction,) = nodes[nodes["degree"] == 3].geometry
    assert junction.distance(on_map([(300, 300), (301, 300)])) < 2.0


def test_parallel_roads_and_dead_ends_that_look_elsewhere_stay_apart(tmp_path):
    roads = painted([[(40, 200), (560, 200)], [(40, 232), (560, 232)]], 14, (600, 600))
    assert not lines_of(tmp_path / "parallel", roads, how=bridging(12.0))["inferred"].any()
    roads = painted([[(300, 40), (300, 280)], [(320, 300), (560, 300)]], 14, (600, 600))
    assert not lines_of(tmp_path / "corner", roads, how=bridging(3.0))["inferred"].any()


def check_graph(lines, nodes):
    """Ids, ends, degrees and components of lines and nodes agree with one another."""
    assert list(nodes["id"]) == list(range(1, len(nodes) + 1))
    assert list(lines["id"]) == list(range(1, len(lines) + 1))
    place = dict(zip(nodes["id"], nodes.geometry, strict=True))
    for side, column in ((0, "from_node"), (-1, "to_node")):
        assert all(
            line.coords[side] == place[node].coords[0] for line, node in zip(lines.geometry, lines[column], strict=True)
        )
    ends = Counter([*lines["from_node"], *lines["to_node"]])
    assert list(nodes["degree"]) == [ends[node] for node in nodes["id"]]
    parts = networkx.Graph(list(zip(lines["from_node"], lines["to_node"], strict=True)))
    expected = sorted(sorted(part) for part in networkx.connected_components(parts))
    assert expected == sorted(sorted(group) for group in nodes.groupby("component")["id"].apply(list))
    component = dict(zip(nodes["id"], nodes["component"], strict=True))
    assert list(lines["component"]) == [component[node] for node in lines["from_node"]]


@pytest.mark.parametrize("block", [900, 128])
def test_lines_and_nodes_are_one_graph(tmp_path, block):
    classes, confidence = town(900, seed=6)
    found = layers(make_job(tmp_path, classes, confidence, how=VectorSettings(block_rows=block)))
    check_graph(found["road_centerlines"], found["road_nodes"])


def test_nodes_are_the_same_for_any_blocks_also_in_noise(tmp_path):
    values = cv2.GaussianBlur(np.random.default_rng(5).random((500, 500)).astype(np.float32), (0, 0), 2.0)
    classes = np.where(values > 0.5, 2, 0).astype(np.uint8)
    how = VectorSettings()
    found = [
        layers(make_job(tmp_path / str(rows), classes, how=how.model_copy(update={"block_rows": rows})))
        for rows in (500, 97)
    ]
    one, other = ({name: f[name] for name in ("road_centerlines", "road_nodes")} for f in found)
    assert len(one["road_nodes"]) > 100
    assert same(one, other)


def test_trees_on_a_wide_road_do_not_part_it(tmp_path):
    roads = painted([[(100, 450), (800, 450)]], 44)
    for x in range(150, 760, 120):
        cv2.circle(roads, (x, 452), 10, 3, -1)
    (line,) = lines_of(tmp_path, roads).itertuples()
    assert line.length_m == pytest.approx(200, abs=14)
