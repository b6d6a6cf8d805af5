"""Run a command and watch it: wall time, CPU time, peak memory of its whole process tree."""

import math
import os
import subprocess
import time
from dataclasses import dataclass

import psutil

_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command used."""

    wall_s: float
    cpu_s: float
    """User and system, all processes."""
    peak_mb: float
    """Largest sum over its processes of the proportional set size (PSS), 10⁶ bytes; NaN where it was not watched."""
    exit_code: int


def run(arguments: list[str], *, watched: bool = False, **environment: str) -> Usage:
    """Run a command to its end; its output is thrown away.

    To watch its memory, the kernel walks through all its pages ten times a second, and it stands still meanwhile: a run
    of which the time counts must not be watched (a forward on two cores took 1.4 times as long).
    """
    before = os.times()
    started = time.perf_counter()
    process = psutil.Popen(
        arguments, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak = 0.0 if watched else math.nan
    while watched and process.poll() is None:
        peak = max(peak, _tree_pss(process))
        time.sleep(_EVERY_S)
    process.wait()
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Usage(time.perf_counter() - started, cpu, peak / 1e6, process.returncode)


def _tree_pss(process: psutil.Process) -> int:
    total = 0
    try:
        for member in [process, *process.children(recursive=True)]:
            try:
                total += member.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.Error:
        return total
    return total
