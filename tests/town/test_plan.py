import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import fields

import numpy as np
import pytest
import shapely

from geoseg.errors import ConfigError
from geoseg.town.lots import SPACING_M
from geoseg.town.model import road_polygons
from geoseg.town.palettes import PALETTE_NAMES, PALETTES, Palette, palette_of
from geoseg.town.plan import plan_town
from geoseg.town.settings import TownSettings
from geoseg.town.shapes import SHAPES
from geoseg.town.truth import building_outlines


def wkb_of(town):
    parts = [s.area for s in town.surfaces] + [r.centerline for r in town.roads] + [b.footprint for b in town.buildings]
    return b"".join(shapely.to_wkb(parts)) + town.trees.tobytes() + town.cars.tobytes()


def footprints(town):
    return np.array([b.footprint for b in town.buildings], dtype=object)


def test_a_town_is_a_pure_function_of_its_settings():
    settings = TownSettings(size_px=(700, 900), seed=11, palette="tropical", collar=True)
    assert wkb_of(plan_town(settings)) == wkb_of(plan_town(settings))
    other = TownSettings(size_px=(700, 900), seed=12, palette="tropical", collar=True)
    assert wkb_of(plan_town(settings)) != wkb_of(plan_town(other))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_px": (255, 512)}, r"size_px is \(255, 512\)"),
        ({"palette": "lunar"}, "palette 'lunar'.*temperate"),
        ({"palette": "desert+lunar"}, "palette 'lunar'.*temperate"),
        ({"pixel_size_m": 3.0}, "pixel_size_m is 3.0.*0.1–1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"sun_elevation_deg": 3.0}, "sun_elevation_deg"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        TownSettings(**change)


def test_a_medley_takes_every_trait_from_one_of_its_palettes():
    mixed = [palette_of("desert+northern+autumn", seed) for seed in range(20)]
    for trait in fields(Palette):
        allowed = [getattr(PALETTES[name], trait.name) for name in ("desert", "northern", "autumn")]
        assert all(getattr(palette, trait.name) in allowed for palette in mixed)
    assert len({(palette.pitched, palette.lawn) for palette in mixed}) > 5
    assert palette_of("tropical", 3) == PALETTES["tropical"]
    assert palette_of("desert+autumn", 3) == palette_of("desert+autumn", 3)


def test_buildings_are_valid_and_off_the_roads(town):
    houses = footprints(town)
    assert len(houses) > 200
    assert shapely.is_valid(houses).all()
    assert shapely.area(houses).min() > 5
    assert not shapely.intersects(town.road_area, houses).any()


def test_buildings_keep_their_distance_or_share_a_wall(town):
    houses = footprints(town)
    first, second = shapely.STRtree(houses).query(houses, predicate="dwithin", distance=SPACING_M - 0.01)
    first, second = first[first < second], second[first < second]
    assert len(first) > 20
    shared = shapely.intersection(houses[first], houses[second])
    assert (shapely.get_dimensions(shared) == 1).all()  # a wall: neither apart, nor a corner, nor an overlap
    assert (shapely.length(shared) > 3).all()
    for i, j, wall in zip(first, second, shared, strict=True):
        ends = {tuple(c) for c in shapely.get_coordinates(wall)}
        corners = [{tuple(c) for c in shapely.get_coordinates(houses[k])} for k in (i, j)]
        assert ends <= corners[0] & corners[1]


def test_footprints_have_the_angles_of_their_shape(town):
    allowed = defaultdict(lambda: (90.0, 270.0), wing45=(90.0, 135.0, 225.0))
    seen = Counter()
    for building in town.buildings:
        if building.shape in ("circle", "block"):
            continue
        seen[building.shape] += 1
        for ring in (building.footprint.exterior, *building.footprint.interiors):
            xy = shapely.get_coordinates(ring)[:-1]
            before, after = np.roll(xy, 1, axis=0) - xy, np.roll(xy, -1, axis=0) - xy
            turn = np.arctan2(after[:, 1], after[:, 0]) - np.arctan2(before[:, 1], before[:, 0])
            angle = np.degrees(turn) % 360
            nearest = np.min(
                [np.minimum(np.abs(angle - a), np.abs(360 - angle - a)) for a in allowed[building.shape]], axis=0
            )
            assert nearest.max() < 0.2
            side = np.degrees(np.arctan2(after[:, 1], after[:, 0])) - building.orientation_deg
            off = np.abs((side + 22.5) % 45 - 22.5)
            assert off.max() < 0.2
    assert {"rectangle", "terrace", "l"} <= set(seen)


def test_every_shape_is_built_somewhere():
    town = plan_town(TownSettings(size_px=(1500, 1500), pixel_size_m=0.4, seed=3))
    assert {b.shape for b in town.buildings} == set(SHAPES)


def test_roads_form_a_network(town):
    ends = Counter(end for r in town.roads for end in (r.centerline.coords[0], r.centerline.coords[-1]))
    assert len(town.roads) >= 30
    assert sum(n >= 3 for n in ends.values()) > 15
    assert all(5 <= r.width_m <= 14 for r in town.roads)
    assert min(r.centerline.length for r in town.roads) > 3
    kinds = {r.kind for r in town.roads}
    assert {"arterial", "street", "roundabout"} <= kinds
    assert any(
        ends[r.centerline.coords[-1]] == 1 or ends[r.centerline.coords[0]] == 1 for r in town.roads if r.kind == "lane"
    )


def test_stretches_meet_only_at_shared_end_points(town):
    lines = np.array([r.centerline for r in town.roads], dtype=object)
    first, second = shapely.STRtree(lines).query(lines, predicate="intersects")
    for i, j in zip(first, second, strict=True):
        if i < j:
            both = {tuple(c) for c in shapely.get_coordinates(shapely.intersection(lines[i], lines[j]))}
            assert both <= {lines[i].coords[0], lines[i].coords[-1]} & {lines[j].coords[0], lines[j].coords[-1]}


def test_streets_are_curved(town):
    long = [r.centerline for r in town.roads if r.centerline.length > 80 and r.kind != "roundabout"]
    straight = [shapely.LineString([line.coords[0], line.coords[-1]]) for line in long]
    bulge = [shapely.hausdorff_distance(a, b) for a, b in zip(long, straight, strict=True)]
    assert np.median(bulge) > 0.3


def test_crowns_clear_the_buildings_and_barely_overhang_the_roads(town):
    crowns = shapely.STRtree(town.crowns)
    assert len(crowns.query(footprints(town), predicate="intersects")[0]) == 0
    overhang = shapely.area(shapely.intersection(shapely.union_all(town.crowns), town.road_area))
    assert overhang < 0.05 * town.road_area.area


def test_covers_stay_off_the_roads(town):
    areas = [s.area for s in town.surfaces if s.level == 1]
    assert shapely.area(shapely.intersection(shapely.union_all(areas), town.road_area)) < 1e-6


def test_outlines_merge_what_shares_walls(town):
    outlines = building_outlines(town)
    inside = [f for f in footprints(town) if f.intersects(town.footprint)]
    assert len(outlines) < len(inside)
    assert sum(o.area for o in outlines) == pytest.approx(
        sum(f.intersection(town.footprint).area for f in inside), rel=1e-3
    )
    rows = [o for o in outlines if sum(o.contains(f.centroid) for f in inside) > 1]
    straight = [len(o.exterior.coords) - 1 for o in rows if o.area / o.minimum_rotated_rectangle.area > 0.999]
    assert straight
    assert all(n == 4 for n in straight)


def test_the_collar_is_inside_the_scene(collared):
    scene = shapely.box(*collared.settings.bounds)
    assert collared.footprint.within(scene.buffer(0.01))
    assert 0.6 < collared.footprint.area / scene.area < 0.97


@pytest.mark.parametrize("palette", PALETTE_NAMES)
def test_every_climate_can_be_planned(palette):
    town = plan_town(TownSettings(size_px=(400, 400), seed=5, palette=palette, pixel_size_m=0.6))
    assert len(town.roads) > 0
    assert road_polygons(town.roads)[0].area > 0


def test_planning_imports_neither_torch_nor_dask():
    code = (
        "import sys, geoseg.town.chips, geoseg.town.write, geoseg.town.noisy;"
        "sys.exit(bool({'torch', 'dask', 'distributed', 'segmentation_models_pytorch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_a_large_town_has_what_the_quality_bars_need():
    town = plan_town(TownSettings(size_px=(8192, 8192), seed=8))
    inside = shapely.contains(town.footprint, footprints(town)).sum()
    curved = [r for r in town.roads if r.centerline.intersects(town.footprint)]
    assert inside >= 6000
    assert len(curved) >= 30
    assert {r.width_m for r in curved} >= {5.0, 14.0}
