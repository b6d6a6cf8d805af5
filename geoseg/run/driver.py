"""The run: scenes pass through their stages while the executor is kept busy.

A scene that is late does not hold up the next: whatever is ready is submitted, oldest scene first.
"""

from collections.abc import Callable
from dataclasses import replace

from geoseg.errors import ConfigError, DiskFull, GeosegError, OutputError
from geoseg.run import ledger
from geoseg.run.executors import Executor
from geoseg.run.plan import RunPlan, ScenePlan
from geoseg.run.queue import TRIES, Queue
from geoseg.run.scene_run import Observer, SceneResult, SceneRun
from geoseg.run.tasks import ProbeTask, Runtime, WorkerLost


def execute(plan: RunPlan, executor: Executor, observe: Observer, tell: Callable[[SceneResult], None]) -> None:
    """Map the pending scenes of a plan; `tell` is called with the result of each at the moment it is over.

    Raises ConfigError or ModelError where no scene could be mapped at all, DiskFull where nothing can be written any
    more, ClusterLost where the scheduler went away.
    """
    runtime = _probe(plan, executor)
    observe("runtime", {"device": runtime.device, "precision": runtime.precision, "versions": runtime.versions})
    if plan.settings.overwrite:  # not before it is known that networks run here
        _begin_overwriting(plan)
    runs = [SceneRun(plan, _alike(s, runtime), runtime, observe, tell) for s in plan.pending]
    Queue(executor, runs, observe).drain()


def _begin_overwriting(plan: RunPlan) -> None:
    for scene in plan.pending:
        try:
            ledger.begin_overwriting(scene.work, scene.fingerprint)
        except DiskFull:
            raise
        except OutputError:  # comes again where the scene begins, and ends that scene alone
            continue


def _alike(scene: ScenePlan, runtime: Runtime) -> ScenePlan:
    """The scene without the strips that another processor computed in another precision: a map has one."""
    strips = (s for s in scene.strips if s.index in scene.committed)
    alike = frozenset(s.index for s in strips if ledger.precision(scene.work, s) == runtime.precision)
    return replace(scene, committed=alike)


def _probe(plan: RunPlan, executor: Executor) -> Runtime:
    for _ in range(TRIES):
        executor.submit(ProbeTask(plan.settings, plan.contract))
        outcome = executor.next_outcome()
        if not isinstance(outcome.error, WorkerLost):
            break
    if isinstance(outcome.error, WorkerLost):
        raise ConfigError(
            f"{TRIES} workers died as they loaded model '{plan.contract.name}', killed by the system (often for want of "
            "memory) or crashed. Give them more memory, or start fewer with --workers."
        )
    if isinstance(outcome.error, GeosegError):
        raise outcome.error
    if outcome.error is not None:
        reason = (str(outcome.error) or type(outcome.error).__name__).splitlines()[0]
        raise ConfigError(
            f"model '{plan.contract.name}' cannot be made ready on a worker ({reason}). Free the GPU, or use --device cpu."
        ) from outcome.error
    runtime: Runtime = outcome.value
    return runtime
