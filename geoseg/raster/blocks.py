"""The blocks of a scene as stored: whether the file holds them all, and which were never written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import BrokenRaster
from geoseg.files import write_error
from geoseg.raster.directory import Directory, read_directories


@dataclass(frozen=True, slots=True, eq=False)
class BlockTable:
    """Where the blocks of a GeoTIFF lie, from its directories; no pixel is read."""

    path: Path
    directories: tuple[Directory, ...]
    """The scene first, then its masks and overviews."""

    @classmethod
    def read(cls, path: Path) -> "BlockTable":
        """Read the table of a TIFF file; raises BrokenRaster where a directory is not whole."""
        return cls(path, read_directories(path))

    @property
    def block_shape(self) -> tuple[int, int]:
        """Rows and columns of a block of the scene as stored; GDAL may show a tall strip as many small ones."""
        return self.directories[0].block_shape

    @property
    def planes(self) -> int:
        """1, or the number of bands where they are stored apart."""
        return len(self.directories[0].sizes)

    @property
    def count(self) -> int:
        """Blocks of the scene."""
        return self.directories[0].sizes.size

    @property
    def written_blocks(self) -> int:
        """Blocks of the scene that were ever written."""
        return int(np.count_nonzero(self.directories[0].sizes))

    @property
    def any_missing(self) -> bool:
        """Whether a block of the scene was never written."""
        return self.written_blocks < self.count

    def check_whole(self) -> None:
        """Raise BrokenRaster if a block of any directory ends beyond the end of the file."""
        ends = np.concatenate([np.where(d.sizes > 0, d.offsets + d.sizes, 0).ravel() for d in self.directories])
        size = self.path.stat().st_size
        lost = int(np.count_nonzero(ends > size))
        if lost:
            raise BrokenRaster(
                f"{self.path}: truncated: {lost:,} of {ends.size:,} blocks end beyond the {size:,} bytes of the file "
                f"({ends.max():,} are needed). Copy it again from its source."
            )

    def written(self, row_start: int, row_stop: int, width: int, bands: tuple[int, ...]) -> NDArray[np.bool_]:
        """Where the pixels of these rows were ever written in all of `bands` (1-based), `(rows, width)`."""
        planes = [b - 1 for b in bands] if self.planes > 1 else [0]
        rows = np.arange(row_start, row_stop) // self.block_shape[0]
        cols = np.arange(width) // self.block_shape[1]
        present = np.logical_and.reduce(self.directories[0].sizes[planes] > 0)
        pixels: NDArray[np.bool_] = present[rows][:, cols]
        return pixels


def check_written(path: Path, target: Path) -> None:
    """Raise OutputError unless the TIFF at `path`, written just now for `target`, is whole.

    On a full disk GDAL closes a file that lacks its end without a word.
    """
    try:
        table = BlockTable.read(path)
        table.check_whole()
        if not table.any_missing:
            return
    except BrokenRaster:
        pass
    raise write_error(target, "its end is missing")
