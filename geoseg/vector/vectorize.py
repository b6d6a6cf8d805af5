"""From a class raster to the features of its layers.

    class raster ─▶ blocks (any order, any process) ─▶ parts ─▶ regions joined over the seams ─▶ layers, in chunks

`vectorize_block_row` does the heavy work; `assemble` joins what came of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import geopandas
import numpy as np
import shapely

from geoseg.memory import give_back_memory
from geoseg.vector.arrays import Floats, Ints
from geoseg.vector.assemble import Selection, delivered, idle_of, rings_by_block
from geoseg.vector.blocks import vectorize_block_row
from geoseg.vector.buildings import SHAPES
from geoseg.vector.centerlines import Centerlines, centerlines, node_xy
from geoseg.vector.footprints import Footprints, Polygons, Shelf
from geoseg.vector.job import VectorJob, block_rows
from geoseg.vector.losses import RoadLosses, of_no_class, sieved_away
from geoseg.vector.rings import Rings
from geoseg.vector.road_cut import cut, with_grid_vertices
from geoseg.vector.road_network import RoadNetwork, road_network
from geoseg.vector.schema import BUILDING_FIELDS, Layer, Look, layers_of
from geoseg.vector.seams import Regions, joined
from geoseg.vector.squaring import orientation_deg, outlines, squared_scene, without

__all__ = ["VectorJob", "assemble", "block_rows", "vectorize_block_row"]

Chunks = Iterator[geopandas.GeoDataFrame]
"""Features of a layer in map coordinates, some at a time."""

_SLIVER_PX2 = 1e-5
"""Area up to which what a rounded corner cut off is nothing."""


def assemble(
    job: VectorJob, parts: Sequence[Path], warn: Callable[[str], None] = lambda _: None
) -> Mapping[str, Chunks]:
    """The features of every layer of the legend, from the parts of all blocks in order.

    Each layer comes as frames with exactly its fields; a layer may have none. `id` numbers its features by their first
    pixel in row-major order, and of those in pieces the first piece; the number of features is added for each piece
    more. A feature is given out once all of it was seen, so ids do not ascend through the chunks. Each layer is
    streamed by itself, and holds no more than the features that are still open. Squared buildings are kept in the job's
    folder until the layers were read.
    `warn` is told what is left out in unusual measure: of classes at once, of roads when their lines were read.
    Raises OutputError where a part is missing or broken.
    """
    regions = joined(parts, job.block_height, job.shape)
    features = delivered(regions, job.limits)
    selection = Selection(features, idle_of(parts, regions, features), job.limits)
    shelf = squared_scene(job, parts, regions, selection) if job.settings.buildings.enabled else None
    network_of = cache(partial(road_network, job, parts))
    for loss in (*of_no_class(job, regions), *sieved_away(job, regions, features)):
        warn(loss)
    return {
        layer.name: _chunks(job, parts, regions, _of_layer(selection, regions, layer), layer, shelf)
        if layer.geometry == "Polygon"
        else _network_chunks(job, network_of, layer, RoadLosses(job, layer, regions, features, warn))
        for layer in layers_of(job.legend)
    }


def _chunks(
    job: VectorJob, parts: Sequence[Path], regions: Regions, selection: Selection, layer: Layer, shelf: Shelf | None
) -> Chunks:
    if layer.look == "building":
        found = outlines(job, parts, regions, selection) if shelf is None else shelf
        return _building_chunks(job, regions, selection, found)
    return _polygon_chunks(job, parts, regions, selection, layer.look, shelf)


def _of_layer(features: Selection, regions: Regions, layer: Layer) -> Selection:
    """Those of the features that belong to a layer."""
    return replace(features, wanted=features.wanted & np.isin(regions.value, [c.id for c in layer.classes]))


def _building_chunks(job: VectorJob, regions: Regions, selection: Selection, buildings: Iterable[Footprints]) -> Chunks:
    number = np.cumsum(selection.wanted, dtype=np.int64)
    for found in buildings:
        mine = found.picked(selection.wanted[found.region])
        on_map, whole = _on_map(job, mine.polygons)
        mine = mine.picked(whole)
        ids = number[mine.region] + int(number[-1]) * _places(mine.region)
        frame = _polygons(job, regions, mine.region, on_map, ids)
        frame["regularized"] = mine.squared
        frame["shape"] = np.array(SHAPES, dtype=object)[mine.shape]
        frame["orientation_deg"] = orientation_deg(job, mine)
        yield frame[[*(f.name for f in BUILDING_FIELDS), "geometry"]]


def _polygon_chunks(
    job: VectorJob, parts: Sequence[Path], regions: Regions, selection: Selection, look: Look, buildings: Shelf | None
) -> Chunks:
    number = np.cumsum(selection.wanted, dtype=np.int64)

    def frame(rings: Rings) -> geopandas.GeoDataFrame:
        region, pieces = _pieces(job, regions, rings, look, buildings)
        polygons, whole = _on_map(job, pieces)
        region = region[whole]
        made = _polygons(job, regions, region, polygons, number[region] + int(number[-1]) * _places(region))
        if look == "road":
            made.insert(made.columns.get_loc("scene"), "part_of", number[region])
        return made

    # No loop: its variables would outlive the chunk while the next is made, and a road network may be most of a scene.
    return map(frame, rings_by_block(parts, regions, selection))


def _pieces(
    job: VectorJob, regions: Regions, rings: Rings, look: Look, buildings: Shelf | None
) -> tuple[Ints, Polygons]:
    """Polygons in pixels without buildings, roads cut on the grid, and the region of each."""
    region, polygons = rings.owner[rings.shell], rings.polygons(rings.xy.astype(np.float64))
    if buildings is not None:
        polygons, whole = without(polygons, buildings, job.limits.min_area[regions.value[region]])
        region = region[whole]
    if job.cut_px:
        polygons = with_grid_vertices(polygons, job.cut_px)
    if look == "road" and job.cut_px:
        polygons, whole = cut(polygons, job.cut_px)
        region = region[whole]
    return region, polygons


def _places(region: Ints) -> Ints:
    """For each of some pieces, how many pieces of its region come before it."""
    order = np.argsort(region, kind="stable")
    first = np.searchsorted(region[order], region[order])
    places = np.empty_like(region)
    places[order] = np.arange(len(region)) - first
    return places


def _on_map(job: VectorJob, polygons: Polygons) -> tuple[Polygons, Ints]:
    """Polygons given in pixels in map coordinates, valid, and which polygon each is of.

    Where buildings were cut out, a corner may lie so near to a wall that it comes to lie across it when it is rounded.
    """
    on_map = shapely.transform(polygons, job.to_map)
    crossed = ~shapely.is_valid(on_map)
    if not crossed.any():
        return on_map, np.arange(len(on_map))
    on_map[crossed] = shapely.make_valid(on_map[crossed])
    parts, whole = shapely.get_parts(on_map, return_index=True)
    parts, part_of = shapely.get_parts(parts, return_index=True)  # of a collection of polygons and lines
    whole = whole[part_of]
    pixel = abs(job.transform.determinant)
    solid = ~crossed[whole] | (shapely.area(parts) > _SLIVER_PX2 * pixel)
    return parts[solid], whole[solid]


def _polygons(job: VectorJob, regions: Regions, region: Ints, on_map: Polygons, ids: Ints) -> geopandas.GeoDataFrame:
    """Polygons in map coordinates with their attributes."""
    names = np.array(job.legend.category_names, dtype=object)
    columns = {
        "id": ids,
        "class": names[regions.value[region]],
        "area_m2": job.ground.area_m2(on_map),
        "perimeter_m": job.ground.length_m(on_map),
        "confidence": mean_confidence(job, regions.confidence[region], regions.own[region]),
        "scene": np.full(len(region), job.scene, dtype=object),
    }
    return geopandas.GeoDataFrame(columns, geometry=on_map, crs=job.crs or None)


def _network_chunks(
    job: VectorJob, network_of: Callable[[tuple[int, ...]], RoadNetwork], layer: Layer, losses: RoadLosses
) -> Chunks:
    """The lines or the nodes of a network, which is made once for both."""
    network = network_of(tuple(c.id for c in layer.classes))
    give_back_memory()
    yield from _line_chunks(job, network, losses) if layer.look == "centerline" else _node_chunks(job, network)


def _line_chunks(job: VectorJob, network: RoadNetwork, losses: RoadLosses) -> Chunks:
    count = 0
    for lines in centerlines(job, network):
        frame = _lines(job, network, lines, count)
        losses.add(frame["width_m"].to_numpy(), frame["length_m"].to_numpy())
        count += len(frame)
        yield frame
    losses.tell()


def _lines(job: VectorJob, network: RoadNetwork, lines: Centerlines, count: int) -> geopandas.GeoDataFrame:
    """Centrelines with their attributes, numbered on from `count`."""
    names = np.array(job.legend.category_names, dtype=object)
    tail, head = network.edges.tail[lines.edge], network.edges.head[lines.edge]
    columns = {
        "id": np.arange(count + 1, count + 1 + len(lines.value)),
        "class": names[lines.value],
        "length_m": job.ground.length_m(lines.lines),
        "width_m": lines.width_m,
        "width_std_m": lines.width_std_m,
        "confidence": lines.confidence,
        "inferred": network.inferred[lines.edge],
        "component": network.component[tail],
        "from_node": tail + 1,
        "to_node": head + 1,
        "scene": np.full(len(lines.value), job.scene, dtype=object),
    }
    return geopandas.GeoDataFrame(columns, geometry=lines.lines, crs=job.crs or None)


def _node_chunks(job: VectorJob, network: RoadNetwork) -> Chunks:
    count = len(network.nodes)
    columns = {
        "id": np.arange(1, count + 1),
        "degree": network.degree,
        "component": network.component,
        "scene": np.full(count, job.scene, dtype=object),
    }
    points = shapely.points(node_xy(job, network.place))
    yield geopandas.GeoDataFrame(columns, geometry=points, crs=job.crs or None)


def mean_confidence(job: VectorJob, total: Ints, pixels: Ints) -> Floats:
    """Mean confidence, 0–1, from sums of 0–100; NaN where there is no confidence raster."""
    if job.confidence is None:
        return np.full(len(total), np.nan)
    mean: Floats = total / (100.0 * pixels)
    return mean
