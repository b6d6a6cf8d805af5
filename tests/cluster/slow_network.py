"""`dask worker --preload`: a network that takes its time, but no core; SLEEP_S seconds a tile."""

import os
import time


def dask_setup(worker):
    from geoseg.nn.forward import Forward

    logits = Forward.logits

    def slow(self, images, *more):
        time.sleep(float(os.environ["SLEEP_S"]) * len(images))
        return logits(self, images, *more)

    Forward.logits = slow
