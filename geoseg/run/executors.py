"""Who does the tasks: this process, one after the other, or the workers of a Dask cluster. The only place of dask.

The serial executor is the reference: the Dask one runs the same tasks and must leave the same bytes.
"""

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from geoseg.cluster_config import Cluster, CudaCluster, LocalCluster
from geoseg.config import RunSettings
from geoseg.errors import ClusterLost
from geoseg.run.cluster import open_client
from geoseg.run.tasks import Lane, Task, WorkerLost, run_task
from geoseg.run.worker import NETWORK

_LOOK_S = 1.0
"""How long the list of workers is taken as true."""
_POLL_S = 0.01
_PATIENCE_S = 120.0
"""How long a run waits for processes of this machine while there is none: they are replaced in seconds, or never."""


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

    @property
    def workers(self) -> int:
        """Processes that run networks."""

    def has_room(self, lane: Lane) -> bool:
        """Whether another task of this lane should be submitted now; bounds what waits at the workers."""

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

    def has_room(self, lane: Lane) -> bool:
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

    Where only some workers have the resource "network", they run networks and the others the rest; they help the others
    where no network is left to run.
    """

    def __init__(self, client: Any, *, gives_up: bool = False) -> None:
        """Use a connected `distributed.Client`; with `gives_up`, a cluster without workers is lost after a while."""
        from distributed import KilledWorker, as_completed

        self._killed: type[BaseException] = KilledWorker
        self._client = client
        # Without results: Dask never tells of a task that is over when its worker dies with what it returned.
        self._completed = as_completed([], loop=client.loop)
        self._tasks: dict[str, Task] = {}
        self._workers: dict[str, bool] = {}
        self._beside = False
        self._looked = self._seen = -math.inf
        self._tries = 0
        self._gives_up = gives_up

    @property
    def workers(self) -> int:
        """Processes that run networks."""
        return max(1, len(self._of("network")))

    def has_room(self, lane: Lane) -> bool:
        """Two per worker: one that runs and one that waits.

        Workers with a second thread beside the network have one task for it while there are networks to run: with more
        of them, both threads would vectorize, and the accelerator would wait.
        """
        workers = max(1, len(self._of(lane)))
        of_lane = [t for t in self._tasks.values() if t.lane == lane]
        if self._is_mixed:
            return len(of_lane) < 2 * workers
        if self._beside and (lane == "network" or len(of_lane) < len(self._tasks)):
            return len(of_lane) < (2 if lane == "network" else 1) * workers
        return len(self._tasks) < 2 * workers

    def submit(self, task: Task) -> None:
        """Send a task; only its plain data travels."""
        place: dict[str, Any] = {}
        addresses = self._of(task.lane)  # first of all: until it looks for workers, none is known
        if task.lane == "network" and any(self._workers.values()):
            # One network at a time in a process, and its strips in order: it goes on from the one before.
            place = {"resources": {NETWORK: 1}}
        elif self._is_mixed:
            place = {"workers": addresses, "allow_other_workers": True}
        # A name of its own for each try: Dask may still hold the state of the one that died.
        self._tries += 1
        future = self._client.submit(run_task, task, key=f"geoseg-{task.key}-{self._tries}", pure=False, **place)
        self._tasks[future.key] = task
        self._completed.add(future)

    def next_outcome(self) -> Outcome:
        """Wait for any task; raises ClusterLost."""
        if self._gives_up:
            self._wait()
        future = next(self._completed)
        task = self._tasks.pop(future.key)
        value: Any = None
        error: BaseException | None = None
        try:
            value = future.result()
        except self._killed:
            error = WorkerLost()
        except Exception as exc:  # noqa: BLE001 - the driver decides by its kind
            error = exc
        if future.status == "cancelled":  # geoseg cancels nothing: Dask does, once it has lost its scheduler
            raise ClusterLost("The scheduler went away. What is done stays; run the same command again to go on.")
        future.release()
        return Outcome(task, value, error)

    def _wait(self) -> None:
        """Wait until a task is over; raises ClusterLost where no worker is left to do one."""
        self._seen = time.monotonic()
        while not self._completed.has_ready():
            time.sleep(_POLL_S)
            self._look()
            if time.monotonic() - self._seen > _PATIENCE_S:
                raise ClusterLost(
                    "All worker processes ended, and no new one could be started, often for want of memory. What is done "
                    "stays; run the same command again to go on, with fewer --workers if it comes again."
                )

    def _of(self, lane: Lane) -> list[str]:
        """Addresses of the workers of a lane."""
        self._look()
        all_alike = not self._is_mixed or (lane == "cpu" and all(t.lane == "cpu" for t in self._tasks.values()))
        return [a for a, network in self._workers.items() if all_alike or network is (lane == "network")]

    def _look(self) -> None:
        """Know the workers as of a second ago: clusters grow and shrink."""
        if time.monotonic() - self._looked > _LOOK_S:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]  # some releases else tell of five
            self._looked = time.monotonic()
            if workers:  # otherwise they are being replaced
                self._workers = {address: NETWORK in worker["resources"] for address, worker in workers.items()}
                self._beside = all(worker["nthreads"] > 1 for worker in workers.values())
                self._seen = self._looked

    @property
    def _is_mixed(self) -> bool:
        return len(set(self._workers.values())) == 2


@contextmanager
def open_executor(cluster: Cluster | None, settings: RunSettings) -> Iterator[Executor]:
    """The executor for a cluster, None for this process; what it starts is stopped at the end."""
    if cluster is None:
        yield SerialExecutor()
        return
    with open_client(cluster, settings) as client:
        yield DaskExecutor(client, gives_up=isinstance(cluster, (LocalCluster, CudaCluster)))
