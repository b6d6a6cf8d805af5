"""Towns as files: the photograph, and the truth to compare a map with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from geoseg.files import atomic
from geoseg.raster.scene_writer import ImageRows, ImageSpec, write_geotiff
from geoseg.town.geometry import polygons_of
from geoseg.town.model import Town
from geoseg.town.render import SQUARE_PX, render
from geoseg.town.truth import class_raster, seen_mask, transform_of


def write_scene(town: Town, path: Path) -> None:
    """The photograph as a tiled DEFLATE GeoTIFF, uint8 RGB; a collar becomes an internal mask."""
    write_geotiff(path, _photograph(town), _spec(town, 3))


def write_truth(town: Town, folder: Path) -> None:
    """`truth.gpkg` (buildings, roads, road_centerlines, green) and `truth_classes.tif` in a folder.

    Features are cut to what the camera saw, as the class raster is.
    """
    with atomic(folder / "truth.gpkg") as tmp:
        for layer, frame in truth_layers(town).items():
            frame.to_file(tmp, layer=layer, driver="GPKG", engine="pyogrio")
    write_geotiff(folder / "truth_classes.tif", _classes(town), _spec(town, 1))


def truth_layers(town: Town) -> "dict[str, gpd.GeoDataFrame]":
    """The layers of the truth, cut to the scene's footprint, in its CRS."""
    seen = town.footprint
    green = polygons_of(shapely.intersection(town.green_area, seen), 1e-6)
    roads = polygons_of(shapely.intersection(town.road_area, seen), 1e-6)
    buildings = [b for b in town.buildings if b.footprint.intersects(seen)]
    lines = [r for r in town.roads if r.centerline.intersects(seen)]
    return {
        "buildings": _frame(
            town,
            _cut([b.footprint for b in buildings], seen),
            {
                "shape": [b.shape for b in buildings],
                "height_m": [b.height_m for b in buildings],
                "orientation_deg": [b.orientation_deg for b in buildings],
            },
        ),
        "roads": _frame(town, roads, {}),
        "road_centerlines": _frame(
            town,
            _cut([r.centerline for r in lines], seen),
            {"width_m": [r.width_m for r in lines], "kind": [r.kind for r in lines]},
        ),
        "green": _frame(town, green, {}),
    }


def _frame(town: Town, geometry: Any, columns: dict[str, list[Any]]) -> "gpd.GeoDataFrame":
    """Features of one kind, without those of which the cut left nothing, and with their areas or lengths."""
    frame = gpd.GeoDataFrame(columns, geometry=list(geometry), crs=town.settings.crs)
    frame = frame[~frame.geometry.is_empty].reset_index(drop=True)
    return frame.explode(index_parts=False, ignore_index=True)


def _cut(geometries: list[Any], seen: Any) -> Any:
    """Geometries cut to the footprint; those inside it keep their vertices as they are."""
    array = np.array(geometries, dtype=object)
    shapely.prepare(seen)
    out = np.flatnonzero(~shapely.covers(seen, array))
    array[out] = shapely.intersection(array[out], seen)
    return array


def _spec(town: Town, count: int) -> ImageSpec:
    height, width = town.settings.size_px
    transform = tuple(transform_of(town))[:6]
    masked = town.settings.collar and count == 3
    return ImageSpec(height=height, width=width, count=count, crs=town.settings.crs, transform=transform, masked=masked)


def _rows(town: Town) -> Iterator[tuple[int, int]]:
    height = town.settings.size_px[0]
    for first in range(0, height, SQUARE_PX):
        yield first, min(first + SQUARE_PX, height)


def _photograph(town: Town) -> Iterator[ImageRows]:
    for rows in _rows(town):
        yield render(town, rows), seen_mask(town, rows) if town.settings.collar else None


def _classes(town: Town) -> Iterator[ImageRows]:
    for rows in _rows(town):
        yield class_raster(town, rows)[None], None
