"""Two forms of a map, raster and vectors, seen alike: rows of class ids, polygons of buildings, lines of roads."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import geopandas
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize

from geoseg.errors import ConfigError
from geoseg.legend import NODATA, Legend, LegendClass
from geoseg.raster.aligned import AlignedReader, PixelGrid
from geoseg.vector.features import ClassField, drawn, of_class, read_features, valid
from geoseg.vector.formats import is_vector_file
from geoseg.vector.measure import Ground, ground_pixel_size_m, widened

_TRUE = 0.01
"""Scales that differ by less from 1 are those of the ground: UTM's do by 0.001."""

_MOST_PX = 400_000
"""Side of the grid that vectors are compared on."""


class ClassMap(Protocol):
    """A map on the grid of the evaluation."""

    def rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """(rows, width) class ids, NODATA where nothing is known."""

    def polygons(self, c: LegendClass) -> geopandas.GeoDataFrame | None:
        """The objects of a class in the CRS of the grid; None where the map has pixels only."""

    def lines(self, c: LegendClass) -> NDArray[Any] | None:
        """The centrelines of a class in the CRS of the grid; None where the map has none."""


class RasterMap:
    """A class raster."""

    def __init__(
        self, path: Path, grid: PixelGrid, table: NDArray[np.uint8], named: Collection[int] = (), *, warp: bool
    ) -> None:
        """Open a class raster; raises ConfigError where it does not lie on the grid.

        `table` is (256,) class id by value. 0 and the values that are `named` say what they say where they are its nodata
        value too: 0/1 masks often call their 0 nodata.
        """
        self._reader = AlignedReader(path, grid, warp=warp, named={0, *named})
        self._table = table
        self._path = path

    def rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """(rows, width) class ids, NODATA where nothing is known; raises ConfigError for values of no class."""
        values, valid = self._reader.rows(start, stop)
        ids: NDArray[np.uint8] = np.where(valid, self._table[values], NODATA).astype(np.uint8)
        strange = ids == _STRANGE
        if strange.any():
            found = sorted({int(v) for v in values[strange]})
            raise ConfigError(
                f"{self._path}: values {found[:8]} belong to no class. Name them under `values` or `ignore` in a "
                "configuration file (--config)."
            )
        return ids

    def polygons(self, _: LegendClass) -> None:
        """None: a raster has pixels only."""

    def lines(self, _: LegendClass) -> None:
        """None: a raster has pixels only."""


class VectorMap:
    """Layers of polygons and lines, painted on the grid; where several lie, the class of the lower id is on top."""

    def __init__(
        self,
        path: Path,
        grid: PixelGrid,
        legend: Legend,
        layers: Mapping[str, str],
        *,
        line_width_m: float,
        only: ClassField | None = None,
    ) -> None:
        """`layers`: class → layer, of which `only` some features count.

        Raises ConfigError where one cannot be read or has no CRS.
        """
        self._grid = grid
        self._lines: dict[int, geopandas.GeoDataFrame] = {}
        self._polygons: dict[int, geopandas.GeoDataFrame] = {}
        ground = Ground.of(Affine(*grid.transform), grid.crs_wkt, (grid.height, grid.width))
        there = layer_names(path)
        for c in legend:
            if (layer := layers.get(c.name)) is None:
                continue
            frame = _read(path, layer, grid)
            frame = of_class(frame, c.name, layers, legend) if only is None else only.of(frame, c.name, path)
            areas = frame[frame.geom_type.isin(["Polygon", "MultiPolygon"])]
            if only is None and c.centerline_layer in there:
                lines = _of_lines(_read(path, c.centerline_layer, grid))
                self._lines[c.id] = of_class(lines, c.name, layers, legend)
            if (own := _of_lines(frame)).size:
                self._lines.setdefault(c.id, own)
                painted = widened(own, ground, line_width_m)
                areas = geopandas.GeoDataFrame(geometry=[*areas.geometry, *painted], crs=frame.crs)
            self._polygons[c.id] = areas.explode(index_parts=False).reset_index(drop=True)
        self._trees = {key: frame.sindex for key, frame in self._polygons.items()}
        everything = [f.total_bounds for f in (*self._polygons.values(), *self._lines.values()) if len(f)]
        if everything and not any(shapely.box(*bounds).intersects(_box(grid)) for bounds in everything):
            raise ConfigError(
                f"{path}: none of its features lies on the ground of the other map; check what belongs together."
            )

    def rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """(rows, width) class ids; background where no feature lies."""
        t, out = Affine(*self._grid.transform), np.zeros((stop - start, self._grid.width), np.uint8)
        north, south = t.f + t.e * start, t.f + t.e * stop
        box = shapely.box(t.c, south, t.c + t.a * self._grid.width, north)
        for key in sorted(self._polygons, reverse=True):
            near = self._polygons[key].geometry.iloc[np.sort(self._trees[key].query(box))]
            if len(near):
                rasterize(near, out=out, transform=t @ Affine.translation(0, start), default_value=key)
        return out

    def polygons(self, c: LegendClass) -> geopandas.GeoDataFrame | None:
        """The polygons of a class in the CRS of the grid, each by itself."""
        return self._polygons.get(c.id)

    def lines(self, c: LegendClass) -> NDArray[Any] | None:
        """The lines of a class in the CRS of the grid; None where it has polygons only."""
        frame = self._lines.get(c.id)
        return None if frame is None else np.asarray(frame.geometry.array, dtype=object)


_STRANGE = 254
"""Class id of values that belong to no class; a legend of that many classes is not compared."""


def value_table(
    legend: Legend, values: Mapping[str, tuple[int | str, ...]], ignore: tuple[int, ...]
) -> NDArray[np.uint8]:
    """(256,) class id by value; without `values`, ids are values, and what no class claims is an error."""
    table = np.full(256, 0 if values and "background" not in values else _STRANGE, np.uint8)
    table[NODATA] = NODATA
    if not values:
        table[: legend.channels] = np.arange(legend.channels)
    for key, name in enumerate(legend.category_names):
        table[[int(v) for v in values.get(name, ())]] = key
    table[[*ignore]] = NODATA
    return table


def is_vector(path: Path) -> bool:
    """Whether a file is named as one of vectors; raises ConfigError where there is none, or it is not what it is named."""
    if path.is_dir():
        raise ConfigError(
            f"{path}: is a folder, but a map is one file. Name a class raster, a GeoPackage or a GeoJSON."
        )
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file.")
    return is_vector_file(path)


def layer_names(path: Path) -> list[str]:
    """Names of the layers with a geometry; raises ConfigError."""
    try:
        layers = geopandas.list_layers(path.resolve())
    except (ValueError, OSError, RuntimeError) as exc:
        raise ConfigError(f"{path}: cannot be read ({exc}).") from exc
    return [str(name) for name in layers.loc[layers.geometry_type.notna(), "name"]]


def layers_by_class(path: Path, legend: Legend, named: Mapping[str, str], wanted: tuple[str, ...]) -> dict[str, str]:
    """The layer of each class in a file of vectors; classes without one are left out.

    Args:
        path: GeoPackage or GeoJSON.
        legend: its layers count where nothing else is `named`.
        named: class → layer.
        wanted: classes to look for; where that is one, and the file has one layer, it is that.

    Raises ConfigError where a named layer, or every layer, is missing.

    """
    there = layer_names(path)
    if lost := [f"'{layer}' ({name})" for name, layer in named.items() if layer not in there]:
        raise ConfigError(f"{path}: no layer {', '.join(lost)}; there are {', '.join(there)}.")
    found = {c.name: named.get(c.name, c.layer) for c in legend if c.name in wanted}
    # A network of lines alone is a road map too.
    lines = {c.name: c.centerline_layer for c in legend if c.name in wanted and c.centerline_layer in there}
    found = {name: layer if layer in there else lines.get(name, "") for name, layer in found.items()}
    found = {name: layer for name, layer in found.items() if layer}
    if not found and len(there) == len(wanted) == 1:
        return {wanted[0]: there[0]}
    if not found:
        raise ConfigError(
            f"{path}: its layers are {', '.join(there)}, but {', '.join(c.layer for c in legend)} are looked for. "
            "Say which class each holds under `layers`, or under `class_field` which field tells it, in a configuration file "
            "(--config)."
        )
    return found


def bounds_grid(paths: tuple[Path, Path], pixel_size_m: float) -> PixelGrid:
    """A grid over all features of two files of vectors, in the CRS of the second if its metres are those of the ground.

    Else, as in Web Mercator, in UTM.
    """
    of_file = [[geopandas.read_file(p.resolve(), layer=name) for name in layer_names(p)] for p in reversed(paths)]
    of_file = [[own for f in frames if f.crs is not None and len(own := f[drawn(f)])] for frames in of_file]
    frames = [frame for frames in of_file for frame in frames]
    if not frames:
        raise ConfigError(f"{paths[0]} and {paths[1]}: no feature with a CRS, so there is nothing to compare.")
    crs = frames[0].crs
    if not (crs.is_projected and _is_true(frames[0])):
        crs = frames[0].estimate_utm_crs()
    boxes = np.array([f.to_crs(crs).total_bounds for f in frames])
    if not np.isfinite(boxes).all():
        raise ConfigError(f"{paths[0]} and {paths[1]}: some features are too far from the others to lie on one map.")
    sides = np.split(boxes, [len(of_file[0])])
    if all(map(len, sides)):
        grounds = [shapely.box(*side[:, :2].min(axis=0), *side[:, 2:].max(axis=0)) for side in sides]
        if not grounds[0].intersects(grounds[1]):
            raise ConfigError(f"{paths[0]} and {paths[1]}: lie on different ground; check what belongs together.")
    west, south = np.floor(boxes[:, :2].min(axis=0) / pixel_size_m) * pixel_size_m
    east, north = boxes[:, 2:].max(axis=0)
    height, width = (max(1, int(np.ceil(n / pixel_size_m))) for n in (north - south, east - west))
    if max(height, width) > _MOST_PX:
        raise ConfigError(
            f"{paths[0]} and {paths[1]}: their features lie {max(height, width) * pixel_size_m / 1000:,.0f} km apart, too "
            f"far for a grid of {pixel_size_m:g} m. Delete those that are astray, or take coarser pixels (pixel_size_m)."
        )
    top = south + height * pixel_size_m
    return PixelGrid(height, width, crs.to_wkt(), (pixel_size_m, 0.0, float(west), 0.0, -pixel_size_m, float(top)))


def _is_true(frame: geopandas.GeoDataFrame) -> bool:
    """Whether the metres of its CRS are those of the ground where it lies."""
    west, south, east, north = frame.total_bounds
    around_middle = Affine(1, 0, (west + east) / 2 - 0.5, 0, -1, (south + north) / 2 + 0.5)
    return bool(np.allclose(ground_pixel_size_m(around_middle, frame.crs.to_wkt(), (1, 1)), 1, atol=_TRUE))


def _box(grid: PixelGrid) -> Any:
    """The ground of a grid."""
    a, _, west, _, e, north = grid.transform
    return shapely.box(west, north + e * grid.height, west + a * grid.width, north)


def _read(path: Path, layer: str, grid: PixelGrid) -> geopandas.GeoDataFrame:
    """The valid features of a layer in the CRS of the grid."""
    if not grid.crs_wkt:
        raise ConfigError(
            f"{path}: vectors need a map beside them, but the raster has no CRS. Set it with gdal_edit.py."
        )
    return valid(read_features(path, layer, grid.crs_wkt))


def _of_lines(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    lines = frame[frame.geom_type.isin(["LineString", "MultiLineString"])]
    return lines.explode(index_parts=False).reset_index(drop=True)
