"""Processes of this machine: threads, lanes, lifetimes, and that nobody else can reach them."""

import os
from pathlib import Path

import psutil
import pytest

from geoseg import threads
from geoseg.cluster_config import CudaCluster, LocalCluster
from geoseg.config import RunSettings
from geoseg.errors import ClusterLost, ConfigError
from geoseg.run import cluster as cluster_module
from geoseg.run import executors
from geoseg.run.cluster import _specs, choose_cluster, network_workers
from geoseg.run.executors import open_executor
from geoseg.run.gpus import Gpu, has_gpu
from geoseg.run.tasks import WorkerLost
from tests.cluster.tasks import LostWithItsWorker, Where


def run_all(executor, todo):
    """All tasks, each as soon as there is room."""
    values, waiting = [], 0
    while todo or waiting:
        while todo and executor.has_room(todo[0].lane):
            executor.submit(todo.pop(0))
            waiting += 1
        outcome = executor.next_outcome()
        waiting -= 1
        if isinstance(outcome.error, WorkerLost):  # the driver tries again, and so do we
            todo.append(outcome.task)
            continue
        assert outcome.error is None, outcome.error
        values.append((outcome.task.lane, outcome.value))
    return values


@pytest.mark.alone
@pytest.mark.slow
def test_workers_share_the_cores_keep_to_their_lane_and_listen_on_loopback_only():
    cluster = LocalCluster(kind="local", workers=1, vector_workers=1)
    with open_executor(cluster, RunSettings()) as executor:
        tasks = [Where(f"{lane}{i}", lane, s) for i in range(4) for lane, s in (("network", 1.0), ("cpu", 0.05))]
        values = run_all(executor, tasks)
        me = psutil.Process()
        ports = [c for p in (me, *me.children(recursive=True)) for c in p.net_connections() if c.status == "LISTEN"]
        assert ports
        assert {c.laddr.ip for c in ports} == {"127.0.0.1"}
    pids = {lane: {value[0] for name, value in values if name == lane} for lane in ("network", "cpu")}
    assert len(pids["network"]) == len(pids["cpu"]) == 1
    assert pids["network"] != pids["cpu"]
    assert {value[1] for lane, value in values if lane == "network"} == {threads.cores()}


@pytest.mark.slow
def test_the_first_task_goes_where_the_network_is():
    """Else a vector worker would load PyTorch and the model for it."""
    before = dict(os.environ)
    with open_executor(LocalCluster(kind="local", workers=1, vector_workers=3), RunSettings(threads=1)) as executor:
        executor.submit(Where("probe", "network"))
        first = executor.next_outcome().value[0]
        assert {value[0] for _, value in run_all(executor, [Where("n", "network")])} == {first}
    assert dict(os.environ) == before  # another run in this process has its own


@pytest.mark.alone
@pytest.mark.slow
def test_workers_that_run_networks_help_when_none_is_left():
    with open_executor(LocalCluster(kind="local", workers=1, vector_workers=1), RunSettings()) as executor:
        values = run_all(executor, [Where("n", "network"), *(Where(f"c{i}", "cpu", 0.5) for i in range(6))])
    assert len({value[0] for lane, value in values if lane == "cpu"}) == 2


@pytest.mark.parametrize(("workers", "cores", "expected"), [(1, 1, 0), (1, 2, 1), (2, 2, 0), (1, 16, 3), (4, 16, 0)])
def test_what_comes_after_the_network_fills_the_cores(monkeypatch, tmp_path, workers, cores, expected):
    monkeypatch.setattr(threads, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    specs = _specs(LocalCluster(kind="local", workers=workers), RunSettings())
    assert len(specs) == workers + expected
    assert all("resources" in spec for spec in specs[:workers])
    assert not any("resources" in spec for spec in specs[workers:])


@pytest.mark.alone
@pytest.mark.slow
def test_workers_are_replaced_at_the_end_of_their_lifetime():
    cluster = LocalCluster.model_construct(  # shorter than settings may say, longer than a worker takes to start
        kind="local", workers=1, vector_workers=0, threads=1, lifetime="15 s", lifetime_stagger="0 s"
    )
    with open_executor(cluster, RunSettings(threads=1)) as executor:
        values = run_all(executor, [Where(f"n{i}", "network", 1.5) for i in range(12)])
    assert len(values) == 12
    assert len({value[0] for _, value in values}) >= 2
    assert {value[1] for _, value in values} == {1}


@pytest.mark.slow
def test_a_value_lost_with_its_worker_is_no_task_that_never_ends(tmp_path):
    """Once done, then undone, then failed: Dask's `as_completed` with results would wait for it for ever."""
    with open_executor(LocalCluster(kind="local", workers=1, vector_workers=0), RunSettings()) as executor:
        executor.submit(LostWithItsWorker(str(tmp_path / "done once")))
        assert isinstance(executor.next_outcome().error, WorkerLost)
        assert len(run_all(executor, [Where("n", "network")])) == 1


@pytest.mark.slow
def test_a_run_whose_workers_are_gone_for_good_ends(monkeypatch):
    monkeypatch.setattr(executors, "_PATIENCE_S", 2.0)
    with open_executor(LocalCluster(kind="local", workers=1, vector_workers=0), RunSettings()) as executor:
        executor.submit(Where("n", "network", 30.0))
        executor._client.retire_workers(close_workers=True)
        with pytest.raises(ClusterLost, match="no new one could be started"):
            executor.next_outcome()


@pytest.mark.slow
@pytest.mark.parametrize(("deaths", "starts"), [(1, True), (9, False)])
def test_a_worker_killed_while_it_starts_is_started_again_and_then_given_up(monkeypatch, tmp_path, deaths, starts):
    import dask
    import distributed  # noqa: F401 - its defaults first

    monkeypatch.setenv("DEATHS", str(deaths))
    monkeypatch.setenv("DEATHS_FOLDER", str(tmp_path))
    killer = str(Path(__file__).with_name("dies_at_start.py"))
    cluster = LocalCluster(kind="local", workers=1, vector_workers=0)
    with dask.config.set({"distributed.worker.preload": [killer]}):
        if starts:
            with open_executor(cluster, RunSettings()) as executor:
                assert len(run_all(executor, [Where("n", "network")])) == 1
        else:
            with (
                pytest.raises(ConfigError, match="3 times in a row"),
                open_executor(cluster, RunSettings()),
            ):
                pass
    assert len(list(tmp_path.iterdir())) == (1 if starts else 3)
    assert not [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]


def test_cores_are_shared_evenly():
    specs = _specs(LocalCluster(kind="local", workers=2), RunSettings())
    assert {s["env"]["GEOSEG_THREADS"] for s in specs} == {str(max(1, threads.cores() // 2))}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "800000", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ({"cpu.max": "20000000 100000"}, 64),
        ({}, 64),
    ],
)
def test_the_quota_of_a_container_limits_its_cores(monkeypatch, tmp_path, files, expected):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(threads, "_CGROUP", tmp_path)
    assert threads.cores() == expected
    assert network_workers(LocalCluster(kind="local")) == max(1, expected // 8)


@pytest.mark.slow
def test_workers_have_no_limit_of_memory_but_that_of_the_machine():
    """Dask's own would be the share of one thread, however few workers there are."""
    with open_executor(LocalCluster(kind="local", workers=1, vector_workers=1), RunSettings()) as executor:
        limits = executor._client.run(lambda dask_worker: dask_worker.memory_manager.memory_limit)
    assert [*limits.values()] == [None, None]


def test_beside_an_accelerator_one_thread_vectorizes_and_one_runs_networks():
    from distributed import Client
    from distributed import LocalCluster as Threads

    with (
        Threads(
            n_workers=1, threads_per_worker=2, processes=False, resources={"network": 1}, dashboard_address=None
        ) as pool,
        Client(pool, set_as_default=False) as client,
    ):
        executor = executors.DaskExecutor(client)
        executor.submit(Where("n0", "network", 0.01))
        executor.submit(Where("c0", "cpu", 0.01))
        assert executor.has_room("network")
        assert not executor.has_room("cpu")
        executor.submit(Where("n1", "network", 0.01))
        assert not executor.has_room("network")
        while executor._tasks:
            executor.next_outcome()
        for i in range(2):  # with no network to run, both vectorize
            assert executor.has_room("cpu")
            executor.submit(Where(f"d{i}", "cpu", 0.01))
        assert not executor.has_room("cpu")
        while executor._tasks:
            executor.next_outcome()


def test_workers_that_are_asked_for_share_the_gpus(monkeypatch):
    monkeypatch.setattr(cluster_module, "has_gpu", lambda: True)
    monkeypatch.setattr(cluster_module, "gpus_here", lambda _: [Gpu("0", ()), Gpu("2", ())])
    specs = _specs(LocalCluster(kind="local", workers=3), RunSettings())
    assert [s["env"]["CUDA_VISIBLE_DEVICES"] for s in specs] == ["0", "2", "0"]
    specs = _specs(LocalCluster(kind="local", workers=3), RunSettings(device="cpu"))
    assert not any("CUDA_VISIBLE_DEVICES" in s["env"] for s in specs[:3])


def test_each_gpu_has_a_worker_that_sees_it_alone():
    cluster = CudaCluster(kind="cuda", gpus=("0", "3"), vector_workers=1)
    first, second, vector = _specs(cluster, RunSettings(threads=4))
    assert [s["env"]["CUDA_VISIBLE_DEVICES"] for s in (first, second, vector)] == ["0", "3", ""]
    assert first["resources"] == second["resources"] == {"network": 1}
    assert "resources" not in vector


@pytest.mark.parametrize(("visible", "seen"), [(None, True), ("0", True), ("", False), ("-1", False)])
def test_a_gpu_that_is_hidden_is_none(monkeypatch, tmp_path, visible, seen):
    monkeypatch.setattr("geoseg.run.gpus._DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert has_gpu() == seen
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    assert isinstance(choose_cluster(RunSettings()), CudaCluster) == (visible == "0")
