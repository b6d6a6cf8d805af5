"""From what the user named to scenes: files, folders and globs, each file once, each with a name of its own."""

import glob
import hashlib
import os
import re
from collections import Counter
from pathlib import Path

from geoseg.errors import ConfigError

_SUFFIXES = (".tif", ".tiff")
OWN_FOLDER = ".geoseg"
"""Where a run keeps its work inside the output folder; never searched."""
_NAME_BYTES = 150
_TAKEN = re.compile(r"lock|lock-\d+-of-\d+|journal|slurm")
"""What else is in that folder: no scene is called so."""
OWN_SUFFIXES = ("_classes.tif", "_confidence.tif")
"""Endings of the rasters that geoseg writes."""
_SET_ASIDE = re.compile(r"\.edited(-\d+)?(?=\.tif$)")
"""In the name of one of them that people changed."""


def find_files(inputs: tuple[str, ...]) -> list[Path]:
    """The GeoTIFFs that `inputs` name, sorted, each once, without the outputs of an earlier run.

    What is called .tif and cannot be opened is in the list: it is refused by name later, not left out here.
    Raises ConfigError for an input that names nothing, or a folder that cannot be searched.
    """
    if not inputs:
        raise ConfigError("no input: name files, folders or globs of GeoTIFFs.")
    found: dict[Path, Path] = {}
    for text in inputs:
        files = _expand(text)
        if not files:
            raise ConfigError(f"{text}: names no GeoTIFF (.tif, .tiff); give a file, a folder or a glob that exists.")
        for file in sorted(files, key=lambda f: (f.is_symlink(), str(f))):  # a file has its own name before a link's
            found.setdefault(real(file), file)
    return sorted((p for p in found.values() if not _is_own(p)), key=str)


def _expand(text: str) -> list[Path]:
    path = Path(text)
    try:
        if path.is_dir():
            return search_folder(path)
        if path.exists() or path.is_symlink():  # a link to nothing is refused by name, as other scenes are
            return [path]
    except OSError as exc:
        raise ConfigError(f"{text}: cannot be reached ({exc.strerror}). Check the path and who may read it.") from exc
    matches = [Path(p) for p in glob.glob(text, recursive=True)]  # noqa: PTH207 - absolute patterns too
    return [file for p in matches for file in (_expand(str(p)) if p.is_dir() else [p])]


def search_folder(folder: Path) -> list[Path]:
    """The GeoTIFFs of a folder and those in it, without hidden files and folders and without following links to folders."""

    def refuse(exc: OSError) -> None:
        raise ConfigError(f"{exc.filename}: the folder cannot be searched ({exc.strerror}). Check who may read it.")

    found: list[Path] = []
    for top, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(top, name) for name in files if name.lower().endswith(_SUFFIXES) and not name.startswith(".")]
    return found


def real(path: Path) -> Path:
    """The file that a path leads to, absolute; also where links lead nowhere or in a circle."""
    return Path(os.path.realpath(path))


def _is_own(path: Path) -> bool:
    """Whether a run of geoseg wrote this file, or set it aside: its work folder for a scene of that name lies beside it."""
    if OWN_FOLDER in path.parts:
        return True
    name = _SET_ASIDE.sub("", path.name)
    ending = next((e for e in OWN_SUFFIXES if name.endswith(e)), None)
    return ending is not None and (real(path).parent / OWN_FOLDER / name.removesuffix(ending)).is_dir()


def name_scenes(paths: list[Path]) -> dict[Path, str]:
    """A name for each file: its stem, or with as many parent folders as it takes to be unique on any file system."""
    names = {p: safe_name(p.stem) for p in paths}
    for depth in range(1, max((len(p.parts) for p in paths), default=1)):
        clashing = _clashing(names)
        if not clashing:
            return names
        for p in clashing:
            names[p] = safe_name("_".join([*real(p).parts[-1 - depth : -1], p.stem]))
    for p in _clashing(names):
        names[p] = f"{names[p]}_{hashlib.sha256(os.fsencode(real(p))).hexdigest()[:8]}"
    return names


def of_shard(paths: list[Path], part: int, parts: int) -> list[Path]:
    """The files of one of `parts` parts, by the hash of their path: other files that come or go move none of them."""
    return [p for p in paths if int(hashlib.sha256(os.fsencode(real(p))).hexdigest(), 16) % parts == part - 1]


def _clashing(names: dict[Path, str]) -> list[Path]:
    """Files of the same name, also where upper and lower case are the same."""
    count = Counter(name.lower() for name in names.values())
    return [p for p, name in names.items() if count[name.lower()] > 1]


def safe_name(name: str) -> str:
    """A file name without control characters, that is no hidden file, with room left for suffixes (255 bytes in all)."""
    cleaned = "".join(c if c.isprintable() and c not in '\\/:*?"<>|;!' else "_" for c in name).strip(". ")
    safe = cleaned.encode()[:_NAME_BYTES].decode(errors="ignore") or "scene"
    return f"{safe}_" if _TAKEN.fullmatch(safe.lower()) else safe
