"""Dask's `worker: preload`: a worker that is killed while it starts, DEATHS times over all workers (counted in DEATHS_FOLDER)."""

import os
import signal
from pathlib import Path


def dask_setup(worker):
    for number in range(int(os.environ["DEATHS"])):
        try:
            Path(os.environ["DEATHS_FOLDER"], str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)
