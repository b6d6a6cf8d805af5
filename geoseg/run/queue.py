"""The tasks of a run on their way through the executor: what is ready, what is tried again, what is suspected."""

from collections import Counter, deque
from collections.abc import Iterable

from geoseg.errors import BrokenRaster, GeosegError, OutputError
from geoseg.run.executors import Executor, Outcome
from geoseg.run.scene_run import Observer, SceneRun
from geoseg.run.tasks import Task, WorkerLost

TRIES = 3
"""How often a task is tried whose failure may pass: an unreadable disk."""
_DEATHS = 2
"""Workers that a task may take with it; then it is run alone, and a third one is its last."""
_BYSTANDER_DEATHS = 8
"""Workers that may die while a task waits for them without ever having begun; then it counts as if it had."""


class Queue:
    """Keeps the executor busy with what is ready, oldest scene first.

    A task that took two workers with it waits until nothing else is left to do and is then run alone, so that what it
    does falls on nobody else, and what others do not on it.
    """

    def __init__(self, executor: Executor, runs: Iterable[SceneRun], observe: Observer) -> None:
        self._executor = executor
        self._observe = observe
        self._waiting = deque(runs)
        self._active: list[SceneRun] = []
        self._owner: dict[str, SceneRun] = {}
        self._tries: Counter[str] = Counter()
        self._deaths: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._suspects: deque[tuple[SceneRun, Task]] = deque()
        self._alone = False

    def drain(self) -> None:
        """Until every scene is over."""
        while self._fill() or self._owner:
            outcome = self._executor.next_outcome()
            run = self._owner.pop(outcome.task.key)
            if isinstance(outcome.error, WorkerLost):
                self._lost(run, outcome.task)
            elif outcome.error is not None and self._again(outcome):
                run.ready.appendleft(outcome.task)
            else:
                run.take(outcome)
            self._alone = False if not self._owner else self._alone
            self._active = [r for r in self._active if not r.over]

    def _fill(self) -> bool:
        """Submit what there is room for; whether anything was submitted."""
        submitted = False
        has_room = self._executor.has_room
        while not self._alone:
            run = next((r for r in self._active if r.ready and has_room(r.ready[0].lane)), None)
            if run is not None:
                self._submit(run, run.ready.popleft())
                submitted = True
            elif self._waiting and has_room("network"):
                run = self._waiting.popleft()
                run.start()
                self._active.append(run)
            else:
                break
        if not self._owner and self._suspects:
            self._alone = submitted = True
            self._submit(*self._suspects.popleft())
        return submitted

    def _submit(self, run: SceneRun, task: Task) -> None:
        self._owner[task.key] = run
        self._executor.submit(task)

    def _lost(self, run: SceneRun, task: Task) -> None:
        """A worker died that had this task: try again, suspect the task, or give it up."""
        key = task.key
        self._losses[key] += 1
        if run.begun(task) or self._losses[key] > _BYSTANDER_DEATHS:
            self._deaths[key] += 1
        deaths = self._deaths[key]
        self._observe("worker lost", {"scene": run.plan.name, "task": key, "deaths": deaths, "alone": self._alone})
        if self._alone and deaths > _DEATHS:
            run.take(Outcome(task, error=WorkerLost(_quarantined(deaths))))
        elif deaths >= _DEATHS:
            self._suspects.append((run, task))
        else:
            run.ready.appendleft(task)

    def _again(self, outcome: Outcome) -> bool:
        """Whether a failed task deserves another try: not where the input or the settings are wrong."""
        if isinstance(outcome.error, OutputError) or not _may_pass(outcome.error):
            return False
        key = outcome.task.key
        self._tries[key] += 1
        if self._tries[key] >= TRIES:
            return False
        self._observe("retry", {"task": key, "error": str(outcome.error)})
        return True


def _quarantined(deaths: int) -> str:
    return (
        f"took {deaths} workers with it, the last one with nothing else to do: killed by the system, often for want of "
        "memory, or crashed. Give workers more memory or take smaller tiles, and run the same command again: only this is missing"
    )


def _may_pass(error: BaseException | None) -> bool:
    """Whether an error may not come again: a wrong setting comes again, and so does a bug; disks and workers recover."""
    if isinstance(error, BrokenRaster):  # an unreadable block may be a network drive that was away
        return True
    return not isinstance(error, (GeosegError, TypeError, ValueError, AttributeError, KeyError))
