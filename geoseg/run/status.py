"""What is done in an output folder, what runs, what failed and why: told from journals and records, by any process.

Reads only; a run that goes on is not disturbed.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from geoseg.errors import ConfigError
from geoseg.files import read_json
from geoseg.run import ledger
from geoseg.run.find import OWN_FOLDER
from geoseg.run.journal import journals, read_journal
from geoseg.run.lock import holder
from geoseg.run.redact import BLANK

State = Literal["done", "partial", "failed", "refused", "interrupted", "running", "waiting", "lost"]
"""`interrupted`: begun or planned by a run that is no more. `lost`: mapped once, but an output is not there any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneStatus:
    """One scene."""

    name: str
    path: str
    state: State
    reason: str = ""
    """Why it is not done, or what its last error was."""
    strips: int = 0
    """Strips in all; 0 where that is not known."""
    committed: int = 0
    """Strips that are on the disk and stay there."""
    changed: str = ""
    """When it was last heard of, ISO 8601 in UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStatus:
    """An output folder."""

    output: str
    run: dict[str, Any] | None
    """Process, host and start of the run that goes on; None where none does."""
    scenes: tuple[SceneStatus, ...]
    """By name."""
    last: str = ""
    """When the last run was last heard of."""
    counts: dict[State, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every scene is done, or may still be: nothing failed and nothing is left behind."""
        return set(self.counts) <= {"done", "running", "waiting"}


def folder_status(output: Path) -> FolderStatus:
    """The state of every scene that was ever mapped into a folder; raises ConfigError where none was."""
    work = output / OWN_FOLDER
    if not work.is_dir():
        raise ConfigError(f"{output}: not an output folder of geoseg ({OWN_FOLDER} is not in it). Name one.")
    run = holder(output)
    replay = _Replay()
    for path in journals(output):
        replay.take(path)
    if run is None:
        replay.over()
    scenes = {n: s for n, s in replay.scenes.items() if run is not None or not _is_gone(s)}
    for record in sorted(work.glob(f"*/{ledger.SCENE_RECORD}")):
        name = record.parent.name
        if name not in scenes or scenes[name].state in ("done", "partial") or name in replay.cut_off:
            scenes[name] = _recorded(output, name, read_json(record), scenes.get(name))
    told = tuple(_committed(work, scenes[name]) for name in sorted(scenes))
    states = [s.state for s in told]
    return FolderStatus(
        output=str(output),
        run=run,
        scenes=told,
        last=replay.last,
        counts={state: states.count(state) for state in sorted(set(states))},
    )


class _Replay:
    """The scenes as the journals tell of them, one event after the other."""

    def __init__(self) -> None:
        self.scenes: dict[str, SceneStatus] = {}
        self.last = ""
        self.cut_off: set[str] = set()
        """Scenes that were at work when their run ended; a record that one has all the same is its last word."""

    def take(self, path: Path) -> None:
        """One run, later than those before."""
        tellers: dict[str, Callable[[dict[str, Any]], None]] = {
            "run": self._run,
            "scene": self._scene,
            "error": self._error,
            "scene_over": self._scene_over,
        }
        for event in read_journal(path):
            if event["event"] == "run" and not event.get("shard"):
                self.over()  # a run that comes after another one found it gone; shards run together
            self.last = str(event.get("time", ""))
            teller = tellers.get(event["event"])
            if teller is not None:
                teller(event)

    def over(self) -> None:
        """There is no run any more: what was not finished is left behind."""
        for name, scene in self.scenes.items():
            if scene.state == "running":
                self.cut_off.add(name)
            if scene.state in ("running", "waiting"):
                self.scenes[name] = replace(scene, state="interrupted")

    def _run(self, event: dict[str, Any]) -> None:
        # A refusal is of its run: the file may have been mended, and has a name only once it is mapped.
        # Shards run together: one forgets only what it has before it itself.
        pending = event.get("pending", {})
        gone = set(pending.values()) if event.get("shard") else {s.path for s in self.scenes.values()}
        self.scenes = {n: s for n, s in self.scenes.items() if s.state != "refused" or s.path not in gone}
        for name, path in pending.items():
            self._put(name, event, path=path, state="waiting", reason="")
        for name in event.get("done", ()):
            if name in self.scenes:
                self._put(name, event, state="done", reason="")
        for path, reason in event.get("refused", {}).items():
            self._put(path, event, path=path, state="refused", reason=reason)

    def _scene(self, event: dict[str, Any]) -> None:
        strips, committed = event.get("strips", 0), event.get("committed", 0)
        self._put(event["name"], event, state="running", strips=strips, committed=committed)

    def _error(self, event: dict[str, Any]) -> None:
        self._put(event["scene"], event, reason=event["error"])

    def _scene_over(self, event: dict[str, Any]) -> None:
        state = event["status"] if event["status"] in ("done", "partial") else "failed"
        self._put(event["name"], event, state=state, reason=event.get("reason", ""))

    def _put(self, name: str, event: dict[str, Any], **changes: Any) -> None:
        self.cut_off.discard(name)
        before = self.scenes.get(name) or SceneStatus(name=name, path="", state="waiting")
        self.scenes[name] = replace(before, changed=str(event.get("time", "")), **changes)


def _is_gone(scene: SceneStatus) -> bool:
    """Whether a scene was never finished and is not there any more, where its neighbours are: nobody waits for it."""
    path = Path(scene.path)
    if scene.state not in ("waiting", "interrupted") or not path.is_absolute() or BLANK in scene.path:
        return False
    try:
        return not os.path.lexists(path) and any(path.parent.iterdir())
    except OSError:  # not even its folder: a disk that is away
        return False


def _recorded(output: Path, name: str, record: Any, told: SceneStatus | None) -> SceneStatus:
    """A scene that was finished, as its record has it: the record is the truth, the journal only tells."""
    record = record if isinstance(record, dict) else {}
    scene = told or SceneStatus(name=name, path=str(record.get("path", "")), state="done")
    lost = sorted(file for file in record.get("bytes", {}) if not (output / file).is_file())
    if lost or not record:
        return replace(scene, state="lost", reason=f"not there any more: {', '.join(lost) or ledger.SCENE_RECORD}")
    state: State = "partial" if record.get("status") == "partial" else "done"
    return replace(scene, state=state, reason="; ".join(f"rows {r}: {why}" for r, why in record["failed_rows"].items()))


def _committed(work: Path, scene: SceneStatus) -> SceneStatus:
    if scene.state == "done":
        return replace(scene, committed=scene.strips)
    if scene.state in ("waiting", "refused", "lost"):
        return scene
    return replace(scene, committed=sum(1 for _ in (work / scene.name / "strips").glob("*.json")))
