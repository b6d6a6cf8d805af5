"""The GPUs of this machine, without loading anything that would hold one."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PCI = Path("/sys/bus/pci/devices")
_DRIVER = Path("/proc/driver/nvidia/gpus")


def has_gpu() -> bool:
    """Whether there is a GPU with its driver that is not hidden from this process; costs nothing."""
    return _DRIVER.is_dir() and os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() not in ("", "-1")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU."""

    name: str
    """Index or UUID, as CUDA_VISIBLE_DEVICES takes it."""
    cpus: tuple[int, ...]
    """CPUs next to it that this process may use; empty where that is not known."""


def gpus_here(names: tuple[str, ...] | None) -> list[Gpu]:
    """The GPUs of these names, or all that this process may see; empty where there is no driver."""
    listed = _listed()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None and visible is not None:
        names = tuple(filter(None, (n.strip() for n in visible.split(","))))
    if names is None:
        names = tuple(n for n in listed if n.isdigit())
    return [Gpu(name, _cpus_near(listed.get(name, ""))) for name in names]


def _listed() -> dict[str, str]:
    """Index, and UUID → address on the PCI bus."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,pci.bus_id", "--format=csv,noheader"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines() if line.count(",") == 2]
    return {index: bus for index, _, bus in rows} | {uuid: bus for _, uuid, bus in rows}


def _cpus_near(bus: str) -> tuple[int, ...]:
    """CPUs of the node that a PCI device hangs on."""
    try:
        text = (_PCI / bus.lower()[-12:] / "local_cpulist").read_text()
    except OSError:
        return ()
    return tuple(sorted(parse_cpus(text) & os.sched_getaffinity(0)))


def parse_cpus(text: str) -> set[int]:
    """`0-3,8` → {0, 1, 2, 3, 8}."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus |= set(range(int(first), int(last or first) + 1))
    return cpus
