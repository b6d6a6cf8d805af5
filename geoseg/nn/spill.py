"""Training sets larger than memory: arrays on disk, mapped into memory, so that windows are cut from what is cached.

Each scene, or mosaic, is read whole before it is put there.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.files import full_disk_told, output_error

_HELD = 2**30
"""Bytes of arrays that stay in memory, also of those that are let go: small training sets leave the disk alone."""
_FILE = 2**30
"""Bytes of a file: few large ones, for every mapping holds a file open, and a process may hold a thousand."""
_ALIGNED = 64


class Spill:
    """Keeps arrays: the first in memory, the others in unnamed files, which are gone with the last array or the process."""

    def __init__(self, folder: Path, *, held: int = _HELD, file_bytes: int = _FILE) -> None:
        """Files lie in `folder`, which is made when the first is."""
        self._folder = folder
        self._held = held
        self._file_bytes = file_bytes
        self._file: Any = None
        self._mapped: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._used = 0

    def keep(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array itself, or one like it that lies on disk and cannot be changed.

        Raises OutputError where it cannot be written, DiskFull where the disk is full.
        """
        if array.nbytes <= self._held:
            self._held -= array.nbytes
            return array
        if array.nbytes > self._mapped.size - self._used:
            self._open(array.nbytes)
        start, self._used = self._used, self._used + -(-array.nbytes // _ALIGNED) * _ALIGNED
        target = self._folder / "scenes"
        try:
            # Written as a file and not through the mapping, where a full disk would kill the process.
            with full_disk_told(target):
                self._file.seek(start)
                self._file.write(np.ascontiguousarray(array).data)
                self._file.flush()
        except OSError as exc:
            raise output_error(target, exc) from exc
        return self._mapped[start : start + array.nbytes].view(array.dtype).reshape(array.shape)

    def _open(self, nbytes: int) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - the arrays live longer
            size = max(self._file_bytes, nbytes + _ALIGNED)
            self._file.truncate(size)
            mapped = np.memmap(self._file, np.uint8, "r", shape=(size,))
        except OSError as exc:
            raise output_error(self._folder / "scenes", exc) from exc
        self._mapped, self._used = np.asarray(mapped), 0
