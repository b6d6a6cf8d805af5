"""What people did to a map is kept when its scene is mapped anew: their file is set aside, not overwritten."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from geoseg.errors import OutputError
from geoseg.files import sha256_file
from geoseg.run import ledger
from geoseg.vector.digest import digest_tables, manifest_of
from geoseg.vector.formats import check_closed


def set_aside(work: Path, fingerprint: str, outputs: Iterable[Path]) -> list[str]:
    """Rename the outputs that are not as they were written, `a.gpkg` to `a.edited.gpkg`; returns a line for each.

    Args:
        work: the work folder of the scene, with the record of what was written.
        fingerprint: of the map that will take their place.
        outputs: the files that are written now.

    Raises OutputError where one is open in another program.
    """
    told, record = [], ledger.last_record(work)
    for path in outputs:
        check_closed(path)
        if path.is_file() and _is_edited(path, record, fingerprint):
            kept = _free_name(path)
            path.rename(kept)
            told.append(f"{path.name} was changed since it was mapped, or is no map of geoseg: kept as {kept.name}")
    return told


def _is_edited(path: Path, record: dict[str, Any] | None, fingerprint: str) -> bool:
    """Whether people put work into a file; QGIS changes a GeoPackage by opening it, so what counts are its features."""
    written = record["sha256"].get(path.name) if record else None
    if path.suffix != ".gpkg":
        return written is not None and sha256_file(path) != written
    try:
        ours = manifest_of(path).get("fingerprint")
        if record is None or written is None or (ours == fingerprint != record["fingerprint"]):
            return bool(ours != fingerprint)  # that of a run that was killed before it wrote its record
        tables = record["tables"]["tables"]
        return bool(digest_tables(path, tables).tables != tables)
    except OutputError:
        return False  # damaged


def _free_name(path: Path) -> Path:
    count, kept = 1, path.with_name(f"{path.stem}.edited{path.suffix}")
    while kept.exists():
        count += 1
        kept = path.with_name(f"{path.stem}.edited-{count}{path.suffix}")
    return kept
