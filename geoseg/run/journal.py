"""The journal: what happens in a run, one JSON line an event, appended as it happens and synced to the disk.

OUT/.geoseg/journal/20260131T095959123456-4711.jsonl, one for each run. Status is told from it; what is committed is
told by the records in the work folders alone, so a lost line loses no work.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geoseg.errors import OutputError
from geoseg.files import output_error
from geoseg.run.find import OWN_FOLDER
from geoseg.run.plan import RunPlan
from geoseg.run.redact import redacted

_KEPT = 100
"""Journals kept in an output folder, and at least two of each shard; older ones are removed."""
_LEFT_OUT = frozenset({"look", "task"})
"""Events that say nothing of what is done: a journal has a few lines a strip, not one for every task."""
_SYNC_S = 0.2
"""A run of many small scenes would else spend its time waiting for the disk."""
_URGENT = frozenset({"run", "worker lost", "error", "over"})
"""Events that are on the disk before anything follows from them."""


class Journal:
    """Appends the events of one run."""

    def __init__(self, path: Path) -> None:
        """Begin the journal at `path`; raises OSError."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._synced = 0.0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def begin(self, plan: RunPlan) -> None:
        """The first line: what the run has before it; raises OutputError."""
        refused = {_name(r.path): r.reason for r in plan.refusals}
        pending = {s.name: str(s.scene.path) for s in plan.pending}
        run = {"pid": os.getpid(), "host": socket.gethostname(), "shard": plan.settings.shard}
        done = [s.name for s in plan.scenes if s.done]
        self.event("run", {**run, "pending": pending, "refused": refused, "done": done})

    def event(self, name: str, values: dict[str, Any]) -> None:
        """Append an event, so that it outlives the process; raises OutputError."""
        if name in _LEFT_OUT:
            return
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": name, **redacted(values)}
        data = (json.dumps(line, default=str, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        try:
            os.write(self._fd, data)  # one call, so that a kill leaves a whole line or none
            if name in _URGENT or time.monotonic() - self._synced > _SYNC_S:
                os.fsync(self._fd)
                self._synced = time.monotonic()
        except OSError as exc:
            raise output_error(self.path, exc) from exc

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _name(path: Path) -> str:
    """Refused files have no name in the run, and may share their stem."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def open_journal(output: Path, shards: int = 1) -> Iterator[Journal]:
    """The journal of a new run, one of `shards`, in an output folder, which the caller has locked; raises OutputError."""
    folder = output / OWN_FOLDER / "journal"
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    target = folder / f"{stamp}-{os.getpid()}.jsonl"
    if folder.is_symlink():
        raise OutputError(f"{folder}: is a link that leads out of {output}. Remove the link.")
    try:
        for old in journals(output)[: 1 - max(_KEPT, 2 * shards)]:
            old.unlink(missing_ok=True)
        journal = Journal(target)
    except OSError as exc:
        raise output_error(target, exc) from exc
    try:
        yield journal
    finally:
        journal.close()


def journals(output: Path) -> list[Path]:
    """The journals of an output folder, oldest first."""
    return sorted((output / OWN_FOLDER / "journal").glob("*.jsonl"))


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a journal; a line that a crash of the machine left half-written is passed over."""
    with path.open("rb") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                yield event
