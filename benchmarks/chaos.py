"""python -m benchmarks.chaos [KILLS [SEED [WORKERS]]]: `kill -9` at random moments, of workers and of the driver.

Until KILLS are done, a scene of more than 40 strips is mapped by WORKERS processes (three). Once a driver is killed, the
same command is given again; once a scene is finished, it is begun anew in an empty folder. What must hold, and ends the
program where it does not:

- the final outputs are those of the run that nobody disturbed, and every one of them is whole whenever it is there;
- no strip that was committed is computed again;
- no strip fails, for none is to blame;
- nothing half-written is left.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import rasterio

from benchmarks.faults import environment
from geoseg.files import sha256_file
from geoseg.run.journal import journals, read_journal
from geoseg.run.status import folder_status
from geoseg.run.verify import verify_folder
from geoseg.vector.digest import digest_tables

TILE, OVERLAP, STRIPS = 128, 32, 44
SLOW_S = 0.4
"""A strip takes at least this long, or it would be over before it could be killed."""
LAYERS = ("buildings", "roads", "road_centerlines", "green")


def scene(path: Path) -> Path:
    """Squares of random colours, 44 strips of one tile row high."""
    rows, cols = OVERLAP + STRIPS * (TILE - OVERLAP), 256
    squares = np.random.default_rng(1).integers(1, 255, (3, rows // 16, cols // 16), dtype=np.uint8)
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": rows, "width": cols, "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6), **profile) as dst:
        dst.write(squares.repeat(16, 1).repeat(16, 2))
    return path


@dataclass
class Tally:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    finished: int = 0
    resumed: int = 0
    """Strips found committed by a run that came after a kill of the driver."""
    suspected: int = 0
    """Strips that two kills met, and that were then run alone."""


class Chaos:
    """One scene, mapped over and over while its processes are killed."""

    def __init__(self, folder: Path, model: Path, seed: int, workers: int) -> None:
        self.folder, self.model, self.workers = folder, model, workers
        self.random = random.Random(seed)
        self.scene = scene(folder / "in.tif")
        self.tally = Tally()
        self.reference = folder / "reference"
        self._must(self._start(self.reference, workers=0).wait() == 0, "the undisturbed run failed")
        self.digest = self._digest(self.reference)

    def run(self, kills: int) -> Tally:
        """Until `kills` are done and the scene that they met is finished."""
        round_number = 0
        while self.tally.kills.total() < kills:
            round_number += 1
            self._scene(self.folder / f"round_{round_number}", kills)
        return self.tally

    def _scene(self, out: Path, kills: int) -> None:
        """One scene from its first strip to its outputs, through as many drivers as it takes."""
        seen: dict[str, int] = {}
        while True:
            process = self._start(out, self.workers)
            before = self._committed(out)
            self.tally.resumed += len(before)
            with self._watched(process):
                self._disturb(process, out, seen, kills)
            self._check_finals(out)
            if process.returncode == 0:
                break
            self._must(process.returncode == -9, f"the driver ended with {process.returncode}", out)
        self._check(out)
        self.tally.finished += 1
        shutil.rmtree(out)

    def _disturb(self, process: psutil.Popen, out: Path, seen: dict[str, int], kills: int) -> None:
        """Kill until the driver is dead or done, and watch the strips meanwhile."""
        # One in eight is met while it starts; the others once their workers have strips, or few kills would meet any.
        due = time.monotonic() + self.random.uniform(0, 10) if self.random.random() < 1 / 8 else None
        while process.poll() is None:
            self._watch(out, seen)
            if due is None and _at_work(out, process):
                due = time.monotonic() + self.random.uniform(0, 4)
            if due is not None and time.monotonic() >= due and self.tally.kills.total() < kills:
                self._kill(process, out)
                due = time.monotonic() + self.random.uniform(0.3, 4)
            time.sleep(0.01)
        self._watch(out, seen)

    def _kill(self, driver: psutil.Popen, out: Path) -> None:
        workers = _workers(driver) if _at_work(out, driver) else []
        victim = "driver" if not workers or self.random.random() < 0.2 else "worker"
        try:
            (driver if victim == "driver" else self.random.choice(workers)).kill()
        except psutil.NoSuchProcess:
            return
        self.tally.kills[victim] += 1

    def _watch(self, out: Path, seen: dict[str, int]) -> None:
        """A strip that is committed stays the very same file until the scene is finished."""
        for name, inode in self._committed(out).items():
            self._must(seen.setdefault(name, inode) == inode, f"strip {name} was committed twice", out)

    def _committed(self, out: Path) -> dict[str, int]:
        found = {}
        for record in out.glob(".geoseg/in/strips/*.json"):
            try:
                found[record.stem] = record.with_suffix(".tif").stat().st_ino
            except FileNotFoundError:  # the scene was finished in this instant
                continue
        return found

    def _check_finals(self, out: Path) -> None:
        """Whatever output is there is whole, also right after a kill."""
        for name, sha256 in self.digest.items():
            if (out / name).suffix != ".gpkg" and (out / name).exists():
                self._must(sha256_file(out / name) == sha256, f"{name} is corrupt", out)
        if (out / "in.gpkg").exists():
            self._must(self._tables(out) == self.digest["in.gpkg"], "in.gpkg has other features", out)

    def _check(self, out: Path) -> None:
        self._must(self._digest(out) == self.digest, "an output differs from the undisturbed run", out)
        self._must(all(f.state == "whole" for f in verify_folder(out)), "geoseg verify finds damage", out)
        self._must(folder_status(out).ok, "geoseg status does not say done", out)
        self._must(not [p for p in out.rglob("*") if ".tmp" in p.name], "something half-written is left", out)
        events = [e for path in journals(out) for e in read_journal(path)]
        self._must(not [e for e in events if e["event"] == "error"], "an innocent strip failed", out)
        suspects = {e["task"] for e in events if e["event"] == "worker lost" and e["deaths"] >= 2}
        self.tally.suspected += len(suspects)

    def _digest(self, out: Path) -> dict[str, str]:
        rasters = {p.name: sha256_file(p) for p in (out / "in_classes.tif", out / "in_classes.qml")}
        return {**rasters, "in.gpkg": self._tables(out)}

    def _tables(self, out: Path) -> str:
        return str(sorted(digest_tables(out / "in.gpkg", LAYERS).tables.items()))

    def _start(self, out: Path, workers: int) -> psutil.Popen:
        self.tally.starts += 1
        arguments = ["map", self.scene, "-o", out, "--model", self.model, "--workers", workers, "--strip-rows", 1]
        arguments += ["--tile-size", TILE, "--overlap", OVERLAP, "--quiet"]
        with (self.folder / "stderr.txt").open("w") as log:
            command = [sys.executable, "-m", "geoseg.cli", *map(str, arguments)]
            return psutil.Popen(command, env=environment(slow_s=SLOW_S), stdout=subprocess.DEVNULL, stderr=log)

    @contextmanager
    def _watched(self, process: psutil.Popen) -> Iterator[None]:
        """Nothing outlives its driver, whatever comes: workers that do would write into the next round."""
        family: list[psutil.Process] = []
        try:
            yield
        finally:
            if process.poll() is None:
                family = process.children(recursive=True)
                process.kill()
            process.wait()
            for member in family:
                member.kill()

    def _must(self, holds: bool, complaint: str, out: Path | None = None) -> None:
        if not holds:
            log = self.folder / "stderr.txt"
            raise SystemExit(f"CHAOS: {complaint} ({out}; {self.tally})\n{log.read_text() if log.exists() else ''}")


def _at_work(out: Path, driver: psutil.Popen) -> bool:
    """Whether this driver has workers that are ready."""
    return any(f"-{driver.pid}." in p.name and b'"event": "runtime"' in p.read_bytes() for p in journals(out)[-1:])


def _workers(driver: psutil.Popen) -> list[psutil.Process]:
    try:
        return [p for p in driver.children() if "spawn_main" in " ".join(p.cmdline())]
    except psutil.NoSuchProcess:
        return []


def chaos(kills: int = 50, seed: int = 0, workers: int = 3, *, model: Path | None = None) -> Tally:
    """Kill `kills` times; returns what happened, or raises SystemExit with what does not hold."""
    if model is None:
        from benchmarks.material import stub

        model = stub()
    with tempfile.TemporaryDirectory(prefix="geoseg-chaos-") as folder:
        return Chaos(Path(folder), model, seed, workers).run(kills)


if __name__ == "__main__":
    started = time.perf_counter()
    total = chaos(*map(int, sys.argv[1:]))
    print(
        f"chaos: {total.kills.total()} kills ({total.kills['worker']} workers, {total.kills['driver']} drivers) over "
        f"{total.finished} scenes of {STRIPS} strips in {time.perf_counter() - started:.0f} s on {os.cpu_count()} cores: "
        f"outputs identical, 0 corrupt, 0 committed strips computed again ({total.resumed} resumed), 0 innocent strips "
        f"failed ({total.suspected} run alone)"
    )
