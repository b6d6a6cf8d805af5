"""The tables of a GeoPackage beside its features: styles, aliases, metadata and the QGIS project.

Each is an extension of GeoPackage 1.3 or a convention of QGIS, declared where the standard asks for it.
Every insert gives its time, so that the same content makes the same bytes.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence

from geoseg.vector import project, styles
from geoseg.vector.metadata import GeoPackageMeta, layer_metadata
from geoseg.vector.schema import Layer

GEOMETRY = "geom"
"""Name of the geometry column; QGIS ignores a style whose row does not name it."""

MANIFEST_URI = "urn:geoseg:manifest"
"""`gpkg_metadata.md_standard_uri` of the run's manifest."""
DIGESTS_URI = "urn:geoseg:digests"
"""That of the digests of the layers as they were written: layer → sha256 of its rows."""

QGIS_METADATA_URI = "http://mrcc.com/qgis.dtd"

_SPEC = "http://www.geopackage.org/spec130/#extension_"

# As QGIS itself creates it, so that it also edits and adds styles.
_LAYER_STYLES = """CREATE TABLE layer_styles (
    "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "f_table_catalog" TEXT(256), "f_table_schema" TEXT(256),
    "f_table_name" TEXT(256), "f_geometry_column" TEXT(256), "styleName" TEXT(30), "styleQML" TEXT, "styleSLD" TEXT,
    "useAsDefault" BOOLEAN, "description" TEXT, "owner" TEXT(30), "ui" TEXT(30),
    "update_time" DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""

_QGIS_PROJECTS = "CREATE TABLE qgis_projects (name TEXT PRIMARY KEY, metadata BLOB, content BLOB)"

_SCHEMA = (
    """CREATE TABLE gpkg_data_columns (
    table_name TEXT NOT NULL, column_name TEXT NOT NULL, name TEXT, title TEXT, description TEXT, mime_type TEXT,
    constraint_name TEXT, CONSTRAINT pk_gdc PRIMARY KEY (table_name, column_name),
    CONSTRAINT gdc_tn UNIQUE (table_name, name))""",
    """CREATE TABLE gpkg_data_column_constraints (
    constraint_name TEXT NOT NULL, constraint_type TEXT NOT NULL, value TEXT, min NUMERIC, min_is_inclusive BOOLEAN,
    max NUMERIC, max_is_inclusive BOOLEAN, description TEXT,
    CONSTRAINT gdcc_ntv UNIQUE (constraint_name, constraint_type, value))""",
)

_METADATA = (
    """CREATE TABLE gpkg_metadata (
    id INTEGER CONSTRAINT m_pk PRIMARY KEY ASC NOT NULL, md_scope TEXT NOT NULL DEFAULT 'dataset',
    md_standard_uri TEXT NOT NULL, mime_type TEXT NOT NULL DEFAULT 'text/xml', metadata TEXT NOT NULL DEFAULT '')""",
    """CREATE TABLE gpkg_metadata_reference (
    reference_scope TEXT NOT NULL, table_name TEXT, column_name TEXT, row_id_value INTEGER,
    timestamp DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')), md_file_id INTEGER NOT NULL,
    md_parent_id INTEGER, CONSTRAINT crmr_mfi_fk FOREIGN KEY (md_file_id) REFERENCES gpkg_metadata(id),
    CONSTRAINT crmr_mpi_fk FOREIGN KEY (md_parent_id) REFERENCES gpkg_metadata(id))""",
)


def add_tables(db: sqlite3.Connection, layers: Sequence[Layer], meta: GeoPackageMeta, name: str) -> None:
    """Add all tables beside the features, in one transaction; `name` is the file's name once it is published."""
    with db:
        db.execute("BEGIN")
        _add_styles(db, layers, meta)
        _add_data_columns(db, layers)
        _add_metadata(db, layers, meta)
        _add_project(db, layers, meta, name)


def _add_styles(db: sqlite3.Connection, layers: Sequence[Layer], meta: GeoPackageMeta) -> None:
    db.execute(_LAYER_STYLES)
    for layer in layers:
        db.execute(
            # f_table_schema is '' and not NULL: QGIS does not find the style otherwise.
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName,"
            " styleQML, styleSLD, useAsDefault, description, owner, update_time) VALUES ('','',?,?,?,?,'',1,?,'',?)",
            (layer.name, GEOMETRY, layer.name[:30], styles.qml(layer), f"geoseg, {layer.look}", meta.timestamp),
        )
    db.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change, srs_id)"
        " VALUES ('layer_styles', 'attributes', 'layer_styles', 'Styles that QGIS applies on opening', ?, 0)",
        (meta.timestamp,),
    )


def _add_data_columns(db: sqlite3.Connection, layers: Sequence[Layer]) -> None:
    """Aliases and descriptions of fields, and the values a class may take, for software other than QGIS."""
    for statement in _SCHEMA:
        db.execute(statement)
    for table in ("gpkg_data_columns", "gpkg_data_column_constraints"):
        _declare(db, table, "gpkg_schema", "schema")
    for layer in layers:
        enum = f"{layer.name}_class" if any(f.name == "class" for f in layer.fields) else None
        db.executemany(
            "INSERT INTO gpkg_data_columns VALUES (?, ?, ?, ?, ?, NULL, ?)",
            [(layer.name, f.name, f.alias, f.alias, f.description, enum if f.name == "class" else None)
             for f in layer.fields],
        )  # fmt: skip
        if enum:
            db.executemany(
                "INSERT INTO gpkg_data_column_constraints VALUES (?, 'enum', ?, NULL, NULL, NULL, NULL, ?)",
                [(enum, c.name, c.name) for c in layer.classes],  # QGIS shows the second
            )


def _add_metadata(db: sqlite3.Connection, layers: Sequence[Layer], meta: GeoPackageMeta) -> None:
    """The manifest once, for the file and for each layer, and the title and abstract of each layer."""
    for statement in _METADATA:
        db.execute(statement)
    for table in ("gpkg_metadata", "gpkg_metadata_reference"):
        _declare(db, table, "gpkg_metadata", "metadata")
    text = json.dumps(meta.manifest, sort_keys=True, indent=1)
    manifest = _insert_metadata(db, MANIFEST_URI, "application/json", text)
    _refer(db, manifest, None, meta)
    for layer in layers:
        own = _insert_metadata(db, QGIS_METADATA_URI, "text/xml", layer_metadata(layer, meta))
        _refer(db, own, layer.name, meta)
        _refer(db, manifest, layer.name, meta)


def add_digests(db: sqlite3.Connection, digests: Mapping[str, str], meta: GeoPackageMeta) -> None:
    """Note what was written, so that a file tells by itself whether people have changed its features since."""
    own = _insert_metadata(db, DIGESTS_URI, "application/json", json.dumps(digests, sort_keys=True))
    _refer(db, own, None, meta)


def _insert_metadata(db: sqlite3.Connection, uri: str, mime_type: str, text: str) -> int | None:
    cursor = db.execute(
        "INSERT INTO gpkg_metadata (md_scope, md_standard_uri, mime_type, metadata) VALUES ('dataset', ?, ?, ?)",
        (uri, mime_type, text),
    )
    return cursor.lastrowid


def _refer(db: sqlite3.Connection, metadata_id: int | None, table: str | None, meta: GeoPackageMeta) -> None:
    db.execute(
        "INSERT INTO gpkg_metadata_reference (reference_scope, table_name, timestamp, md_file_id) VALUES (?, ?, ?, ?)",
        ("table" if table else "geopackage", table, meta.timestamp, metadata_id),
    )


def _add_project(db: sqlite3.Connection, layers: Sequence[Layer], meta: GeoPackageMeta, name: str) -> None:
    """The project as QGIS stores it: the hexadecimal text of the zipped project, in a table that is not registered."""
    db.execute(_QGIS_PROJECTS)
    content = project.project_archive(layers, meta, name).hex()
    about = json.dumps({"last_modified_time": meta.timestamp, "last_modified_user": ""})
    db.execute("INSERT INTO qgis_projects VALUES (?, ?, ?)", (project.project_name(name), about, content))


def _declare(db: sqlite3.Connection, table: str, extension: str, anchor: str) -> None:
    db.execute(
        "INSERT INTO gpkg_extensions (table_name, column_name, extension_name, definition, scope)"
        " VALUES (?, NULL, ?, ?, 'read-write')",
        (table, extension, _SPEC + anchor),
    )
