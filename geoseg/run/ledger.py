"""What is committed of a scene: strip records and the scene record in its work folder, each written whole or not at all.

OUT/.geoseg/NAME/scene.json               last: the scene is finished (or partial), with the digests of its outputs
OUT/.geoseg/NAME/previous.json            while the scene is mapped anew: its last scene record
OUT/.geoseg/NAME/FILE.word                of an output FILE, until the scene record tells it: digests of what took or takes its
                                          place, and what was set aside for it
OUT/.geoseg/NAME/overwriting.json         from the begin to the end of a run that overwrites the scene: what is done since counts
OUT/.geoseg/NAME/strips/00000-00004.tif   classes and confidence of tile rows 0–3
OUT/.geoseg/NAME/strips/00000-00004.json  its record; a strip is committed when this is there
OUT/.geoseg/NAME/strips/00000-00004.run   a worker has begun with it: tells the strip that killed a worker from those that waited
"""

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.files import output_error, read_json, sha256_file, write_json
from geoseg.grid.tiling import Strip

SCENE_RECORD = "scene.json"
_PREVIOUS = "previous.json"
_OVERWRITING = "overwriting.json"
_WORD = ".word"
_NO_WORD: dict[str, Any] = {"sha256": [], "fingerprint": "", "told": []}


@dataclass(frozen=True, slots=True, kw_only=True)
class StripRecord:
    """A committed strip; less than a kilobyte."""

    fingerprint: str
    first: int
    """First tile row."""
    stop: int
    """Tile row after the last."""
    sha256: str
    """Of the strip file."""
    bytes: int
    seconds: dict[str, float]
    """Wall time: `all` of it, and the shares of `prepare` and `forward` in it."""
    precision: str
    """Arithmetic of the network, where the settings leave it to the device."""
    host: str
    """Machine and process."""
    unreadable: int = 0
    """Pixels left as nodata because a block of the scene could not be decoded."""
    batch: int | None = None
    """Tiles forwarded at once, where a lack of memory halved them; the result is the same."""


def strip_path(work: Path, strip: Strip) -> Path:
    """The strip file."""
    return work / "strips" / f"{strip.first:05d}-{strip.stop:05d}.tif"


def mark_begun(work: Path, strip: Strip, host: str) -> None:
    """Leave word that a worker has begun with a strip; outlives the process, and need not outlive the machine."""
    target = strip_path(work, strip).with_suffix(".run")
    try:
        target.write_text(host, encoding="utf-8")
    except OSError as exc:
        raise output_error(target, exc) from exc


def take_begun(work: Path, strip: Strip) -> bool:
    """Whether a worker had begun with a strip that was not committed since; forgets it."""
    try:
        strip_path(work, strip).with_suffix(".run").unlink()
    except FileNotFoundError:
        return False
    return True


def commit_strip(work: Path, strip: Strip, record: StripRecord) -> None:
    """Write the record of a strip whose file is already there."""
    path = strip_path(work, strip)
    write_json(path.with_suffix(".json"), asdict(record))
    path.with_suffix(".run").unlink(missing_ok=True)


def committed(work: Path, fingerprint: str, strips: Iterable[Strip], *, whole: bool) -> frozenset[int]:
    """Indices of the strips whose file is there and is the one its record describes.

    With `whole`, strips in which a block could not be read do not count.
    """
    records = {s.index: record(work, fingerprint, s) for s in strips}
    return frozenset(i for i, r in records.items() if r is not None and not (whole and r.unreadable))


def record(work: Path, fingerprint: str, strip: Strip) -> StripRecord | None:
    """The record of a strip if it is committed with this fingerprint and its file is whole."""
    path = strip_path(work, strip)
    values = read_json(path.with_suffix(".json"))
    if not isinstance(values, dict) or values.get("fingerprint") != fingerprint or not path.is_file():
        return None
    try:
        found = StripRecord(**values)
    except TypeError:  # of another version
        return None
    return found if path.stat().st_size == found.bytes and sha256_file(path) == found.sha256 else None


def precision(work: Path, strip: Strip) -> str | None:
    """What a committed strip was computed in; None without a record."""
    values = read_json(strip_path(work, strip).with_suffix(".json"))
    return values.get("precision") if isinstance(values, dict) else None


def unreadable(work: Path, strips: Iterable[Strip]) -> int:
    """Pixels of all committed strips that are nodata because a block of the scene could not be decoded."""
    records = (read_json(strip_path(work, s).with_suffix(".json")) for s in strips)
    return sum(r.get("unreadable", 0) for r in records if r is not None)


def strip_rows(work: Path, fingerprint: str) -> int | None:
    """Tile rows per strip of an unfinished run with this fingerprint, or None."""
    record = read_json(work / "cut.json")
    return int(record["strip_rows"]) if record and record.get("fingerprint") == fingerprint else None


def begin(work: Path, fingerprint: str, strips: tuple[Strip, ...], keep: frozenset[int]) -> None:
    """Prepare the work folder: remember the cut, and remove whatever is not one of the strips to keep."""
    _set_record_back(work)
    wanted = {strip_path(work, s).stem for s in strips if s.index in keep}
    folder = work / "strips"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.stem not in wanted:
            path.unlink()
    shutil.rmtree(work / "vector", ignore_errors=True)
    if len(strips) > 1:
        write_json(work / "cut.json", {"fingerprint": fingerprint, "strip_rows": max(s.stop - s.first for s in strips)})
    else:
        (work / "cut.json").unlink(missing_ok=True)


def begin_overwriting(work: Path, fingerprint: str) -> None:
    """What is there of a scene counts no longer; what is done from now on does, whatever happens to this run.

    Raises OutputError.
    """
    if is_being_overwritten(work, fingerprint):
        return
    try:
        _set_record_back(work)
        shutil.rmtree(work / "strips", ignore_errors=True)
    except OSError as exc:
        raise output_error(work, exc) from exc
    write_json(work / _OVERWRITING, {"fingerprint": fingerprint})


def _set_record_back(work: Path) -> None:
    """The scene is finished no longer; what its record tells is still known."""
    if (work / SCENE_RECORD).is_file():
        (work / SCENE_RECORD).replace(work / _PREVIOUS)


def is_being_overwritten(work: Path, fingerprint: str) -> bool:
    """Whether a run that has not come to its end began to overwrite the scene with this map."""
    found = read_json(work / _OVERWRITING)
    return isinstance(found, dict) and found.get("fingerprint") == fingerprint


def end_overwriting(work: Path) -> None:
    """The run is over that overwrote the scene: the next one overwrites it again."""
    (work / _OVERWRITING).unlink(missing_ok=True)


def finish(work: Path, record: dict[str, Any]) -> None:
    """Write the scene record, then remove the work that is no longer needed; a partial scene keeps its strips."""
    write_json(work / SCENE_RECORD, record)
    tidy(work, done=record["status"] == "done")


def tidy(work: Path, *, done: bool) -> None:
    """Remove what a scene needs no longer once it has its record, also where a run was killed over it."""
    (work / _PREVIOUS).unlink(missing_ok=True)
    recorded = (last_record(work) or {"sha256": {}})["sha256"]
    for path in work.glob(f"*{_WORD}"):
        _shorten(path, recorded)
    shutil.rmtree(work / "vector", ignore_errors=True)
    if done:
        shutil.rmtree(work / "strips", ignore_errors=True)
        (work / "cut.json").unlink(missing_ok=True)


def _shorten(path: Path, recorded: dict[str, str]) -> None:
    """Remove the word of an output, but for what another command wrote there since the scene was mapped."""
    name = path.name.removesuffix(_WORD)
    output = path.parents[2] / name
    unknown = [digest for digest in _word(path)["sha256"] if digest != recorded.get(name)]
    if unknown and output.is_file() and sha256_file(output) in unknown:
        write_json(path, {**_NO_WORD, "sha256": unknown})
    else:
        path.unlink(missing_ok=True)


def last_record(work: Path) -> dict[str, Any] | None:
    """The record of what was last written of the scene, also while it is mapped anew."""
    found = read_json(work / SCENE_RECORD) or read_json(work / _PREVIOUS)
    return found if isinstance(found, dict) and {"path", "fingerprint", "sha256"} <= found.keys() else None


def is_same_map(record: dict[str, Any], fingerprint: str) -> bool:
    """Whether a scene record tells of the whole map of this fingerprint, to which other outputs may be added."""
    whole = record.get("status") == "done" and not record.get("unreadable")
    return whole and record["fingerprint"] == fingerprint


def note_written(work: Path, target: Path, written: Path) -> None:
    """Leave word of a file that is about to become the output `target`: it is none of somebody else's."""
    word = _word(_word_path(work, target))
    write_json(_word_path(work, target), {**word, "sha256": [*word["sha256"], sha256_file(written)]})


def note_set_aside(work: Path, target: Path, fingerprint: str, line: str) -> None:
    """Leave word of what is about to be set aside for the output `target` of a map: another try will tell it too."""
    told = told_of(work, target, fingerprint)
    if line not in told:  # else it was told by a try that ended before the file was set aside
        word = _word(_word_path(work, target))
        write_json(_word_path(work, target), {**word, "fingerprint": fingerprint, "told": [*told, line]})


def told_of(work: Path, target: Path, fingerprint: str) -> list[str]:
    """What `note_set_aside` left for the same map, if the run ended before the scene record."""
    word = _word(_word_path(work, target))
    told: list[str] = word["told"] if word["fingerprint"] == fingerprint else []
    return told


def known_digests(work: Path) -> dict[str, set[str]]:
    """Output → digests that it had as geoseg wrote it: those of the last scene record, and of runs that ended before one."""
    last = last_record(work)
    known = {name: {digest} for name, digest in (last["sha256"] if last else {}).items()}
    for path in work.glob(f"*{_WORD}"):
        if digests := _word(path)["sha256"]:
            known.setdefault(path.name.removesuffix(_WORD), set()).update(digests)
    return known


def _word_path(work: Path, target: Path) -> Path:
    return work / f"{target.name}{_WORD}"


def _word(path: Path) -> dict[str, Any]:
    found = read_json(path)
    return found if isinstance(found, dict) and found.keys() >= _NO_WORD.keys() else _NO_WORD


def is_done(work: Path, fingerprint: str, outputs: tuple[Path, ...], *, whole: bool) -> bool:
    """Whether the scene was finished with this fingerprint and its outputs are still there.

    With `whole`, a scene in which a block could not be read does not count.

    Rasters must have the size they were left with. GeoPackage and project need only be there: QGIS changes them when
    it opens them, and so do people who correct a map; their work is not thrown away.
    """
    found = read_json(work / SCENE_RECORD)
    if found is None or found.get("status") != "done" or found.get("fingerprint") != fingerprint:
        return False
    if whole and found.get("unreadable"):
        return False
    return all(_is_kept(path, found["bytes"].get(path.name)) for path in outputs)


def _is_kept(path: Path, size: int | None) -> bool:
    if size is None or not path.is_file():
        return False
    return path.suffix != ".tif" or path.stat().st_size == size
