"""Tasks that tell where they were run; importable, as workers need them."""

import os
import time
from dataclasses import dataclass
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
