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

from geoseg.errors import ConfigError, OutputError
from geoseg.files import output_error, read_json
from geoseg.run.find import OWN_FOLDER

_PATIENCE_S = 0.5
"""`geoseg status` holds the lock for an instant to learn whether anybody does."""


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold the output folder; the system lets go of it when the process ends, however it ends.

    Raises ConfigError where another run holds it, OutputError where the folder cannot be made or leads elsewhere.
    """
    folder = output / OWN_FOLDER
    if folder.is_symlink():
        raise OutputError(f"{folder}: is a link, but the work of a run stays in its output folder. Remove the link.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open(folder / "lock", os.O_RDWR | os.O_CREAT)
    except OSError as exc:
        raise output_error(output, exc) from exc
    with file:
        if not _take(file):
            raise ConfigError(
                f"{output}: another run is writing there{_who(output)}. Wait for it, or choose another folder."
            )
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            file.truncate(0)
            file.write(json.dumps(holder))
            file.flush()
        except OSError as exc:
            raise output_error(output, exc) from exc
        yield


def holder(output: Path) -> dict[str, Any] | None:
    """Process, host and start of the run that holds an output folder, or None where none does."""
    path = output / OWN_FOLDER / "lock"
    try:
        file = _open(path, os.O_RDWR)
    except OSError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = read_json(path)
            return said if isinstance(said, dict) else {}
    return None


def _open(path: Path, flags: int) -> IO[str]:
    """Without truncation, for it says who holds it; through no link, for that would be another file."""
    return os.fdopen(os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "r+", encoding="utf-8")


def _take(file: IO[str]) -> bool:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _who(output: Path) -> str:
    said = holder(output) or {}
    return (
        f" (process {said['pid']} on {said['host']} since {said['since']})"
        if {"pid", "host", "since"} <= said.keys()
        else ""
    )
