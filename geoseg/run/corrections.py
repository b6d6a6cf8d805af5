"""What people did to a map is kept when its scene is mapped anew: their file is set aside, not overwritten."""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from geoseg.errors import OutputError
from geoseg.files import sha256_file
from geoseg.raster.write import is_own
from geoseg.run import ledger
from geoseg.vector.digest import digest_tables, written_digests
from geoseg.vector.formats import check_closed
from geoseg.vector.project import is_project_as_written
from geoseg.vector.styles import is_style_as_written


def set_aside(work: Path | None, fingerprint: str, outputs: Iterable[Path]) -> list[str]:
    """Rename the outputs that are not as geoseg wrote them, `a.gpkg` to `a.edited.gpkg`; returns a line for each.

    Another try for the same map returns the lines of the first too.

    Args:
        work: the work folder of the scene, with the records of what was written; None where there is none.
        fingerprint: of the map that will take their place; empty for one that is not a scene's.
        outputs: the files that are written now.

    Raises OutputError where one is open in another program.
    """
    known = ledger.known_digests(work) if work else {}
    told = []
    for path in outputs:
        check_closed(path)
        edited = path.is_file() and (_is_edited(path, known) or (work and _is_foreign(path, known)))
        told += _put_aside(work, fingerprint, path, edited=bool(edited))
    return told


def set_aside_rasters(
    work: Path, fingerprint: str, raster: Path, tags: Mapping[str, str], style: Path | None
) -> list[str]:
    """Rename a raster that is not as geoseg wrote it, and a style that people saved; returns a line for each.

    Args:
        work: the work folder of the scene.
        fingerprint: of the map that will take their place.
        raster: that is written now.
        tags: its metadata.
        style: that is written beside it, if one is.

    GDAL itself writes into an `.aux.xml`, so that goes where its raster goes.

    """
    known = ledger.known_digests(work)
    told = _put_aside(
        work, fingerprint, raster, edited=raster.is_file() and _is_not_ours(raster, tags, known.get(raster.name))
    )
    if style:
        told += _put_aside(work, fingerprint, style, edited=style.is_file() and _is_edited(style, known))
    return told


def _put_aside(work: Path | None, fingerprint: str, path: Path, *, edited: bool) -> list[str]:
    """Set a file aside if it was edited; a line for it, after those of another try for the same map."""
    line = None
    if edited:
        kept = _free_name(path)
        line = _kept_as(path, kept)
        if work and fingerprint:
            ledger.note_set_aside(work, path, fingerprint, line)
        beside = path.with_name(f"{path.name}.aux.xml")
        if beside.is_file():  # first: were this process killed between the two, nobody would look for it again
            beside.rename(kept.with_name(f"{kept.name}.aux.xml"))
        path.rename(kept)
    if work and fingerprint:
        return ledger.told_of(work, path, fingerprint)
    return [] if line is None else [line]


def _kept_as(path: Path, kept: Path) -> str:
    return f"{path.name} was changed since it was mapped, or is no map of geoseg: kept as {kept.name}"


def drop_outdated(work: Path, fingerprint: str, folder: Path, written: Iterable[str]) -> list[str]:
    """Remove the files in `folder` that an earlier map of the scene left: beside this one they would pass for its own.

    Those that people changed are set aside; returns a line for each. Other formats of the same map stay. `written` are the
    names of what this map wrote. Raises OutputError where a file is open in another program, OSError where it cannot go.
    """
    last = ledger.last_record(work)
    if last is None or ledger.is_same_map(last, fingerprint):
        return []
    told = []
    for name in sorted(last["sha256"].keys() - {*written}):
        path = folder / Path(name).name
        check_closed(path)
        if path.is_file() and _is_edited(path, {name: {last["sha256"][name]}}):
            kept = _free_name(path)
            told.append(f"{path.name} is of the map before and was changed since: kept as {kept.name}")
            path.rename(kept)
        path.unlink(missing_ok=True)
    return told


def _is_edited(path: Path, known: Mapping[str, Collection[str]]) -> bool:
    """Whether people put work into a file, or made it.

    A GeoPackage, a project and a style tell by themselves; of other files tell the `known` digests of what geoseg wrote.
    """
    if path.suffix != ".gpkg":
        written = known.get(path.name)
        as_known = sha256_file(path) in written if written else None
        tells = _TELL.get(path.suffix)
        return as_known is False if tells is None else not (as_known or tells(path))
    try:
        written_as = written_digests(path)
        # QGIS changes a file by opening it, so what counts are its features, styles and project, and what else is in it.
        if written_as is None:
            return True
        now = digest_tables(path, written_as.tables)
        return now.tables != written_as.tables or bool(now.added)
    except OutputError:
        return True  # who cannot look does not know; geoseg itself leaves none that is damaged


_TELL: dict[str, Callable[[Path], bool]] = {".qgz": is_project_as_written, ".qml": is_style_as_written}
"""Suffix → whether such a file is as geoseg wrote it."""


def _is_foreign(path: Path, known: Mapping[str, Collection[str]]) -> bool:
    """Whether a file that does not tell by itself is none that geoseg knows of."""
    return path.suffix not in (".gpkg", *_TELL) and path.name not in known


def _is_not_ours(raster: Path, tags: Mapping[str, str], written: Collection[str] | None) -> bool:
    """Whether a raster is not as geoseg wrote it: its digest tells; where none is known, its metadata does."""
    return sha256_file(raster) not in written if written else not is_own(raster, tags)


def _free_name(path: Path) -> Path:
    count, kept = 1, path.with_name(f"{path.stem}.edited{path.suffix}")
    while kept.exists():
        count += 1
        kept = path.with_name(f"{path.stem}.edited-{count}{path.suffix}")
    return kept
