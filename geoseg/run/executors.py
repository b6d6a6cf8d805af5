"""Who does the tasks: this process, one after the other, or the workers of a Dask cluster. The only place of dask.

The serial executor is the reference: the Dask one runs the same tasks and must leave the same bytes.
"""

import os
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from geoseg.config import RunSettings
from geoseg.errors import ConfigError
from geoseg.run.tasks import Task, WorkerLost, run_task

_GPUS = Path("/proc/driver/nvidia/gpus")
_NETWORK = "network"
"""The Dask resource that a worker has one of if it may run networks."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task."""

    task: Task
    value: Any = None
    """What it returned."""
    error: BaseException | None = None
    """What it raised, or that its worker died."""


class Executor(Protocol):
    """Runs tasks in an order of its own."""

    workers: int
    """Processes that run networks."""

    def has_room(self) -> bool:
        """Whether another task should be submitted now; bounds what waits at the workers."""

    def submit(self, task: Task) -> None:
        """Take a task."""

    def next_outcome(self) -> Outcome:
        """Wait until a submitted task is over."""


class SerialExecutor:
    """Runs each task here when its outcome is asked for."""

    workers = 1

    def __init__(self) -> None:
        """No task waits at first."""
        self._waiting: deque[Task] = deque()

    def has_room(self) -> bool:
        """One at a time."""
        return not self._waiting

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._waiting.append(task)

    def next_outcome(self) -> Outcome:
        """Run the task that has waited longest."""
        task = self._waiting.popleft()
        try:
            return Outcome(task, run_task(task))
        except Exception as exc:  # noqa: BLE001 - the driver decides by its kind
            return Outcome(task, error=exc)


class DaskExecutor:
    """Submits tasks to a Dask cluster, two per worker at a time.

    The window is a matter of correctness: Dask blames every task that is assigned to a dead worker, not only the
    running one. All of them end here as `WorkerLost`, and the driver looks who it was.
    """

    def __init__(self, client: Any) -> None:
        """Use a connected `distributed.Client`."""
        from distributed import KilledWorker, as_completed

        self._killed: type[BaseException] = KilledWorker
        self._client = client
        self._completed = as_completed([], loop=client.loop, with_results=True, raise_errors=False)
        self._tasks: dict[str, Task] = {}
        workers = client.scheduler_info()["workers"].values()
        self.workers = max(1, len(workers))
        self._has_lanes = any(_NETWORK in worker["resources"] for worker in workers)

    def has_room(self) -> bool:
        """Two per worker: one that runs and one that waits."""
        return len(self._tasks) < 2 * self.workers

    def submit(self, task: Task) -> None:
        """Send a task; only its plain data travels."""
        # One network at a time in a process, and its strips in order: it goes on from the one before.
        lane = {_NETWORK: 1} if self._has_lanes and task.lane == "network" else None
        future = self._client.submit(run_task, task, key=f"geoseg-{task.key}", pure=False, resources=lane)
        self._tasks[future.key] = task
        self._completed.add(future)

    def next_outcome(self) -> Outcome:
        """Wait for any task."""
        future, value = next(self._completed)
        task = self._tasks.pop(future.key)
        error = None if future.status == "finished" else future.exception()
        future.release()
        if isinstance(error, self._killed):
            error = WorkerLost()
        return Outcome(task, None if error else value, error)


def local_workers(settings: RunSettings) -> int:
    """Worker processes on this machine: one for every eight cores, for one network uses all cores of a few."""
    if settings.workers is not None:
        return settings.workers
    return max(1, len(os.sched_getaffinity(0)) // 8)


@contextmanager
def open_executor(settings: RunSettings) -> Iterator[Executor]:
    """The executor that the settings ask for; a local cluster is stopped at the end."""
    if settings.scheduler is not None:
        with _connect(settings.scheduler) as executor:
            yield executor
    elif local_workers(settings) == 0:
        yield SerialExecutor()
    else:
        with _local_cluster(settings) as executor:
            yield executor


@contextmanager
def _connect(scheduler: str) -> Iterator[Executor]:
    """Connect to a running scheduler, by address or scheduler file."""
    from distributed import Client

    place = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client = Client(**place, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as exc:
        raise ConfigError(f"scheduler {scheduler}: no Dask scheduler answers there ({exc}).") from exc
    with client:
        client.wait_for_workers(1, timeout=60)
        yield DaskExecutor(client)


@contextmanager
def _local_cluster(settings: RunSettings) -> Iterator[Executor]:
    """Worker processes on this machine, seen by nobody else: all ports are on the loopback interface."""
    import dask
    from distributed import Client, LocalCluster

    workers = local_workers(settings)
    options = {
        # A network's memory is not Dask's to spill.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        # Polygonizing a row of blocks may hold the interpreter for a while.
        "distributed.scheduler.worker-ttl": None,
        # The driver knows which task had begun on a worker that died; Dask blames all that waited there, and retries them.
        "distributed.scheduler.allowed-failures": 0,
        "distributed.comm.timeouts.connect": "60s",
        "distributed.nanny.pre-spawn-environ": {
            "OMP_NUM_THREADS": _threads(settings, workers),
            # As geoseg.nn.device sets it, but before the first thread: memory is kept between tiles.
            "MALLOC_ARENA_MAX": 1,
            "MALLOC_MMAP_MAX_": 0,
            "MALLOC_TRIM_THRESHOLD_": 2**31 - 1,
        },
    }
    with (
        dask.config.set(options),
        tempfile.TemporaryDirectory(prefix="geoseg-dask-") as scratch,
        LocalCluster(
            n_workers=workers,
            # A network fills the cores of a CPU; beside a GPU, a second thread vectorizes.
            threads_per_worker=2 if _GPUS.is_dir() else 1,
            resources={_NETWORK: 1},
            host="127.0.0.1",
            dashboard_address=None,
            local_directory=scratch,
            silence_logs="CRITICAL",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield DaskExecutor(client)


def _threads(settings: RunSettings, workers: int) -> int:
    return settings.threads or max(1, len(os.sched_getaffinity(0)) // workers)
