"""One scene on its way through the stages, and what becomes of it.

strips ──▶ class raster, confidence, rows of blocks ──▶ GeoPackage and project ──▶ scene record
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from geoseg import __version__
from geoseg.errors import DiskFull, OutputError
from geoseg.files import output_error, sha256_json
from geoseg.grid.tiling import Strip
from geoseg.raster.scene import replaced
from geoseg.raster.strips import CLASSES_BAND, CONFIDENCE_BAND
from geoseg.run import ledger
from geoseg.run.corrections import drop_outdated
from geoseg.run.executors import Outcome
from geoseg.run.ledger import StripRecord
from geoseg.run.plan import RunPlan, ScenePlan
from geoseg.run.redact import redacted
from geoseg.run.tasks import (
    Published,
    PublishTask,
    RasterTask,
    Runtime,
    SegmentTask,
    Task,
    VectorTask,
    vector_job,
)
from geoseg.vector.job import VectorJob, block_rows


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


class SceneRun:
    """One scene on its way through the stages."""

    def __init__(
        self,
        run: RunPlan,
        plan: ScenePlan,
        runtime: Runtime,
        observe: Observer,
        tell: Callable[[SceneResult], None],
    ) -> None:
        self.plan = plan
        self.ready: deque[Task] = deque()
        self.over = False
        self._run = run
        self._runtime = runtime
        self._observe = observe
        self._tell = tell
        self._failed: dict[int, str] = {}
        self._pending = 0
        self._parts: dict[int, Any] = {}
        self._job: VectorJob | None = None
        self._stage: Iterator[list[Task]] = self._stages()
        self._started = 0.0
        self._broken = ""
        self._digests: dict[str, str] = {}
        self._published: Published | None = None
        self._unreadable = 0
        self._warnings: list[str] = []

    def start(self) -> None:
        """Prepare the work folder and lay out the first stage."""
        self._started = time.perf_counter()
        plan = self.plan
        counts = {"strips": len(plan.strips), "committed": len(plan.committed)}
        self._observe("scene", {"name": plan.name, "path": str(plan.scene.path), **counts})
        try:
            ledger.begin(plan.work, plan.fingerprint, plan.strips, plan.committed)
        except (OSError, OutputError) as exc:
            self._end_unwritten(exc)
            return
        self._advance()

    def begun(self, task: Task) -> bool:
        """Whether a lost task had begun; only strips leave word, the others may have."""
        return not isinstance(task, SegmentTask) or ledger.take_begun(self.plan.work, task.strip)

    def take(self, outcome: Outcome) -> None:
        """Take in what became of a task, and go on to the next stage when it was the last of its stage."""
        self._pending -= 1
        task = outcome.task
        if outcome.error is not None:
            reason = str(outcome.error) or type(outcome.error).__name__
            self._observe("error", {"scene": self.plan.name, "task": task.key, "error": reason})
            if isinstance(outcome.error, DiskFull):
                raise outcome.error
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
            pixels = self._pixels(task.strip)
            self._observe(
                "strip", {"scene": self.plan.name, "task": task.key, "pixels": pixels, "seconds": value.seconds}
            )
            self._remark(task, value)
        elif isinstance(task, VectorTask):
            self._parts[task.index] = value
        elif isinstance(task, RasterTask):
            self._warn(value.warnings)
            self._digests |= value.sha256
        elif isinstance(task, PublishTask):
            self._published = value
            self._warn(value.warnings)
            self._digests |= value.sha256

    def _warn(self, warnings: Iterable[str]) -> None:
        for text in warnings:
            self._observe("warning", {"scene": self.plan.name, "warning": text})
            self._warnings.append(text)

    def _remark(self, task: SegmentTask, record: StripRecord) -> None:
        """Say what a strip did otherwise than usual."""
        if record.batch is not None:
            self._observe("memory", {"task": task.key, "host": record.host, "tiles at once": record.batch})
        if record.unreadable:
            self._observe("unreadable", {"scene": self.plan.name, "task": task.key, "pixels": record.unreadable})

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
        yield [SegmentTask(plan, s, run.settings, run.contract, self._runtime) for s in plan.missing]
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
            yield [PublishTask(plan, job, parts, provenance(run, plan, self._runtime), run.contract)]

    def _close(self) -> None:
        """All stages are over: write the scene record."""
        if self._broken:
            self._end("failed", self._broken)
            return
        plan = self.plan
        if (file := replaced(plan.scene)) is not None:
            self._end("failed", f"{file.name} was replaced while it was mapped; run the same command again")
            return
        status: Literal["partial", "done"] = "partial" if self._failed else "done"
        if self._run.settings.on_bad_block == "nodata":
            self._unreadable = ledger.unreadable(plan.work, plan.strips)
            self._warn(unreadable_told(self._unreadable, plan))
        try:
            self._warn(drop_outdated(plan.work, plan.fingerprint, self._run.output, self._digests))
            ledger.finish(plan.work, self._record(status))
        except (OSError, OutputError) as exc:
            self._end_unwritten(exc)
            return
        self._end(status, "; ".join(f"rows {self._rows(i)}: {reason}" for i, reason in self._failed.items()))

    def _record(self, status: str) -> dict[str, Any]:
        plan, published = self.plan, self._published
        path = str(plan.scene.path.absolute())
        tables = asdict(published.tables) if published and published.tables else {}
        sha256 = self._digests
        sizes = {name: (self._run.output / name).stat().st_size for name in sha256}
        last = ledger.last_record(plan.work)
        if last is not None and ledger.is_same_map(last, plan.fingerprint):  # its other formats are still of this map
            kept = [name for name in last["sha256"] if (self._run.output / name).is_file()]
            sha256 = {name: last["sha256"][name] for name in kept} | sha256
            sizes = {name: last["bytes"][name] for name in kept} | sizes
            tables = tables or last["tables"]
        return {
            "status": status,
            "fingerprint": plan.fingerprint,
            "unreadable": self._unreadable,
            "path": redacted(path),
            "files": [redacted(str(file.path)) for file in plan.scene.files],
            "files_sha256": [sha256_json(str(file.path)) for file in plan.scene.files],
            "failed_rows": {self._rows(i): reason for i, reason in self._failed.items()},
            "layers": published.layers if published else {},
            "sha256": sha256,
            "bytes": sizes,
            "tables": tables,
        }

    def _end_unwritten(self, exc: OSError | OutputError) -> None:
        """End this scene whose records cannot be written, or the run where the disk is full."""
        error = exc if isinstance(exc, OutputError) else output_error(Path(exc.filename or self.plan.work), exc)
        if isinstance(error, DiskFull):
            raise error from exc
        self._end("failed", str(error))

    def _pixels(self, strip: Strip) -> int:
        return (strip.row_stop - strip.row_start) * self.plan.scene.width

    def _rows(self, index: int) -> str:
        strip = self.plan.strips[index]
        return f"{strip.row_start}–{strip.row_stop - 1}"

    def _end(self, status: Literal["done", "partial", "failed"], reason: str) -> None:
        plan = self.plan
        warnings = (*plan.warnings, *self._warnings)
        self.over = True
        self.ready.clear()
        result = SceneResult(
            name=plan.name,
            path=str(plan.scene.path),
            status=status,
            reason=reason,
            layers=self._published.layers if self._published else {},
            pixels=plan.pending_pixels - sum(self._pixels(plan.strips[i]) for i in self._failed),
            seconds=round(time.perf_counter() - self._started, 3),
            outputs=tuple(str(p) for p in plan.outputs.all) if status != "failed" else (),
            warnings=warnings,
        )
        self._tell(result)
        self._observe("scene_over", {"name": plan.name, "status": status, "reason": reason})


def unreadable_told(pixels: int, plan: ScenePlan) -> tuple[str, ...]:
    """What a map says of pixels whose blocks could not be decoded, if there are any."""
    but = ", but where another file has them" if plan.scene.parts else ""
    return (f"{pixels:,} pixels lie in blocks that cannot be decoded: taken as nodata{but}",) if pixels else ()


def provenance(run: RunPlan, plan: ScenePlan, runtime: Runtime) -> dict[str, Any]:
    """How a map came about, without times, places or workers: the same map says the same."""
    settings = run.settings
    return {
        "geoseg": __version__,
        "model": run.contract.name,
        "model_version": run.contract.version,
        "weights_sha256": run.contract.weights_sha256,
        "scene": plan.scene.label,
        **({"files": [file.path.name for file in plan.scene.files]} if plan.scene.parts else {}),
        "scene_identity": plan.scene.identity,
        "bands": list(plan.bands),
        "pixel_size_m": round(plan.pixel_size_m, 4),
        "tile_size": plan.grid.tile_size,
        "overlap": plan.grid.overlap,
        "precision": runtime.precision,
        "vector": settings.vector.model_dump(mode="json"),
        "fingerprint": plan.fingerprint,
        "legend": run.contract.legend.to_dict(),
    }
