"""Files that appear whole or not at all."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from geoseg.errors import ConfigError, DiskFull, GeosegError, OutputError

_TEMPORARY = re.compile(r"\.(?P<head>.+)-(?P<pid>\d+)\.(?:.*\.)?tmp.*")
"""A hidden file that was to become another: .NAME.HOST-PID.tmp.SUFFIX"""
_LITTLE_BYTES = 2**20
"""A disk with less space than this is full."""


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """A hidden path beside `target` to write to; on success it is fsynced and takes the place of `target`.

    On any error it is removed and `target` stays as it was; what a killed process of this host left is removed too.
    A full disk, a read-only folder and the like become an OutputError with one line.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        tmp = target.with_name(f"{_hidden(target)}.tmp{target.suffix}")
        try:
            with full_disk_told(target):
                yield tmp
                sync(tmp)
                tmp.replace(target)
        except BaseException:
            _remove(tmp)
            raise
        sync(target.parent)
    except OSError as exc:
        raise output_error(target, exc) from exc


@contextmanager
def full_disk_told(target: Path) -> Iterator[None]:
    """Raise DiskFull for whatever a library says where the disk is full: asked while what it had written still fills it."""
    try:
        yield
    except GeosegError:
        raise
    except Exception as exc:
        if shutil.disk_usage(target.parent).free < _LITTLE_BYTES:
            raise _disk_full(target) from exc
        raise


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` to work in, which goes at the end; what killed processes of this host left goes too.

    Raises OutputError where it cannot be made.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        folder = tempfile.TemporaryDirectory(prefix=f"{_hidden(target)}.", suffix=".tmp", dir=target.parent)
    except OSError as exc:
        raise output_error(target, exc) from exc
    with folder as name:
        yield Path(name)


def check_folder(folder: Path, option: str) -> None:
    """Raise ConfigError, before any work, where `folder` is none and cannot be made, for a file is in the way."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ConfigError(f"{folder}: must be a folder, but {there} is none. Name another with {option}.")


def write_json(target: Path, value: Any) -> None:
    """Write `value` as JSON, atomically, with sorted keys."""
    with atomic(target) as tmp:
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        tmp.write_text(text, encoding="utf-8", errors="backslashreplace")  # of names that are no UTF-8, as JSON has it


def read_json(path: Path) -> Any:
    """The value in a JSON file, or None where the file is missing or no JSON (a kill in the middle of nothing)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def sha256_file(path: Path) -> str:
    """Hex digest of the content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex digest of the canonical JSON of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def output_error(target: Path, exc: OSError) -> OutputError:
    """What a user needs to know of an error of the file system."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disk_full(target)
    return OutputError(f"{target}: cannot be written ({exc.strerror or reason_of(exc)}).")


def reason_of(exc: BaseException) -> str:
    """What went wrong first: GDAL's readers and writers only say that something did."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return str(exc).rstrip(".")


def write_error(target: Path, reason: str, needed: int = 0) -> OutputError:
    """The same of an error of GDAL or SQLite, which say little of a full disk; `needed`: bytes that the file takes at least."""
    free = shutil.disk_usage(target.parent).free
    if "disk is full" in reason or free < max(needed, _LITTLE_BYTES):
        return _disk_full(target)
    return OutputError(
        f"{target}: cannot be written ({reason}; {free / 1e6:,.0f} MB free there). Check the space and the rights."
    )


def _disk_full(target: Path) -> DiskFull:
    return DiskFull(
        f"{target}: the disk is full. Free some space and run the same command again: it goes on where it stopped."
    )


@lru_cache(maxsize=256)
def _sweep(folder: Path) -> None:
    """Remove what killed processes of this host left in a folder; once, for to list a large one takes its time."""
    with suppress(OSError):  # who may write may not always look
        for path, head in _left_behind(folder):
            if head.endswith(f".{_host()}"):
                with suppress(OSError):  # somebody else's, where only owners may remove
                    _discard(path)


def remove_temporaries(folder: Path, names: Collection[str]) -> None:
    """Remove what killed processes, of any machine, left in `folder` of the files called `names`.

    Nobody on another machine may be writing those. Raises OutputError.
    """
    try:
        for path, head in _left_behind(folder):
            if any(c == "." and head[:i] in names for i, c in enumerate(head)):
                _discard(path)
    except OSError as exc:
        raise output_error(folder, exc) from exc


def _left_behind(folder: Path) -> Iterator[tuple[Path, str]]:
    """Hidden files of no process that lives here, and what each begins with, NAME.HOST; raises OSError."""
    for path in [*folder.iterdir()]:
        found = _TEMPORARY.fullmatch(path.name)
        if found and not (found["head"].endswith(f".{_host()}") and _alive(int(found["pid"]))):
            yield path, found["head"]


def _hidden(target: Path) -> str:
    """What the name of a hidden file or folder begins with that is to become `target`."""
    return f".{target.name}.{_host()}-{os.getpid()}"


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _host() -> str:
    """Name of the machine, or container, where a process number means something."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - follows the link to where there is no path
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}.{space}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(tmp: Path) -> None:
    """Remove a temporary file and what GDAL and SQLite put beside it (journals, overviews under construction)."""
    for path in tmp.parent.glob(f"{glob.escape(tmp.name)}*"):
        path.unlink(missing_ok=True)
