"""Tasks that tell where they were run; importable, as workers need them."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Where:
    """Sleeps, then tells the process, its threads and its CPUs."""

    key: str
    lane: Literal["network", "cpu"]
    seconds: float = 0.05

    def run(self):
        time.sleep(self.seconds)
        threads = None
        if self.lane == "network":
            import torch

            from geoseg.nn.device import prepare_process

            prepare_process(None)
            threads = torch.get_num_threads()
        return os.getpid(), threads, sorted(os.sched_getaffinity(0)), os.environ.get("CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Deadly:
    """Takes its worker with it when it is sent away."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class LostWithItsWorker:
    """Done, but its worker dies before anyone has the value; done again, the worker dies too."""

    marker: str
    key: str = "lost"
    lane: Literal["network", "cpu"] = "network"

    def run(self):
        try:
            Path(self.marker).touch(exist_ok=False)
        except FileExistsError:
            os.kill(os.getpid(), signal.SIGKILL)
        return Deadly()
