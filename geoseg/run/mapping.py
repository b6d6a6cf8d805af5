"""The main job as one call: plan, lock, run, report."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geoseg.cluster_config import Cluster
from geoseg.config import RunSettings
from geoseg.errors import ConfigError, GeosegError
from geoseg.files import remove_temporaries
from geoseg.run import ledger
from geoseg.run.cluster import choose_cluster, network_workers
from geoseg.run.driver import execute
from geoseg.run.estimate import estimate
from geoseg.run.executors import open_executor
from geoseg.run.journal import Journal, open_journal
from geoseg.run.lock import locked
from geoseg.run.manifest import versions, write_manifest
from geoseg.run.plan import RunPlan, ScenePlan, one_line, plan_run, renewed
from geoseg.run.report import Reporter, open_reporter
from geoseg.run.scene_run import Observer, SceneResult, unreadable_told
from geoseg.threads import terminable

EXIT_DONE = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run."""

    plan: RunPlan
    results: tuple[SceneResult, ...]
    """Of all scenes, the refused ones included."""
    exit_code: int


def map_scenes(settings: RunSettings, leave: frozenset[Path] = frozenset()) -> RunResult:
    """Map all scenes that `settings` name into its output folder, but those to `leave` for another run.

    Raises ConfigError, ModelError, OutputError or ClusterLost where the run cannot go on, KeyboardInterrupt where it was
    interrupted (by SIGTERM too): what is committed stays, and the same call goes on from there.
    """
    with open_reporter(settings) as report, terminable():
        cluster = choose_cluster(settings)
        workers = network_workers(cluster)
        plan = plan_run(settings, workers, lambda path: report.event("look", {"path": str(path)}), leave)
        if not plan.scenes and not plan.refusals and settings.shard is None and not leave:
            raise ConfigError("no scene to map: the inputs hold only outputs of geoseg.")
        report.planned(plan, estimate(plan))
        if settings.dry_run:
            return RunResult(plan, (), EXIT_SOME_FAILED if plan.refusals else EXIT_DONE)
        with locked(plan.output, settings.shard), open_journal(plan.output, settings.shard_of[1]) as journal:
            remove_temporaries(plan.output, {p.name for scene in plan.pending for p in scene.outputs.all})
            return _run(renewed(plan, workers), cluster, report, journal)


def _run(plan: RunPlan, cluster: Cluster | None, report: Reporter, journal: Journal) -> RunResult:
    started = time.perf_counter()
    run: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "status": "interrupted",
    }
    observe = _recording(run, report.event, journal.event)
    mapped = [_unchanged(s) for s in plan.scenes if s.done]
    journal.begin(plan)
    for scene in plan.scenes:
        if scene.done:
            ledger.tidy(scene.work, done=True)
    exit_code = EXIT_INTERRUPTED
    try:
        if plan.pending:  # else no cluster is started
            with open_executor(cluster, plan.settings) as executor:
                execute(plan, executor, observe, mapped.append)
        all_ok = not plan.refusals and all(r.ok for r in mapped)
        exit_code = EXIT_DONE if all_ok else EXIT_SOME_FAILED
        run["status"] = "over"
        for scene in plan.scenes:
            ledger.end_overwriting(scene.work)
    except GeosegError as exc:
        exit_code = exc.exit_code
        run["status"] = f"failed: {exc}"
        raise
    finally:
        run["seconds"] = round(time.perf_counter() - started, 3)
        results = _all_results(plan, mapped)
        write_manifest(plan, results, run, exit_code)
        journal.event("over", {"exit_code": exit_code, "status": run["status"]})
    report.summary(plan, results, run)
    return RunResult(plan, tuple(results), exit_code)


def _unchanged(scene: ScenePlan) -> SceneResult:
    outputs = tuple(str(p) for p in scene.outputs.all)
    lost = unreadable_told((ledger.last_record(scene.work) or {}).get("unreadable", 0), scene)
    warnings = (*scene.warnings, *lost)
    return SceneResult(
        name=scene.name, path=str(scene.scene.path), status="up to date", outputs=outputs, warnings=warnings
    )


def _all_results(plan: RunPlan, mapped: list[SceneResult]) -> list[SceneResult]:
    """Refused scenes first, then those that are over, in the order of the plan."""
    place = {scene.name: i for i, scene in enumerate(plan.scenes)}
    refused = [
        SceneResult(name=one_line(r.name or r.path.stem), path=one_line(str(r.path)), status="refused", reason=r.reason)
        for r in plan.refusals
    ]
    return refused + sorted(mapped, key=lambda result: place[result.name])


def _recording(run: dict[str, Any], *events: Observer) -> Observer:
    """Events pass through to each of `events`; what the run is made with goes into the manifest too."""

    def observe(name: str, values: dict[str, Any]) -> None:
        if name == "runtime":
            run["device"], run["precision"] = values["device"], values["precision"]
            run["versions"] = {**run["versions"], **values["versions"]}
        for event in events:
            event(name, values)

    return observe
