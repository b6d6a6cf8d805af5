"""Faults put into the workers of a run, from outside: a module that Dask preloads into every worker.

    DASK_DISTRIBUTED__WORKER__PRELOAD='["…/benchmarks/faults.py"]' GEOSEG_POISON=3 GEOSEG_SLOW_S=0.2 geoseg map …

Nothing in geoseg knows of it. A poison strip kills the process that begins with it, as a crash in GDAL or the kernel's
OOM killer would; a slow one leaves time to be killed in.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

POISON = {int(i) for i in os.environ.get("GEOSEG_POISON", "").split(",") if i}
"""Indices of strips."""
SLOW_S = float(os.environ.get("GEOSEG_SLOW_S", "0"))

LOADS = os.environ.get("GEOSEG_LOADS")
"""Folder where each worker writes how many models it has loaded."""


def dask_setup(worker: Any) -> None:
    """What Dask calls in each worker."""
    from geoseg.nn import session

    sound = session.segment

    def segment(spec, scene, bands, grid, strip, *more, **named):
        time.sleep(SLOW_S)
        if LOADS:
            Path(LOADS, f"loads-{os.getpid()}").write_text(str(session.loads))
        if strip.index in POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        return sound(spec, scene, bands, grid, strip, *more, **named)

    session.segment = segment


def environment(poison: tuple[int, ...] = (), slow_s: float = 0.0) -> dict[str, str]:
    """The environment of a run whose workers have these faults."""
    return {
        **os.environ,
        "DASK_DISTRIBUTED__WORKER__PRELOAD": repr([__file__]),
        "GEOSEG_POISON": ",".join(map(str, poison)),
        "GEOSEG_SLOW_S": str(slow_s),
    }
