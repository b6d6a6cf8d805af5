"""One run at a time in an output folder."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from geoseg.errors import Busy, OutputError
from geoseg.files import output_error, read_json
from geoseg.run.find import OWN_FOLDER

_PATIENCE_S = 0.5
"""`geoseg status` holds the lock for an instant to learn whether anybody does."""


@contextmanager
def locked(output: Path, shard: str | None = None) -> Iterator[None]:
    """Hold the output folder; the system lets go of it when the process ends, however it ends.

    Shards (`I/N`) of the same N hold it together, each shard once.

    Raises Busy where another run holds it, OutputError where the folder cannot be made or leads elsewhere.
    """
    folder = output / OWN_FOLDER
    if folder.is_symlink():
        raise OutputError(f"{folder}: is a link, but the work of a run stays in its output folder. Remove the link.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open(folder / "lock", os.O_RDWR | os.O_CREAT)
    except OSError as exc:
        raise output_error(output, exc) from exc
    with file, _shard_lock(folder, shard):
        alone = _take(file, shared=shard is not None)
        if alone is None or (not alone and _shards(file) != _of(shard)):
            raise Busy(f"{output}: another run is writing there{_who(output)}. Wait for it, or choose another folder.")
        holder = {
            "shards": _of(shard),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            if alone:
                # Past the buffer of the file, which would try again when it is closed.
                os.ftruncate(file.fileno(), 0)
                os.pwrite(file.fileno(), json.dumps(holder).encode(), 0)
        except OSError as exc:
            raise output_error(output, exc) from exc
        if alone and shard is not None:
            fcntl.flock(file, fcntl.LOCK_SH)  # the others may come in, now that it says who they must be
        yield


@contextmanager
def _shard_lock(folder: Path, shard: str | None) -> Iterator[None]:
    """No shard runs twice."""
    if shard is None:
        yield
        return
    with _open(folder / f"lock-{shard.replace('/', '-of-')}", os.O_RDWR | os.O_CREAT) as file:
        if not _take(file):
            raise Busy(f"{folder.parent}: shard {shard} is being mapped by another run. Wait for it.")
        yield


def _of(shard: str | None) -> int:
    return int(shard.split("/")[1]) if shard else 0


def _shards(file: IO[str]) -> int | None:
    """How many shards the run has that holds the folder."""
    file.seek(0)
    try:
        return int(json.load(file)["shards"])
    except (ValueError, KeyError, TypeError):
        return None


def holder(output: Path) -> dict[str, Any] | None:
    """Process, host and start of the run that holds an output folder, or None where none does."""
    path = output / OWN_FOLDER / "lock"
    for flags in (os.O_RDWR, os.O_RDONLY):  # on NFS a lock needs the right to write
        try:
            file = _open(path, flags)
        except OSError:
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                said = read_json(path)
                return said if isinstance(said, dict) else {}
            except OSError:
                return None  # it cannot be told
        return None
    return None


def _open(path: Path, flags: int) -> IO[str]:
    """Without truncation, for it says who holds it; through no link, for that would be another file."""
    return os.fdopen(
        os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644),
        "r" if flags == os.O_RDONLY else "r+",
        encoding="utf-8",
    )


def _take(file: IO[str], *, shared: bool = False) -> bool | None:
    """Whether the lock was taken alone (True), together with others (False, only if `shared`), or not at all (None)."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        for mode in (fcntl.LOCK_EX, fcntl.LOCK_SH)[: 1 + shared]:
            try:
                fcntl.flock(file, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise OutputError(
                    f"the output folder cannot be locked ({exc.strerror}). Choose one on a file system with file locks."
                ) from exc
            return mode == fcntl.LOCK_EX
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)


def _who(output: Path) -> str:
    said = holder(output) or {}
    return (
        f" (process {said['pid']} on {said['host']} since {said['since']})"
        if {"pid", "host", "since"} <= said.keys()
        else ""
    )
