"""The run: scenes pass through their stages while the executor is kept busy.

    strips ──▶ class raster, confidence, rows of blocks ──▶ GeoPackage and project ──▶ scene record

A scene that is late does not hold up the next: whatever is ready is submitted, oldest scene first.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from geoseg import __version__
from geoseg.errors import BrokenRaster, GeosegError, OutputError
from geoseg.raster.strips import CLASSES_BAND, CONFIDENCE_BAND
from geoseg.run import ledger
from geoseg.run.executors import Executor, Outcome
from geoseg.run.plan import RunPlan, ScenePlan
from geoseg.run.tasks import (
    ProbeTask,
    PublishTask,
    RasterTask,
    Runtime,
    SegmentTask,
    Task,
    VectorTask,
    vector_job,
)
from geoseg.vector.job import VectorJob, block_rows

_TRIES = 3
"""How often a task is tried whose failure may pass: a lost worker, an unreadable disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneResult:
    """What became of a scene."""

    name: str
    path: str
    status: Literal["done", "up to date", "partial", "failed", "refused"]
    reason: str = ""
    """Why it is not done."""
    layers: dict[str, int] = field(default_factory=dict)
    """Layer → features."""
    pixels: int = 0
    """Pixels mapped in this run."""
    seconds: float = 0.0
    """Wall time from its first task to its last."""
    outputs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether its map is whole and up to date."""
        return self.status in ("done", "up to date")


Observer = Callable[[str, dict[str, Any]], None]
"""Called with the name of an event and its values: progress, logs."""


def execute(plan: RunPlan, executor: Executor, observe: Observer) -> list[SceneResult]:
    """Map all scenes of a plan; returns a result for each, in the order of the plan.

    Raises ConfigError or ModelError where no scene could be mapped at all, OutputError where the disk is full.
    """
    if not plan.pending:
        return [_unchanged(s) for s in plan.scenes]
    runtime = _probe(plan, executor)
    observe("runtime", {"device": runtime.device, "precision": runtime.precision, "versions": runtime.versions})
    runs = {s.name: _SceneRun(plan, s, runtime, observe) for s in plan.pending}
    queue = _Queue(executor, runs)
    queue.drain()
    return [runs[s.name].result if s.name in runs else _unchanged(s) for s in plan.scenes]


def _unchanged(scene: ScenePlan) -> SceneResult:
    outputs = tuple(str(p) for p in scene.outputs.all)
    return SceneResult(
        name=scene.name, path=str(scene.scene.path), status="up to date", outputs=outputs, warnings=scene.warnings
    )


def _probe(plan: RunPlan, executor: Executor) -> Runtime:
    executor.submit(ProbeTask(plan.settings, plan.contract))
    outcome = executor.next_outcome()
    if outcome.error is not None:
        raise outcome.error
    runtime: Runtime = outcome.value
    return runtime


class _Queue:
    """Keeps the executor busy with what is ready, oldest scene first."""

    def __init__(self, executor: Executor, runs: dict[str, "_SceneRun"]) -> None:
        self._executor = executor
        self._waiting = deque(runs.values())
        self._active: list[_SceneRun] = []
        self._owner: dict[str, _SceneRun] = {}
        self._tries: dict[str, int] = {}

    def drain(self) -> None:
        """Until every scene is over."""
        while self._fill() or self._owner:
            outcome = self._executor.next_outcome()
            run = self._owner.pop(outcome.task.key)
            if outcome.error is not None and self._again(outcome):
                run.ready.appendleft(outcome.task)
            else:
                run.take(outcome)
            self._active = [r for r in self._active if not r.over]

    def _fill(self) -> bool:
        """Submit what there is room for; whether anything was submitted."""
        submitted = False
        while self._executor.has_room():
            run = next((r for r in self._active if r.ready), None)
            if run is None:
                if not self._waiting:
                    break
                run = self._waiting.popleft()
                run.start()
                self._active.append(run)
                continue
            task = run.ready.popleft()
            self._owner[task.key] = run
            self._executor.submit(task)
            submitted = True
        return submitted

    def _again(self, outcome: Outcome) -> bool:
        """Whether a failed task deserves another try: not where the input or the settings are wrong."""
        if isinstance(outcome.error, OutputError) or not _may_pass(outcome.error):
            return False
        key = outcome.task.key
        self._tries[key] = self._tries.get(key, 1) + 1
        return self._tries[key] <= _TRIES


def _may_pass(error: BaseException | None) -> bool:
    """Whether an error may not come again: a wrong setting comes again, and so does a bug; disks and workers recover."""
    if isinstance(error, BrokenRaster):  # an unreadable block may be a network drive that was away
        return True
    return not isinstance(error, (GeosegError, TypeError, ValueError, AttributeError, KeyError))


class _SceneRun:
    """One scene on its way through the stages."""

    def __init__(self, run: RunPlan, plan: ScenePlan, runtime: Runtime, observe: Observer) -> None:
        self.plan = plan
        self.ready: deque[Task] = deque()
        self.over = False
        self.result = SceneResult(name=plan.name, path=str(plan.scene.path), status="failed", reason="not started")
        self._run = run
        self._runtime = runtime
        self._observe = observe
        self._failed: dict[int, str] = {}
        self._pending = 0
        self._parts: dict[int, Any] = {}
        self._job: VectorJob | None = None
        self._stage: Iterator[list[Task]] = self._stages()
        self._started = 0.0
        self._broken = ""
        self._digests: dict[str, str] = {}
        self._layers: dict[str, int] = {}

    def start(self) -> None:
        """Prepare the work folder and lay out the first stage."""
        self._started = time.perf_counter()
        self._observe("scene", {"name": self.plan.name, "path": str(self.plan.scene.path)})
        try:
            ledger.begin(self.plan.work, self.plan.fingerprint, self.plan.strips, self.plan.committed)
        except OSError as exc:
            self._end("failed", f"{self.plan.work}: cannot be prepared ({exc.strerror}).")
            return
        self._advance()

    def take(self, outcome: Outcome) -> None:
        """Take in what became of a task, and go on to the next stage when it was the last of its stage."""
        self._pending -= 1
        task = outcome.task
        if outcome.error is not None:
            self._observe("error", {"task": task.key, "error": str(outcome.error)})
            if isinstance(outcome.error, OutputError):
                raise outcome.error
            reason = str(outcome.error) or type(outcome.error).__name__
            if isinstance(task, SegmentTask):
                self._failed[task.strip.index] = reason
            else:
                self._broken = self._broken or reason
        else:
            self._keep(task, outcome.value)
        if self._pending == 0 and not self.ready:
            self._advance()

    def _keep(self, task: Task, value: Any) -> None:
        self._observe("task", {"task": task.key})
        if isinstance(task, SegmentTask):
            rows = task.strip.row_stop - task.strip.row_start
            self._observe("strip", {"task": task.key, "pixels": rows * self.plan.scene.width, "seconds": value.seconds})
        elif isinstance(task, VectorTask):
            self._parts[task.index] = value
        elif isinstance(task, RasterTask) and value:
            self._digests["classes" if task.band == CLASSES_BAND else "confidence"] = value
        elif isinstance(task, PublishTask):
            self._layers = value

    def _advance(self) -> None:
        """Lay out the next stage that has tasks, or end."""
        if self._broken:
            self._end("failed", self._broken)
            return
        for tasks in self._stage:
            if tasks:
                self.ready.extend(tasks)
                self._pending = len(tasks)
                return
        self._close()

    def _stages(self) -> Iterator[list[Task]]:
        plan, run = self.plan, self._run
        missing = [s for s in plan.strips if s.index not in plan.committed]
        yield [SegmentTask(plan, s, run.settings, run.contract, self._runtime) for s in missing]
        if len(self._failed) == len(plan.strips):
            self._broken = next(iter(self._failed.values()))
            return
        failed = frozenset(self._failed)
        job = vector_job(plan, run.settings, run.contract, failed)
        count = block_rows(job)
        yield [
            RasterTask(plan, run.contract, failed, CLASSES_BAND),
            *([RasterTask(plan, run.contract, failed, CONFIDENCE_BAND)] if plan.outputs.confidence else []),
            *(VectorTask(plan.name, job, i) for i in range(count)),
        ]
        if not self._broken:
            parts = tuple(self._parts[i] for i in range(count))
            yield [PublishTask(plan, job, parts, provenance(run, plan, self._runtime))]

    def _close(self) -> None:
        """All stages are over: write the scene record."""
        if self._broken:
            self._end("failed", self._broken)
            return
        status: Literal["partial", "done"] = "partial" if self._failed else "done"
        record = {
            "status": status,
            "fingerprint": self.plan.fingerprint,
            "failed_rows": {self._rows(i): reason for i, reason in self._failed.items()},
            "layers": self._layers,
            "sha256": self._digests,
            "bytes": {p.name: p.stat().st_size for p in self.plan.outputs.all},
        }
        ledger.finish(self.plan.work, record)
        self._end(status, "; ".join(f"rows {self._rows(i)}: {reason}" for i, reason in self._failed.items()))

    def _rows(self, index: int) -> str:
        strip = self.plan.strips[index]
        return f"{strip.row_start}–{strip.row_stop - 1}"

    def _end(self, status: Literal["done", "partial", "failed"], reason: str) -> None:
        plan = self.plan
        self.over = True
        self.ready.clear()
        self.result = SceneResult(
            name=plan.name,
            path=str(plan.scene.path),
            status=status,
            reason=reason,
            layers=self._layers,
            pixels=plan.pending_pixels,
            seconds=round(time.perf_counter() - self._started, 3),
            outputs=tuple(str(p) for p in plan.outputs.all) if status != "failed" else (),
            warnings=plan.warnings,
        )
        self._observe("scene_over", {"name": plan.name, "status": status, "reason": reason})


def provenance(run: RunPlan, plan: ScenePlan, runtime: Runtime) -> dict[str, Any]:
    """How a map came about, without times, places or workers: the same map says the same."""
    settings = run.settings
    return {
        "geoseg": __version__,
        "model": run.contract.name,
        "model_version": run.contract.version,
        "weights_sha256": run.contract.weights_sha256,
        "scene": plan.scene.path.name,
        "scene_identity": plan.scene.identity,
        "bands": list(plan.bands),
        "pixel_size_m": round(plan.pixel_size_m, 4),
        "tile_size": settings.tile_size,
        "overlap": settings.overlap,
        "precision": runtime.precision,
        "vector": settings.vector.model_dump(mode="json"),
        "fingerprint": plan.fingerprint,
        "legend": run.contract.legend.to_dict(),
    }
