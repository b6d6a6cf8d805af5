"""python -m benchmarks.scheduling [plan|driver|again]...: what a run costs beside its work.

- plan: one scene of 100,000² pixels is planned;
- driver: 10,000 small scenes are planned and led through their stages by an executor that does nothing;
- again: a finished job of 100 scenes is given again.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from benchmarks.material import stub
from geoseg.config import RunSettings
from geoseg.run.driver import execute
from geoseg.run.executors import Outcome
from geoseg.run.journal import journals, open_journal, read_journal
from geoseg.run.ledger import StripRecord
from geoseg.run.mapping import map_scenes
from geoseg.run.plan import plan_run
from geoseg.run.tasks import ProbeTask, Published, PublishTask, RasterTask, Runtime, SegmentTask, Task
from geoseg.vector.digest import TableDigests

GEOREFERENCE = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 4e5, 0, -0.5, 5.4e6)}


def plan(side: int = 100_000) -> None:
    """Time of planning, and the peak of a process that does nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.tif"
        profile = {"count": 3, "dtype": "uint8", "tiled": True, "blockxsize": 512, "blockysize": 512, "bigtiff": "yes"}
        with rasterio.open(path, "w", "GTiff", side, side, sparse_ok=True, **GEOREFERENCE, **profile):
            pass
        code = (
            "import sys, time; from pathlib import Path\n"
            "from geoseg.config import RunSettings; from geoseg.run.plan import plan_run\n"
            "started = time.perf_counter()\n"
            "plan = plan_run(RunSettings(inputs=(sys.argv[1],), output=Path(sys.argv[2]), model=Path(sys.argv[3])), 16)\n"
            "seconds = time.perf_counter() - started\n"
            # Not ru_maxrss, which begins with what the parent had.
            "peak = next(s.split()[1] for s in open('/proc/self/status') if s.startswith('VmHWM'))\n"
            "print(len(plan.scenes[0].strips), len(plan.scenes[0].grid), seconds, int(peak) * 1024 / 1e6)"
        )
        command = [sys.executable, "-c", code, str(path), str(Path(folder) / "out"), str(stub())]
        strips, tiles, seconds, peak = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.split()
    print(
        f"plan {side:,}²: {tiles} tiles, {strips} strips in {float(seconds):.2f} s (bar 2), "
        f"{float(peak):.0f} MB for all of the process (bar 200)"
    )


class Idle:
    """An executor that takes every task for done."""

    workers = 8

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    def has_room(self, lane: str = "network") -> bool:
        """Two for each worker."""
        return len(self._tasks) < 2 * self.workers

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._tasks.append(task)

    def next_outcome(self) -> Outcome:
        """The oldest is over."""
        task = self._tasks.pop(0)
        return Outcome(task, _value(task))


def _value(task: Task) -> Any:
    if isinstance(task, ProbeTask):
        return Runtime("cpu", "float32")
    if isinstance(task, SegmentTask):
        strip = {"fingerprint": task.plan.fingerprint, "first": task.strip.first, "stop": task.strip.stop}
        return StripRecord(**strip, sha256="", bytes=0, counts={}, seconds={"all": 0.0}, host="")
    if isinstance(task, RasterTask):
        return {}
    return Published({}, {}, TableDigests(0, {})) if isinstance(task, PublishTask) else Path()


def small_scenes(folder: Path, count: int) -> None:
    """Scenes of 64 × 64 pixels, each in one strip."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(1, 255, (3, 64, 64), dtype=np.uint8)
    for i in range(count):
        with rasterio.open(folder / f"{i:05d}.tif", "w", "GTiff", 64, 64, 3, dtype="uint8", **GEOREFERENCE) as dst:
            dst.write(pixels)


def _clocks() -> tuple[float, float]:
    """Wall and CPU seconds: on a busy machine, and on a disk that others write to, they differ."""
    return time.perf_counter(), time.process_time()


def driver(count: int = 10_000) -> None:
    """Milliseconds for each small scene: looking at it, and everything that the driver does while it is mapped."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_scenes(folder / "in", count)
        settings = RunSettings(inputs=(str(folder / "in"),), output=folder / "out", model=stub())
        started, _ = _clocks()
        planned = plan_run(settings, 8)
        looked, before = _clocks()
        with open_journal(planned.output) as journal:
            results = execute(planned, Idle(), journal.event)
        done, after = _clocks()
    if not all(r.status == "done" for r in results):
        raise SystemExit("a scene was not led to its end")
    print(
        f"driver {count:,} scenes: {(done - looked) / count * 1e3:.2f} ms each (bar 5), {(after - before) / count * 1e3:.2f} of "
        f"them on a CPU; planning them {(looked - started) / count * 1e3:.2f} ms each"
    )


def again(count: int = 100) -> None:
    """Seconds of a second run over a finished folder, in this process: start-up does not count."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_scenes(folder / "in", count)
        settings = RunSettings(
            inputs=(str(folder / "in"),),
            output=folder / "out",
            model=stub(),
            workers=0,
            quiet=True,
            tile_size=64,
            overlap=32,
        )
        started = time.perf_counter()
        map_scenes(settings)
        first = time.perf_counter() - started
        started = time.perf_counter()
        map_scenes(settings)
        second = time.perf_counter() - started
        forwards = sum(e["event"] == "strip" for e in read_journal(journals(folder / "out")[-1]))
    print(
        f"again {count} scenes: {second:.2f} s (bar 3; the first run took {first:.1f} s), {forwards} strips forwarded"
    )


if __name__ == "__main__":
    chosen = {"plan": plan, "driver": driver, "again": again}
    for word in sys.argv[1:] or chosen:
        chosen[word]()
