"""From the settings of a cluster to a connected Dask client. Workers and scheduler that were started here end here."""

import logging
import multiprocessing
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from geoseg.cluster_config import (
    AddressCluster,
    Cluster,
    CudaCluster,
    KubernetesCluster,
    LocalCluster,
    SlurmCluster,
    TlsSettings,
    check_network,
    load_cluster,
    seconds,
)
from geoseg.config import RunSettings
from geoseg.errors import ConfigError
from geoseg.extras import require
from geoseg.files import read_json
from geoseg.run.find import OWN_FOLDER
from geoseg.run.gpus import gpus_here, has_gpu
from geoseg.run.worker import CPUS, NETWORK
from geoseg.threads import cores

_OPTIONS = {
    # A network's memory is not Dask's to spill.
    # Nor is its share of the machine what Dask would give a worker of one thread: its own thread, not those of the network.
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # Polygonizing a row of blocks may hold the interpreter for a while.
    "distributed.scheduler.worker-ttl": None,
    # The driver knows which task had begun on a worker that died; Dask blames all that waited there, and retries them.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.comm.timeouts.connect": "60s",
    # It would look at every thread a hundred times a second.
    "distributed.worker.profile.enabled": False,
}
_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""As geoseg.nn.device sets it, but before the first thread: memory is kept between tiles."""
_LOOPBACK = "127.0.0.1"
_CLOSE_S = 1.0
"""Workers are asked to end, and killed after this time: what is committed stays, and Python takes seconds to end."""
_PROCESSES = 4
"""Workers of any kind that are started on a machine with as many cores, where the settings do not say: a vector worker
takes 0.2 GB."""
_STARTS = 3
"""How often local workers are started before the run gives up."""


@contextmanager
def open_client(cluster: Cluster, settings: RunSettings) -> Iterator[Any]:
    """A `distributed.Client` of the cluster, which is started where it does not run yet, and then stopped at the end.

    Raises ConfigError where it cannot be reached, an extra is missing, or it would be open to the network.
    """
    import dask
    import distributed  # noqa: F401 - before the options: they are taken back to what it sets when it is imported

    for name in ("distributed.client", "distributed.utils"):
        # A lost scheduler is told in one line of our own.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set(_OPTIONS):
        if isinstance(cluster, AddressCluster):
            opened = _connected(cluster, settings)
        elif isinstance(cluster, SlurmCluster):
            opened = _slurm(cluster, settings)
        elif isinstance(cluster, KubernetesCluster):
            opened = _kubernetes(cluster, settings)
        else:
            opened = _processes(_specs(cluster, settings))
        with opened as client:
            yield client


def choose_cluster(settings: RunSettings) -> Cluster | None:
    """The cluster that the settings ask for; None: this process alone. Raises ConfigError."""
    if settings.cluster is not None:
        return load_cluster(settings.cluster)
    if settings.scheduler is not None:
        is_file = Path(settings.scheduler).is_file()
        if not is_file and not re.search(r"://|:\d+$", settings.scheduler):
            raise ConfigError(
                f"scheduler {settings.scheduler}: neither a file nor an address such as tls://HOST:8786. Name the file "
                "that dask scheduler --scheduler-file wrote, or an address."
            )
        place = {"scheduler_file": settings.scheduler} if is_file else {"address": settings.scheduler}
        return AddressCluster.model_validate({"kind": "address", **place})
    if settings.workers == 0:
        return None
    if settings.workers is None and settings.device != "cpu" and has_gpu() and gpus_here(None):
        return CudaCluster(kind="cuda")
    return LocalCluster(kind="local", workers=settings.workers)


def network_workers(cluster: Cluster | None) -> int:
    """Processes that will run networks, before any is started: on CPUs one for every eight cores."""
    if cluster is None:
        return 1
    if isinstance(cluster, CudaCluster):
        return max(1, len(gpus_here(cluster.gpus)))
    return cluster.workers or max(1, cores() // 8)


def tls_security(tls: TlsSettings | None) -> Any:
    """Dask's `Security` with these certificates for everyone; None: what its own configuration says."""
    from distributed import Security

    if tls is None:
        return Security()
    cert, key = str(tls.cert), str(tls.key)
    roles = {
        f"tls_{role}_{part}": path
        for role in ("client", "scheduler", "worker")
        for part, path in (("cert", cert), ("key", key))
    }
    return Security(tls_ca_file=str(tls.ca), require_encryption=True, **roles)


@contextmanager
def _connected(cluster: AddressCluster, settings: RunSettings) -> Iterator[Any]:
    """Connect to a scheduler that runs."""
    from distributed import Client

    place = cluster.address or _address_in(cluster.scheduler_file)
    check_network(place, insecure=settings.insecure_network, source=f"scheduler {place}")
    try:
        client = Client(place, security=tls_security(cluster.tls), timeout="10s", set_as_default=False)
    except (OSError, ValueError, RuntimeError, TypeError) as exc:
        raise ConfigError(f"scheduler {place}: no Dask scheduler answers there ({_one_line(exc)}).") from exc
    with client:
        _wait(client, cluster.workers, seconds(cluster.wait), f"scheduler {place}")
        yield client


def _address_in(scheduler_file: Path | None) -> str:
    values = read_json(scheduler_file) if scheduler_file else None
    if not isinstance(values, dict) or not isinstance(values.get("address"), str):
        raise ConfigError(f"{scheduler_file}: is no file that dask scheduler --scheduler-file wrote.")
    return str(values["address"])


def _wait(client: Any, workers: int, timeout_s: float, place: str) -> None:
    try:
        client.wait_for_workers(workers, timeout=timeout_s)
    except TimeoutError:
        got = len(client.scheduler_info(n_workers=-1)["workers"])
        raise ConfigError(
            f"{place}: {got} worker{'' if got == 1 else 's'} after {timeout_s:g} s, but {workers} must be there to start. "
            "Look at the logs of the workers, or wait longer (wait:)."
        ) from None


def _one_line(exc: BaseException) -> str:
    return (str(exc) or type(exc).__name__).splitlines()[0]


def _specs(cluster: LocalCluster | CudaCluster, settings: RunSettings) -> list[dict[str, Any]]:
    """Options of each worker process on this machine: those that run networks first."""
    cuda = isinstance(cluster, CudaCluster)
    gpus = []
    if isinstance(cluster, CudaCluster):
        gpus = gpus_here(cluster.gpus)
    elif settings.device != "cpu" and has_gpu():  # as many workers as are asked for share them
        gpus = gpus_here(None)
    if cuda and not gpus:
        raise ConfigError("cluster cuda: no GPU is seen here. Look at nvidia-smi and CUDA_VISIBLE_DEVICES.")
    count = len(gpus) if cuda else network_workers(cluster)
    threads = settings.threads or cluster.threads or max(1, cores() // count)
    vector_workers = cluster.vector_workers
    if vector_workers is None:  # the network fills the cores; what comes after it should too
        vector_workers = 0 if has_gpu() else max(0, min(cores(), _PROCESSES) - count)
    lifetime: dict[str, Any] = {}
    if cluster.lifetime:
        lifetime = {
            "lifetime": seconds(cluster.lifetime),
            "lifetime_stagger": min(seconds(cluster.lifetime_stagger), seconds(cluster.lifetime) // 2),
            "lifetime_restart": True,
        }
    # A network fills the cores of a CPU; beside a GPU, a second thread vectorizes where nobody else does.
    beside = has_gpu() and not vector_workers
    specs: list[dict[str, Any]] = []
    for i in range(count):
        env = {"GEOSEG_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), **_MALLOC}
        if gpus:
            env["CUDA_VISIBLE_DEVICES"] = gpus[i % len(gpus)].name
        if cuda:
            env[CPUS] = ",".join(str(c) for c in gpus[i].cpus or ())
        specs.append({"env": env, "nthreads": 2 if beside else 1, "resources": {NETWORK: 1}, **lifetime})
    vector = {"env": {"CUDA_VISIBLE_DEVICES": "", **_MALLOC}, "nthreads": 1, **lifetime}
    return specs + [vector] * vector_workers


@contextmanager
def _processes(specs: list[dict[str, Any]]) -> Iterator[Any]:
    """Worker processes on this machine, seen by nobody else: all ports are on the loopback interface."""
    import dask
    from distributed import Client, Nanny, Scheduler, Security

    class QuickNanny(Nanny):  # type: ignore[misc]
        async def instantiate(self) -> Any:
            # Ctrl-C reaches every process of a terminal; workers end when the driver says so. They inherit the mask, if
            # multiprocessing has started its tracker before: it takes the mask away after that.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            return await super().instantiate()

        async def close(self, timeout: float = _CLOSE_S, reason: str = "nanny-close") -> Any:
            return await super().close(min(timeout, _CLOSE_S), reason)

        async def kill(self, timeout: float = _CLOSE_S, reason: str = "nanny-kill") -> None:
            # On a busy machine a killed process lingers; that is no error of a run whose work is done.
            with suppress(TimeoutError):
                await super().kill(timeout, reason)

    security = Security(require_encryption=False)
    threads = specs[0]["env"]["OMP_NUM_THREADS"]
    place = {"host": _LOOPBACK, "protocol": "tcp://", "security": security}
    with (
        # What libraries read as they are loaded, and so before the rest, which goes by worker; Dask sets it here too.
        _environment_kept(),
        dask.config.set({"distributed.nanny.pre-spawn-environ": {**_MALLOC, "OMP_NUM_THREADS": threads}}),
        tempfile.TemporaryDirectory(prefix="geoseg-dask-") as scratch,
    ):
        options = {
            **place,
            "preload": ["geoseg.run.worker", *dask.config.get("distributed.worker.preload")],
            "local_directory": scratch,
            "memory_limit": 0,
            "silence_logs": "CRITICAL",
        }
        scheduler = {**place, "port": 0, "dashboard": False, "dashboard_address": f"{_LOOPBACK}:0"}
        parts = {
            "scheduler": {"cls": Scheduler, "options": scheduler},
            "workers": {i: {"cls": QuickNanny, "options": {**options, **spec}} for i, spec in enumerate(specs)},
            "security": security,
            "silence_logs": "CRITICAL",
        }
        with _started(parts) as cluster, Client(cluster, set_as_default=False) as client:
            yield client


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Leave the variables of this process as they were."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def _started(parts: dict[str, Any]) -> Any:
    """A `SpecCluster` of these parts, begun anew where a worker is killed while it starts."""
    from distributed import SpecCluster

    for _ in range(_STARTS):
        try:
            return SpecCluster(**parts)
        except RuntimeError as exc:
            reason = _one_line(exc.__cause__ or exc)
        except KeyboardInterrupt:
            # Dask would close what is half begun when Python ends, and begin workers anew that are killed.
            for half_begun in list(SpecCluster._instances):
                half_begun.loop.add_callback(half_begun.loop.stop)
            SpecCluster._instances.clear()
            for worker in multiprocessing.active_children():
                worker.kill()
            raise
    raise ConfigError(
        f"cluster: worker processes ended while they started, {_STARTS} times in a row ({reason}), killed by the system "
        "(often for want of memory) or crashed. Start fewer with --workers, or none with --workers 0."
    )


@contextmanager
def _slurm(cluster: SlurmCluster, settings: RunSettings) -> Iterator[Any]:
    """Jobs that are workers; jobs that end are replaced as long as the run goes on."""
    require("slurm", "dask_jobqueue")
    from dask_jobqueue import SLURMCluster
    from distributed import Client, Security

    if cluster.tls == "temporary":
        require("slurm", "cryptography")
    check_network(
        f"{'tls' if cluster.tls else 'tcp'}://{cluster.host}",
        insecure=settings.insecure_network,
        source="cluster slurm",
    )
    folder = (settings.output or Path()).resolve() / OWN_FOLDER / "slurm"
    folder.mkdir(parents=True, exist_ok=True)
    # Jobs find the certificates in the shared folder; only their owner can read them.
    with tempfile.TemporaryDirectory(dir=folder, prefix="tls-") as certificates:
        if cluster.tls == "temporary":
            security = Security.temporary()
        else:
            security = tls_security(cluster.tls) if cluster.tls else None
        try:
            jobs = SLURMCluster(
                **_job(cluster),
                security=security,
                shared_temp_directory=certificates,
                log_directory=str(folder),
                silence_logs="CRITICAL",
            )
        except (OSError, RuntimeError, ValueError) as exc:
            raise ConfigError(f"cluster slurm: cannot be started ({_one_line(exc)}).") from exc
        with jobs, Client(jobs, set_as_default=False) as client:
            jobs.adapt(minimum=cluster.workers, maximum=cluster.workers, interval="5s")
            _wait(client, 1, seconds(cluster.wait), f"cluster slurm (logs in {folder})")
            yield client


def _job(cluster: SlurmCluster) -> dict[str, Any]:
    """What dask-jobqueue is asked for."""
    threads = max(1, cluster.cores - 1) if cluster.gpus else cluster.cores
    environment = {"GEOSEG_THREADS": str(threads), **_MALLOC}
    lifetime = cluster.worker_lifetime_s
    stagger = min(seconds(cluster.lifetime_stagger), lifetime // 4)
    return {
        "queue": cluster.partition,
        "account": cluster.account,
        "cores": 2 if cluster.gpus else 1,  # threads of Dask: one for the network, one to vectorize beside a GPU
        "processes": 1,
        "job_cpu": cluster.cores,
        "memory": cluster.memory,
        "walltime": cluster.walltime,
        "python": cluster.python,
        "job_extra_directives": [*([f"--gres=gpu:{cluster.gpus}"] if cluster.gpus else []), *cluster.directives],
        "job_script_prologue": [*(f"export {k}={v}" for k, v in environment.items()), *cluster.prologue],
        "worker_extra_args": [
            *("--resources", f"{NETWORK}=1"),
            *("--lifetime", f"{lifetime - stagger}s", "--lifetime-stagger", f"{stagger}s"),
            *("--preload", "geoseg.run.worker", "--no-dashboard", "--dashboard-address", f"{_LOOPBACK}:0"),
        ],
        "local_directory": "/tmp",  # noqa: S108 - of the node, nothing is spilled
        "scheduler_options": {"host": cluster.host, "dashboard": False, "dashboard_address": f"{_LOOPBACK}:0"},
    }


@contextmanager
def _kubernetes(cluster: KubernetesCluster, settings: RunSettings) -> Iterator[Any]:
    """Pods of the Dask operator, removed at the end."""
    # The operator's scheduler speaks plain TCP to its pods.
    check_network("tcp://pods", insecure=settings.insecure_network, source="cluster kubernetes")
    require("kubernetes", "dask_kubernetes")
    from dask_kubernetes.operator import KubeCluster
    from distributed import Client

    from geoseg.run.kubernetes import cluster_spec, vector_group_spec

    options = {"namespace": cluster.namespace} if cluster.namespace else {}
    try:
        pods = KubeCluster(custom_cluster_spec=cluster_spec(cluster), quiet=True, **options)
    except Exception as exc:
        raise ConfigError(f"cluster kubernetes: cannot be started ({_one_line(exc)}).") from exc
    with pods, Client(pods, set_as_default=False) as client:
        if cluster.vector_workers:
            group = {"n_workers": cluster.vector_workers, "custom_spec": vector_group_spec(cluster)}
            try:
                pods.add_worker_group(name="vector", **group)
            except Exception as exc:
                raise ConfigError(f"cluster kubernetes: no vector workers can be added ({_one_line(exc)}).") from exc
        _wait(client, 1, seconds(cluster.wait), "cluster kubernetes")
        yield client
