"""What geoseg costs, measured against the floor: the bare forward of the same model over the same pixels."""

# Before torch, whose threads then sleep while they wait, as they do in a run.
import geoseg.nn  # noqa: F401
