"""python -m benchmarks.scheduling [plan|driver|again|traffic|workers]...: what a run costs beside its work.

- plan: one scene of 100,000² pixels is planned;
- driver: 10,000 small scenes are planned and led through their stages by an executor that does nothing;
- again: a finished job of 100 scenes is given again;
- traffic: what is sent to workers and back for a scene of 8192 × 32768 pixels at the defaults;
- workers: a scene of 74 strips on two worker processes whose network sleeps: how long they wait for the driver.
"""

import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import rasterio

from benchmarks.faults import environment
from benchmarks.material import stub, texture
from geoseg.config import RunSettings
from geoseg.run.driver import execute
from geoseg.run.executors import Outcome
from geoseg.run.journal import journals, open_journal, read_journal
from geoseg.run.ledger import StripRecord
from geoseg.run.mapping import map_scenes
from geoseg.run.plan import plan_run
from geoseg.run.scene_run import SceneResult
from geoseg.run.tasks import ProbeTask, Published, PublishTask, Rasters, RasterTask, Runtime, SegmentTask, Task
from geoseg.vector.digest import TableDigests

GEOREFERENCE = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 4e5, 0, -0.5, 5.4e6)}


def sparse(path: Path, width: int, height: int) -> Path:
    """A scene of which no block was ever written: its size alone counts."""
    profile = {"count": 3, "dtype": "uint8", "tiled": True, "blockxsize": 512, "blockysize": 512, "bigtiff": "yes"}
    with rasterio.open(path, "w", "GTiff", width, height, sparse_ok=True, **GEOREFERENCE, **profile):
        return path


def plan(side: int = 100_000) -> None:
    """Time of planning, and the peak of a process that does nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        path = sparse(Path(folder) / "in.tif", side, side)
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
        return StripRecord(**strip, sha256="", bytes=0, counts={}, seconds={"all": 0.0}, precision="float32", host="")
    if isinstance(task, RasterTask):
        return Rasters({})
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
            results: list[SceneResult] = []
            execute(planned, Idle(), journal.event, results.append)
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


class Weighing(Idle):
    """An idle executor that adds up what a real one would send."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def submit(self, task: Task) -> None:
        """Weigh a task."""
        self.bytes += len(cloudpickle.dumps(task))
        super().submit(task)

    def next_outcome(self) -> Outcome:
        """Weigh what comes back."""
        outcome = super().next_outcome()
        self.bytes += len(cloudpickle.dumps(outcome.value))
        return outcome


def traffic(height: int = 32768, width: int = 8192) -> None:
    """Bytes for each megapixel of a scene."""
    with tempfile.TemporaryDirectory() as folder:
        path = sparse(Path(folder) / "in.tif", width, height)
        planned = plan_run(RunSettings(inputs=(str(path),), output=Path(folder) / "out", model=stub()), 8)
        weighing = Weighing()
        with open_journal(planned.output) as journal:
            execute(planned, weighing, journal.event, lambda _: None)
    print(
        f"traffic {width:,} × {height:,}: {weighing.bytes / (height * width / 1e6):.0f} bytes a megapixel (bar 1,000)"
    )


def workers(count: int = 2, sleep_s: float = 1.0) -> None:
    """Share of the time between the first and the last strip that worker processes have none."""
    scene = texture(16608, 512)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "geoseg.cli", "map", scene, "-o", folder / "out", "--model", stub(), "--quiet"]
        command += [
            "--tile-size",
            256,
            "--overlap",
            32,
            "--strip-rows",
            1,
            "--workers",
            count,
            "--log-json",
            folder / "log",
        ]
        env = {**environment(slow_s=sleep_s), "GEOSEG_LOADS": str(folder)}
        subprocess.run([str(c) for c in command], check=True, env=env)
        events = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
        loads = [int(p.read_text()) for p in folder.glob("loads-*")]
    strips = [e for e in events if e["event"] == "strip"]
    ready = next(e for e in events if e["event"] == "runtime")
    # The probe has loaded the model in one process; the others load theirs with their first strip.
    wall = (_time(strips[-1]) - _time(ready)).total_seconds()
    busy = sum(e["seconds"]["all"] for e in strips)
    print(
        f"workers: {len(strips)} strips of {sleep_s:g} s and more on {count} workers in {wall:.1f} s, of which they work "
        f"{busy / count / wall:.1%} (bar 98 %); {len(loads)} processes loaded {sum(loads)} models"
    )


def _time(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["time"])


if __name__ == "__main__":
    chosen = {"plan": plan, "driver": driver, "again": again, "traffic": traffic, "workers": workers}
    for word in sys.argv[1:] or chosen:
        chosen[word]()
