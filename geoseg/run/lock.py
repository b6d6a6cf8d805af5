"""One run at a time in an output folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geoseg.errors import ConfigError, OutputError
from geoseg.run.find import OWN_FOLDER


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold the output folder; the system lets go of it when the process ends, however it ends.

    Raises ConfigError where another run holds it, OutputError where the folder cannot be made.
    """
    try:
        (output / OWN_FOLDER).mkdir(parents=True, exist_ok=True)
        file = (output / OWN_FOLDER / "lock").open("w")
    except OSError as exc:
        raise OutputError(f"{output}: cannot be written ({exc.strerror}). Choose another output folder.") from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{output}: another run is writing there. Wait for it, or choose another folder."
            ) from None
        yield
