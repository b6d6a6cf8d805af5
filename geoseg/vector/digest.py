"""What tells a GeoPackage that rotted from one that QGIS opened, or that somebody corrected."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import OutputError
from geoseg.legend import FORMAT_TABLES, QGIS_TABLES
from geoseg.vector.tables import DIGESTS_URI

_HEADER = b"SQLite format 3\0"
_COUNTER = slice(24, 28)
"""Bytes of the file that every transaction of SQLite counts up, but for those in a write-ahead log."""


@dataclass(frozen=True, slots=True)
class TableDigests:
    """What the feature tables of a GeoPackage hold."""

    change_counter: int
    """Transactions that the file has seen: the same count with other bytes means that no program of SQLite wrote them."""
    tables: dict[str, str]
    """Layer, or one of `QGIS_TABLES` → sha256 of its rows."""
    added: tuple[str, ...] = ()
    """Tables that geoseg did not write."""


def digest_tables(path: Path, layers: Iterable[str]) -> TableDigests:
    """Digest the named layers as they are on the disk; raises OutputError where the file is no whole database."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
        if not head.startswith(_HEADER):
            raise OutputError(f"{path}: not a GeoPackage any more.")
        # Immutable: reading leaves no journal beside the file, and takes no lock that QGIS would feel.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            faults = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
            if faults != ["ok"]:
                raise OutputError(f"{path}: its database is damaged ({' '.join(faults[0].split())}).")
            tables = {layer: digest_rows(db, layer) for layer in layers}
            query = "select name from sqlite_master where type in ('table', 'view') order by name"
            found = [row[0] for row in db.execute(query)]
            added = tuple(n for n in found if n not in {*tables, *QGIS_TABLES} and not n.startswith(FORMAT_TABLES))
            return TableDigests(int.from_bytes(head[_COUNTER], "big"), tables, added)
    except (sqlite3.Error, OSError) as exc:
        raise OutputError(f"{path}: its database cannot be read ({exc}).") from exc


def written_digests(path: Path) -> TableDigests | None:
    """The digests that geoseg noted in a GeoPackage as it wrote it; None where it notes none.

    Raises OutputError where the file is no database.
    """
    try:
        with path.open("rb") as file:
            counter = int.from_bytes(file.read(32)[_COUNTER], "big")
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            if not db.execute("select 1 from sqlite_master where name = 'gpkg_metadata'").fetchone():
                return None
            query = "select metadata from gpkg_metadata where md_standard_uri = ?"
            row = db.execute(query, (DIGESTS_URI,)).fetchone()
    except (sqlite3.Error, OSError) as exc:
        raise OutputError(f"{path}: its database cannot be read ({exc}).") from exc
    try:
        tables = json.loads(row[0]) if row else None
    except ValueError:
        return None
    return TableDigests(counter, tables) if isinstance(tables, dict) else None


def digest_rows(db: sqlite3.Connection, layer: str) -> str:
    """Names of the columns and all rows, in order; empty where the layer is gone."""
    if not db.execute("select 1 from sqlite_master where type = 'table' and name = ?", (layer,)).fetchone():
        return ""
    name = layer.replace('"', '""')
    cursor = db.execute(f'select * from "{name}" order by rowid')  # noqa: S608 - a quoted identifier
    digest = hashlib.sha256(repr([column[0] for column in cursor.description]).encode())
    for row in cursor:
        for value in row:
            data = _plain(value)
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _plain(value: Any) -> bytes:
    return value if isinstance(value, bytes) else repr(value).encode()
