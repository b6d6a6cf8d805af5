"""Where the workers of a run live: the settings in configs/cluster/*.yaml."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, model_validator

from geoseg.errors import ConfigError
from geoseg.strict import Strict, validate
from geoseg.yaml_file import read_yaml

_UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86400}

Duration = Annotated[str, Field(pattern=r"^\d+ ?(s|min|h|d)$")]
"""A time such as `55 min`."""
Workers = Annotated[int, Field(ge=1)]
_SHORT_S = 120
"""A time limit shorter than this leaves no room for a strip."""


class TlsSettings(Strict):
    """Certificates by which driver, scheduler and workers know each other; files that all of them can read."""

    ca: Path
    """Certificate of the authority that signed `cert`, PEM."""
    cert: Path
    """Own certificate, PEM."""
    key: Path
    """Its private key, PEM."""

    @model_validator(mode="after")
    def _there(self) -> "TlsSettings":
        for path in (self.ca, self.cert, self.key):
            if not path.is_file():
                raise ValueError(f"{path} is not a file")
        return self


class _Cluster(Strict):
    workers: Workers | None = None
    """Processes that run networks; None chooses."""
    vector_workers: int = Field(0, ge=0)
    """Processes beside them that only vectorize and write; 0: those that run networks do all."""
    lifetime: Duration | None = None
    """Workers are replaced after this time, between two tasks where they can; None: never."""
    lifetime_stagger: Duration = "2 min"
    """Spread of the lifetimes, so that workers do not go all at once."""

    @model_validator(mode="after")
    def _lives(self) -> "_Cluster":
        if self.lifetime is not None and seconds(self.lifetime) < _SHORT_S:
            raise ValueError(
                f"lifetime {self.lifetime} must be at least {_SHORT_S} s: a worker takes its time to start"
            )
        return self


class LocalCluster(_Cluster):
    """Processes on this machine, on the loopback interface."""

    kind: Literal["local"]
    vector_workers: Annotated[int, Field(ge=0)] | None = None  # type: ignore[assignment]
    """Processes beside them that only vectorize and write; None: what is missing to as many processes as cores, 4 at most."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads of each worker that runs networks; None shares the cores evenly."""


class CudaCluster(_Cluster):
    """One process for each GPU of this machine, on the loopback interface."""

    kind: Literal["cuda"]
    gpus: tuple[Annotated[str, BeforeValidator(lambda v: str(v) if type(v) is int else v)], ...] | None = None
    """Indices or UUIDs of the GPUs, as CUDA_VISIBLE_DEVICES takes them; None: all that this process may see."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads of each worker that runs networks; None shares the cores evenly."""

    @model_validator(mode="after")
    def _one_each(self) -> "CudaCluster":
        if self.workers is not None:
            raise ValueError("workers is the number of GPUs: name them with gpus")
        return self


class SlurmCluster(_Cluster):
    """One job of SLURM for each worker; the scheduler runs beside the driver."""

    kind: Literal["slurm"]
    workers: Workers = 2
    """Jobs."""
    vector_workers: Literal[0] = 0
    """Jobs are all alike."""
    cores: int = Field(8, ge=1)
    """CPU cores of a job."""
    memory: str = Field("16GiB", pattern=r"^\d+ ?[kMGT]i?B$")
    """Memory of a job."""
    gpus: int = Field(0, ge=0, le=1)
    """GPUs of a job: one process runs one network."""
    walltime: str = Field("01:00:00", pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")
    """Time limit of a job, [D-]HH:MM:SS; workers end 2 min before it unless `lifetime` says sooner, and are replaced."""
    partition: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    """More lines for the head of the job script, such as --constraint=a100."""
    prologue: tuple[str, ...] = ()
    """Shell lines before the worker starts, such as module load cuda."""
    python: str | None = None
    """Python of the jobs; None: the one of this process."""
    host: str = "127.0.0.1"
    """Address under which jobs reach this machine; loopback serves where there is one node only."""
    wait: Duration = "15 min"
    """How long the first job may wait in the queue."""
    tls: TlsSettings | Literal["temporary"] | None = "temporary"
    """`temporary`: certificates made for this run alone, deleted after it."""

    @model_validator(mode="after")
    def _long_enough(self) -> "SlurmCluster":
        if walltime_s(self.walltime) <= 2 * _SHORT_S:
            raise ValueError(f"walltime {self.walltime} must be more than {2 * _SHORT_S} s")
        return self

    @property
    def worker_lifetime_s(self) -> int:
        """Seconds after which a worker leaves by itself."""
        longest = walltime_s(self.walltime) - _SHORT_S
        return min(longest, seconds(self.lifetime)) if self.lifetime else longest


class KubernetesCluster(_Cluster):
    """Pods of the Dask operator."""

    kind: Literal["kubernetes"]
    workers: Workers = 2
    """Pods that run networks."""
    name: str = Field("geoseg", pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$")
    namespace: str | None = None
    """None: the one of the current context."""
    image: str
    """Image that holds geoseg of this very version."""
    cores: int = Field(8, ge=1)
    memory: str = Field("16Gi", pattern=r"^\d+[MGT]i$")
    gpus: int = Field(0, ge=0, le=1)
    """GPUs of a pod that runs networks."""
    claims: dict[str, Path] = Field(default_factory=dict)
    """Persistent volume claim → where it is mounted, in all pods and for the driver alike."""
    wait: Duration = "15 min"
    """How long the first pod may take to start."""


class AddressCluster(Strict):
    """A scheduler that runs already."""

    kind: Literal["address"]
    address: str | None = None
    """Such as tls://head:8786."""
    scheduler_file: Path | None = None
    """What dask scheduler --scheduler-file wrote."""
    workers: Workers = 1
    """Workers to wait for before the run starts."""
    wait: Duration = "1 min"
    """How long to wait for them."""
    tls: TlsSettings | None = None
    """None: what Dask's own configuration says."""

    @model_validator(mode="after")
    def _one_place(self) -> "AddressCluster":
        if (self.address is None) == (self.scheduler_file is None):
            raise ValueError("either address or scheduler_file is needed")
        return self


Cluster = LocalCluster | CudaCluster | SlurmCluster | KubernetesCluster | AddressCluster

_KINDS: dict[str, type[Cluster]] = {
    "local": LocalCluster,
    "cuda": CudaCluster,
    "slurm": SlurmCluster,
    "kubernetes": KubernetesCluster,
    "address": AddressCluster,
}


def load_cluster(path: Path) -> Cluster:
    """The cluster that a YAML file describes; raises ConfigError."""
    values = read_yaml(path)
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigError(f"{path}: kind is {kind!r}, but one of {', '.join(_KINDS)} is needed.")
    return validate(_KINDS[kind], values, str(path))


def seconds(duration: str) -> int:
    """`55 min` → 3300."""
    number, unit = re.fullmatch(r"(\d+) ?([a-z]+)", duration).groups()  # type: ignore[union-attr]
    return int(number) * _UNITS_S[unit]


def walltime_s(walltime: str) -> int:
    """`1-02:00:00` → 93600."""
    days, _, clock = walltime.rpartition("-")
    hours, minutes, rest = (int(part) for part in clock.split(":"))
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + rest


def check_network(address: str, *, insecure: bool, source: str) -> None:
    """Raise ConfigError unless `address` is on loopback or speaks TLS, or `insecure` says that neither is needed.

    Who reaches a scheduler or a worker of Dask can run any code there.
    """
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if insecure or parts.scheme in ("tls", "wss", "inproc") or _is_loopback(parts.hostname or ""):
        return
    raise ConfigError(
        f"{source}: {parts.scheme}://{parts.hostname} is reached over the network without TLS: whoever reaches it can run "
        "code there. Add certificates (tls:), or --insecure-network where nobody else is on that network."
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
