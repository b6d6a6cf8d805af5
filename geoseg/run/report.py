"""What a run tells while it goes on and when it is over: a bar or plain lines, a summary, JSON lines."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from io import FileIO
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from geoseg.config import RunSettings
from geoseg.errors import ConfigError
from geoseg.files import output_error
from geoseg.run.estimate import Estimate
from geoseg.run.manifest import manifest_name
from geoseg.run.plan import RunPlan, ScenePlan, status
from geoseg.run.redact import redacted
from geoseg.run.scene_run import SceneResult

_SHOWN = 20
"""Scenes named on the screen; run.json names them all."""


class Reporter:
    """Shows one run."""

    def __init__(self, settings: RunSettings, console: Console, log: FileIO | None) -> None:
        """Report to `console`, and event by event to `log`."""
        self._settings = settings
        self._console = console
        self._log = log
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._scenes = (0, 0)
        self._pixels = (0, 0)
        self._started = time.perf_counter()

    def event(self, name: str, values: dict[str, Any]) -> None:
        """One event: to the log, and to the bar or the lines where it means progress."""
        if self._log is not None:
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = json.dumps({"time": stamp, "event": name, **redacted(values)}, default=str) + "\n"
            try:
                self._log.write(line.encode())
            except OSError as exc:
                self._log = None
                self._line(f"warning: {self._settings.log_json}: {exc.strerror}; the log ends here", always=True)
        if name == "strip":
            self._pixels = (self._pixels[0] + values["pixels"], self._pixels[1])
            self._progress()
        elif name == "scene_over":
            self._scenes = (self._scenes[0] + 1, self._scenes[1])
            self._progress()
            self._line(f"{values['name']}: {values['status']}{_because(values['reason'])}")
        elif name == "error":
            self._line(f"{values['task']}: {values['error']}", always=True)
        elif name == "warning":
            self._line(f"warning: {values['scene']}: {values['warning']}", always=True)
        elif name == "runtime":
            self._line(f"network on {values['device']} in {values['precision']}")
        elif self._settings.verbose:
            self._line(f"{name}: " + ", ".join(f"{k} {v}" for k, v in values.items()))

    def planned(self, plan: RunPlan, needs: Estimate) -> None:
        """The plan: what will be done and what it needs; also all there is of a dry run."""
        self._scenes = (0, len(plan.pending))
        self._pixels = (0, needs.scene_pixels)
        # A dry run writes no run.json, so it names them all.
        shown = len(plan.refusals) if self._settings.dry_run else _SHOWN
        for refusal in plan.refusals[:shown]:
            self._line(f"refused: {refusal.reason}", always=True)
        for scene in plan.scenes:
            for warning in scene.warnings:
                self._line(f"warning: {scene.name}: {warning}", always=True)
        if self._settings.dry_run or self._settings.verbose:
            self._console.print(_plan_table(plan))
        if self._settings.dry_run or not self._settings.quiet:
            self._line(_needs(plan, needs), always=True)

    def summary(self, plan: RunPlan, results: list[SceneResult], run: dict[str, Any]) -> None:
        """One screen: what is done, what is not and why, where it is."""
        self.close()
        bad = [r for r in results if not r.ok]
        if not self._settings.quiet and any(r.status != "refused" for r in results):
            self._console.print(_result_table(results))
        by_work = [r for r in bad if r.status != "refused"]  # refusals were told before the work
        for result in by_work[:_SHOWN]:
            self._line(f"{result.status}: {result.reason or result.path}", always=True)
        untold = sum(max(0, n - _SHOWN) for n in (len(by_work), len(bad) - len(by_work)))
        if untold:
            self._line(f"… and {untold} more; all are in {manifest_name(self._settings.shard)}", always=True)
        pixels = sum(r.pixels for r in results if r.status in ("done", "partial"))
        rate = f", {pixels / 1e6 / run['seconds']:.2f} MP/s" if pixels else ""
        good = len(results) - len(bad)
        self._line(
            f"{good} of {_count(len(results), 'scene')} mapped or up to date in {run['seconds']:.1f} s{rate}: {plan.output}",
            always=True,
        )

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _progress(self) -> None:
        done, total = self._pixels
        rate = done / 1e6 / max(time.perf_counter() - self._started, 1e-9)
        if not self._console.is_terminal:
            left = (total - done) / 1e6 / rate if rate else 0
            left_s = f"{left:,.0f} s left" if done < total else "vectorizing"
            self._line(
                f"{_mp(done)} of {_mp(total)} MP, {self._scenes[0]} of {_count(self._scenes[1], 'scene')}, "
                f"{rate:.2f} MP/s, {left_s}"
            )
        elif not self._settings.quiet:
            if self._bar is None:
                self._bar = _bar(self._console)
                self._bar.start()
                self._task = self._bar.add_task("map", total=total / 1e6, rate="", scenes="")
            assert self._task is not None  # noqa: S101 - set together with the bar
            self._bar.update(
                self._task, completed=done / 1e6, rate=f"{rate:.2f}", scenes=f"{self._scenes[0]}/{self._scenes[1]}"
            )

    def _line(self, text: str, *, always: bool = False) -> None:
        if always or not self._settings.quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def open_reporter(settings: RunSettings) -> Iterator[Reporter]:
    """A reporter on the standard error stream, with the JSON log that the settings name; raises ConfigError."""
    with ExitStack() as stack:
        log: FileIO | None = None
        if settings.log_json is not None:
            try:
                log = stack.enter_context(settings.log_json.open("ab", buffering=0))
            except OSError as exc:
                raise ConfigError(f"{output_error(settings.log_json, exc)} Name another file with --log-json.") from exc
        reporter = Reporter(settings, Console(stderr=True), log)
        stack.callback(reporter.close)
        yield reporter


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("mapping"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("MP · {task.fields[scenes]} scenes · {task.fields[rate]} MP/s ·"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _plan_table(plan: RunPlan) -> Table:
    table = Table("scene", "size", "pixel m", "tiles", "strips", "state", title="Plan", title_justify="left")
    for scene in plan.scenes:
        table.add_row(*_plan_row(scene))
    return table


def _plan_row(scene: ScenePlan) -> tuple[str, ...]:
    strips = (
        f"{len(scene.strips) - len(scene.committed)} of {len(scene.strips)}"
        if scene.committed
        else str(len(scene.strips))
    )
    size = f"{scene.scene.width} × {scene.scene.height}"
    shown = "" if scene.enlargement == 1 else f" as {scene.pixel_size_m / scene.enlargement:.2g}"
    return escape(scene.name), size, f"{scene.pixel_size_m:.3g}{shown}", str(len(scene.grid)), strips, status(scene)


def _needs(plan: RunPlan, needs: Estimate) -> str:
    left, skipped = len(plan.pending), len(plan.scenes) - len(plan.pending)
    larger = needs.vector_bytes > needs.peak_bytes
    layers = f" (for the layers of the largest scene {needs.vector_bytes / 2**30:.1f})" if larger else ""
    return (
        f"{_count(left, 'scene')} to map ({needs.scene_pixels / 1e6:,.1f} MP in {_count(needs.tiles, 'tile')}, "
        f"{_count(needs.strips, 'strip')}), "
        f"{skipped} up to date, {len(plan.refusals)} refused; {needs.forwarded_per_pixel:.2f} pixels forwarded per pixel; "
        f"at most {needs.peak_bytes / 2**30:.1f} GiB of memory a worker{layers}, {needs.disk_bytes / 2**30:.2f} GiB of disk"
    )


def _result_table(results: list[SceneResult]) -> Table:
    table = Table("scene", "state", "MP", "s", "features")
    for result in [r for r in results if r.status != "refused"][:_SHOWN]:
        features = ", ".join(f"{n:,} {layer}" for layer, n in result.layers.items())
        table.add_row(
            escape(result.name), result.status, f"{result.pixels / 1e6:.1f}", f"{result.seconds:.1f}", features
        )
    return table


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _mp(pixels: int) -> str:
    return f"{pixels / 1e6:,.{0 if pixels >= 1e7 else 1}f}"


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""
