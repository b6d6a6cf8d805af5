"""The writer of GeoPackages: features streamed in constant memory, published by one rename.

    chunks of features ──▶ Arrow batches ──▶ GDAL ──▶ hidden file ──▶ styles, metadata, project ──▶ rename

The same features give the same bytes: times are given, and GDAL's spatial index is built the same way on every machine.
GDAL's GeoPackage driver and SQLite's writers of one process do not see each other's locks, so the two take turns.
"""

import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray

from geoseg.errors import OutputError
from geoseg.files import atomic, write_error
from geoseg.legend import QGIS_TABLES, RESERVED_TABLES
from geoseg.memory import give_back_memory
from geoseg.vector.digest import digest_rows
from geoseg.vector.formats import check_closed
from geoseg.vector.metadata import GeoPackageMeta, layer_title
from geoseg.vector.schema import FieldType, GeometryType, Layer
from geoseg.vector.styles import FID
from geoseg.vector.tables import GEOMETRY, add_digests, add_tables

__all__ = ["GeoPackageMeta", "write_geopackage"]

BATCH_ROWS = 16_384
"""Rows of one Arrow batch."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_ARROW: Mapping[FieldType, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
}
_SHAPELY_TYPE: Mapping[GeometryType, shapely.GeometryType] = {
    "Point": shapely.GeometryType.POINT,
    "LineString": shapely.GeometryType.LINESTRING,
    "Polygon": shapely.GeometryType.POLYGON,
}
_DATASET_OPTIONS = {
    "VERSION": "1.3",  # GDAL's default of 1.4 makes QGIS 3.22 warn each time the file is opened
}
_UNDEFINED_CRS = 'LOCAL_CS["Undefined Cartesian SRS"]'
"""GDAL knows it by this name as the standard's srs_id -1; from no CRS at all it would make one of its own, 99999."""

_GDAL_LOCK = threading.Lock()
"""GDAL's options belong to the process, so one file is written at a time."""


def write_geopackage(
    path: Path,
    layers: Sequence[tuple[Layer, Iterable[geopandas.GeoDataFrame]]],
    *,
    meta: GeoPackageMeta,
    replacing: Callable[[Path], None] = check_closed,
) -> dict[str, int]:
    """Write all layers, with their styles, metadata and project, and return the rows of each.

    Each layer comes with chunks of its features, in the order they are written: frames with the columns of its fields
    and geometries of its type, in the scene's CRS. A layer without chunks becomes an empty typed table. Memory does not
    grow with the number of chunks. `replacing` is called with the path when all is written and what stands there, if
    anything does, is about to be replaced: what was saved there in the meantime can still be kept.

    Raises OutputError where names are unsafe, a chunk does not fit its layer, the file is open in another program, or
    the disk is full; then nothing stands at `path` that did not before. Errors of the chunks' source pass through.
    """
    schemas = [layer for layer, _ in layers]
    _check_names(path, schemas)
    check_closed(path)
    try:
        with atomic(path) as temporary:
            with _GDAL_LOCK, _gdal_options(meta.timestamp):
                sent = {layer.name: _write_layer(temporary, layer, chunks, meta) for layer, chunks in layers}
            with closing(sqlite3.connect(temporary, isolation_level=None)) as db:
                add_tables(db, schemas, meta, path.name)
                _check_rows(db, sent)
                add_digests(db, {table: digest_rows(db, table) for table in (*sent, *QGIS_TABLES)}, meta)
            replacing(path)
    except _SourceError as exc:
        raise exc.error from None
    except (sqlite3.Error, RuntimeError) as exc:  # RuntimeError is the base of pyogrio's errors
        # GDAL puts the whole statement before the reason.
        raise write_error(path, str(exc).rpartition(" failed: ")[2].splitlines()[0].rstrip(".)")) from exc
    return sent


def _check_names(path: Path, layers: Sequence[Layer]) -> None:
    """Raise OutputError unless every name is plain: names go into SQL and XML."""
    if path.suffix != ".gpkg":
        raise OutputError(f"{path}: the name of a GeoPackage must end in .gpkg.")
    _check_unique("layer", [layer.name for layer in layers])
    for layer in layers:
        if layer.name.lower().startswith(RESERVED_TABLES):
            raise OutputError(f"layer '{layer.name}': names that begin with {', '.join(RESERVED_TABLES)} are taken.")
        _check_unique(f"field of layer '{layer.name}'", [FID, GEOMETRY, *(f.name for f in layer.fields)])


def _check_unique(what: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not _NAME.fullmatch(name):
            raise OutputError(f"{what}: {name!r} is not a plain name (letters, digits, _; at most 63).")
        if name.lower() in seen:  # SQLite does not tell upper case from lower
            raise OutputError(f"{what}: {name!r} is there twice.")
        seen.add(name.lower())


@contextmanager
def _gdal_options(timestamp: str) -> Iterator[None]:
    """Set what makes GDAL's bytes the same on each day and machine; put back what was set before."""
    options = {
        "OGR_CURRENT_DATE": timestamp,
        # By default the index is built by a thread where there are two cores, and in a tenth of the machine's RAM.
        "OGR_GPKG_ALLOW_THREADED_RTREE": "NO",
        "OGR_GPKG_MAX_RAM_USAGE_RTREE": str(64 << 20),
    }
    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


def _write_layer(path: Path, layer: Layer, chunks: Iterable[geopandas.GeoDataFrame], meta: GeoPackageMeta) -> int:
    """Stream the chunks of one layer into the file; returns the rows sent."""
    stream = _Stream(layer, chunks)
    try:
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(stream.schema, stream),
            path,
            layer=layer.name,
            driver="GPKG",
            geometry_name=GEOMETRY,
            geometry_type=layer.geometry,
            crs=meta.crs_wkt or _UNDEFINED_CRS,
            dataset_options=None if path.exists() else _DATASET_OPTIONS,
            layer_options={
                "GEOMETRY_NAME": GEOMETRY,
                "FID": FID,
                "SPATIAL_INDEX": "YES",
                "IDENTIFIER": layer_title(layer, meta),
                "DESCRIPTION": f"{layer.geometry} features: {', '.join(c.name for c in layer.classes)}",
            },
        )
    except RuntimeError:
        if stream.error is not None:  # Arrow has turned it into text
            raise _SourceError(stream.error) from None
        raise
    give_back_memory()
    return stream.rows


class _SourceError(Exception):
    """An error of the chunks' source, on its way past the handling of the writer's own errors."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class _Stream:
    """The chunks of a layer as Arrow batches, counted; keeps the error that ended it.

    All batches but the last have BATCH_ROWS rows, so the way features were cut into chunks leaves no trace in the file.
    """

    def __init__(self, layer: Layer, chunks: Iterable[geopandas.GeoDataFrame]) -> None:
        geometry = pa.field(GEOMETRY, pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
        self.schema = pa.schema([*((f.name, _ARROW[f.type]) for f in layer.fields), geometry])
        self.rows = 0
        self.error: BaseException | None = None
        self._tables = map(partial(_table, layer=layer, schema=self.schema), chunks)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches()
        except (Exception, KeyboardInterrupt) as exc:
            self.error = exc
            raise

    def _batches(self) -> Iterator[pa.RecordBatch]:
        held = self.schema.empty_table()
        for table in self._tables:
            self.rows += table.num_rows
            held = pa.concat_tables([held, table])
            while held.num_rows >= BATCH_ROWS:
                yield from held.slice(0, BATCH_ROWS).combine_chunks().to_batches()
                held = held.slice(BATCH_ROWS)
            give_back_memory()
        yield from held.combine_chunks().to_batches()


def _table(chunk: geopandas.GeoDataFrame, layer: Layer, schema: pa.Schema) -> pa.Table:
    """A chunk as an Arrow table of the layer's schema; raises OutputError where it does not fit."""
    missing = [f.name for f in layer.fields if f.name not in chunk.columns]
    if missing:
        raise OutputError(f"layer '{layer.name}': features have no column {', '.join(missing)}.")
    columns = [_column(chunk, layer, f.name, schema) for f in layer.fields]
    return pa.table([*columns, pa.array(_wkb(chunk, layer), pa.binary())], schema=schema)


def _column(chunk: geopandas.GeoDataFrame, layer: Layer, name: str, schema: pa.Schema) -> pa.Array:
    wanted = schema.field(name).type
    try:
        return pa.array(chunk[name].to_numpy(), type=wanted, from_pandas=True)
    except (pa.ArrowException, UnicodeError) as exc:
        raise OutputError(f"layer '{layer.name}': column '{name}' is not {wanted}: {exc}.") from exc


def _wkb(chunk: geopandas.GeoDataFrame, layer: Layer) -> NDArray[np.object_]:
    geometries = chunk.geometry.to_numpy()
    wrong = (shapely.get_type_id(geometries) != _SHAPELY_TYPE[layer.geometry]) | shapely.is_empty(geometries)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        got = (
            "no geometry"
            if geometries[row] is None
            else f"{'an empty ' * geometries[row].is_empty}{geometries[row].geom_type}"
        )
        raise OutputError(f"layer '{layer.name}': row {row} has {got}, but the layer takes {layer.geometry}.")
    wkb: NDArray[np.object_] = shapely.to_wkb(geometries, output_dimension=2, byte_order=1)
    return wkb


def _check_rows(db: sqlite3.Connection, sent: Mapping[str, int]) -> None:
    """Raise OutputError unless each table and its spatial index hold what was sent; GDAL may fail without a word."""
    for name, rows in sent.items():
        for table in (name, f"rtree_{name}_{GEOMETRY}_rowid"):
            (got,) = db.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608  a checked name
            if got != rows:
                raise OutputError(f"layer '{name}': {got} of {rows} features arrived in table '{table}'.")
