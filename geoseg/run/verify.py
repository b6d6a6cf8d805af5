"""Whether the outputs of a folder are still what was written: every byte, every feature, every row.

A raster must be the same file. QGIS changes a GeoPackage or a project that it opens, and people correct maps: their
files are compared by content, and called changed, not damaged, where a program wrote them and they are whole.
"""

import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import BrokenRaster, ConfigError, OutputError
from geoseg.files import read_json, sha256_file
from geoseg.raster.blocks import BlockTable
from geoseg.run import ledger
from geoseg.run.find import OWN_FOLDER
from geoseg.vector.digest import digest_tables, written_digests

_ADVICE = "Map it again with --overwrite, or copy it from a backup"
_WRITTEN_SINCE = "written since by another program, or by another command of geoseg"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one file."""

    scene: str
    file: str
    state: Literal["whole", "changed", "damaged", "missing", "hole"]
    """`changed`: written by another program since, and whole. `hole`: rows that could not be mapped and are nodata."""
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is lost."""
        return self.state in ("whole", "changed")


def verify_folder(output: Path) -> Iterator[Finding]:
    """Check every output of every scene that was finished; raises ConfigError where none was, or where records lack."""
    records = sorted((output / OWN_FOLDER).glob(f"*/{ledger.SCENE_RECORD}"))
    if not records:
        raise ConfigError(f"{output}: no scene was finished here. Name the output folder of a run.")
    for path in records:
        yield from _verify_scene(output, path)


def _verify_scene(output: Path, path: Path) -> Iterator[Finding]:
    name, record = path.parent.name, read_json(path)
    if not isinstance(record, dict) or not {"sha256", "bytes", "failed_rows"} <= record.keys():
        yield Finding(name, path.name, "damaged", f"its record cannot be read; {_ADVICE.lower()}")
        return
    for rows, reason in record["failed_rows"].items():
        yield Finding(name, f"{name}_classes.tif", "hole", f"rows {rows} are nodata ({reason}); run geoseg map again")
    for file, sha256 in sorted(record["sha256"].items()):
        yield _verify_file(name, output / file, sha256, record)


def _verify_file(scene: str, path: Path, sha256: str, record: dict[str, Any]) -> Finding:
    if not path.is_file():
        return Finding(scene, path.name, "missing", "run geoseg map again")
    try:
        if sha256_file(path) == sha256:
            return Finding(scene, path.name, "whole")
        changed = _CHECKS[path.suffix](path, record)
    except (OutputError, BrokenRaster) as exc:
        return Finding(scene, path.name, "damaged", f"{str(exc).removeprefix(f'{path}: ')} {_ADVICE}.")
    except OSError as exc:
        return Finding(scene, path.name, "damaged", f"cannot be read ({exc.strerror}). {_ADVICE}.")
    return Finding(scene, path.name, "changed", changed)


def _raster(path: Path, record: dict[str, Any]) -> str:
    """Say what is wrong with a raster that is not the one that was written; nobody has a reason to change it."""
    wrote, has = record["bytes"][path.name], path.stat().st_size
    if has < wrote:
        raise BrokenRaster(f"{path}: truncated: {has:,} of {wrote:,} bytes.")
    blocks = BlockTable.read(path)
    blocks.check_whole()
    if blocks.any_missing:
        raise BrokenRaster(f"{path}: holed: {blocks.count - blocks.written_blocks:,} blocks are gone.")
    raise BrokenRaster(f"{path}: {has:,} bytes that are not those written (bit rot, or another program).")


def _layer(path: Path, record: dict[str, Any]) -> str:
    """Neither GeoParquet nor FlatGeobuf says who wrote it last, so no change passes."""
    wrote, has = record["bytes"][path.name], path.stat().st_size
    cut = f"truncated: {has:,} of {wrote:,} bytes." if has < wrote else "its bytes are not those written."
    raise OutputError(f"{path}: {cut}")


def _geopackage(path: Path, record: dict[str, Any]) -> str:
    wrote = record["tables"]
    now, own = digest_tables(path, wrote["tables"]), written_digests(path)
    if own is not None and own.tables != wrote["tables"] and own.tables == now.tables:
        return "replaced since by another command of geoseg"
    if now.change_counter == wrote["change_counter"]:
        raise OutputError(f"{path}: its bytes changed, but no program of SQLite wrote it (bit rot).")
    edited = [layer for layer, digest in wrote["tables"].items() if now.tables[layer] != digest]
    edited += [f"{table} (added)" for table in now.added]
    if not edited:
        return "opened since; its features are those written"
    gone = [layer for layer in wrote["tables"] if not now.tables[layer]]
    return f"edited since: {', '.join(edited)}" + (f" (gone: {', '.join(gone)})" if gone else "")


def _project(path: Path, record: dict[str, Any]) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as exc:
        raise OutputError(f"{path}: not a whole project ({exc}).") from exc
    if broken:
        raise OutputError(f"{path}: damaged: {broken} in it does not have its checksum.")
    return _WRITTEN_SINCE


def _xml(path: Path, record: dict[str, Any]) -> str:
    try:
        ET.parse(path)  # noqa: S314 - a file beside the map, checked for being whole; expat bounds what entities expand to
    except (ET.ParseError, LookupError, ValueError) as exc:
        raise OutputError(f"{path}: not whole XML any more ({exc}).") from exc
    return _WRITTEN_SINCE


_CHECKS = {
    ".tif": _raster,
    ".gpkg": _geopackage,
    ".parquet": _layer,
    ".fgb": _layer,
    ".qgz": _project,
    ".xml": _xml,
    ".qml": _xml,
}
"""Suffix → what is asked of a file whose bytes are not those written; says how it changed, or raises."""
