"""What a worker of Dask does first: `dask worker --preload geoseg.run.worker`.

It keeps to the CPUs it was given, and loads the libraries of networks before it takes tasks: Python 3.11 can fall over
where two threads import at once (both parse source for docstrings, and the depth of the parser is counted in one place).
"""

import importlib
import os
from typing import Any

CPUS = "GEOSEG_CPUS"
"""Environment variable: the CPUs of a worker, such as 0,1,2,3; those next to its GPU."""
NETWORK = "network"
"""The Dask resource that a worker has one of if it may run networks."""


def dask_setup(worker: Any) -> None:
    """Called by Dask in a worker that starts."""
    if cpus := os.environ.get(CPUS):
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - names are all that is wanted
            os.sched_setaffinity(int(thread), {int(c) for c in cpus.split(",")})
    if NETWORK in worker.state.total_resources:
        importlib.import_module("geoseg.nn.session")
