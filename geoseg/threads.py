"""Work beside the main thread, cores for it, and what ends it."""

import math
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def one_thread(name: str) -> ThreadPoolExecutor:
    """An executor whose only thread runs already.

    Ctrl-C while a thread starts leaves one that `shutdown` does not know and does not wait for: it would go on with files
    that are closed. Here it has nothing to do yet.
    """
    executor = ThreadPoolExecutor(1, name)
    executor.submit(int).result()
    return executor


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM, as schedulers send it, stops the work as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread: whoever started the thread handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def cores() -> int:
    """CPU cores that this process may use: those it may run on, and no more than the quota of its container."""
    there = len(os.sched_getaffinity(0))
    try:  # version 2, else 1, of Linux's control groups
        if (_CGROUP / "cpu.max").is_file():
            quota, period = (_CGROUP / "cpu.max").read_text().split()
        else:
            quota, period = ((_CGROUP / "cpu" / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        share = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # `max`: no quota
        return there
    return min(there, share) if share > 0 else there
