"""Everything geoseg raises on purpose.

    GeosegError
    ├── ConfigError          a setting, file or option is wrong: nothing was started (exit code 2)
    │   └── Busy             another run holds the output folder: later it may start
    ├── SceneError           one scene cannot be mapped; the others go on (exit code 1)
    │   ├── NotARaster       not a GeoTIFF at all, or a VRT/XML that calls itself one
    │   ├── BrokenRaster     truncated, holed, or declares sizes that cannot be true
    │   ├── NotGeoreferenced no CRS, no geotransform, or one that cannot be carried through exactly
    │   └── ContractError    the scene breaks the model's contract (bands, dtype, pixel size)
    ├── ModelError           a model directory is incomplete, unsafe or broken
    ├── OutputError          an output cannot be written, or would overwrite an input (exit code 1)
    │   └── DiskFull         nothing can be written any more: the run ends
    ├── ClusterLost          the scheduler went away in the middle of a run (exit code 1)
    └── TrainingError        a training set cannot be trained on

A message says what is wrong, the value got, the value needed, and what to do.
"""


class GeosegError(Exception):
    """Base of all errors that geoseg raises on purpose; its text is one line for the user."""

    exit_code = 2
    """Of the process that it ends. 2: the run could not start; 1: it could not go on."""


class ConfigError(GeosegError):
    """A setting is wrong; nothing was started."""


class Busy(ConfigError):
    """Another run holds the output folder; the same call may succeed later."""


class SceneError(GeosegError):
    """One scene cannot be mapped; a run names it and goes on with the others."""


class NotARaster(SceneError):
    """The file is not a GeoTIFF."""


class BrokenRaster(SceneError):
    """The file is a GeoTIFF, but truncated, holed, or larger than it can be."""


class NotGeoreferenced(SceneError):
    """The grid of the scene cannot be carried through to a map exactly."""


class ContractError(SceneError):
    """The scene breaks the contract of the model."""


class ModelError(GeosegError):
    """A model directory is incomplete, unsafe or broken."""


class OutputError(GeosegError):
    """An output cannot be written."""

    exit_code = 1


class DiskFull(OutputError):
    """The disk is full: no other scene can be written either."""


class ClusterLost(GeosegError):
    """The scheduler of a cluster went away; what is committed stays."""

    exit_code = 1


class TrainingError(GeosegError):
    """A training set cannot be trained on; said before the first epoch."""
