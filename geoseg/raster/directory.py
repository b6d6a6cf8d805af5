"""The directories of a TIFF file, read without GDAL: where every block lies, and whether the file holds them all.

GDAL opens a file that was cut short without a word, and drops a mask whose directory is gone. It also shows a tall
strip as many small blocks that have no place in the file. TIFF 6.0 (Adobe, 1992) and BigTIFF have the layout.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import BrokenRaster

_TYPES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
"""TIFF types of whole numbers → numpy."""
_WIDTH, _HEIGHT, _SAMPLES, _PLANAR = 256, 257, 277, 284
_ROWS_PER_STRIP, _STRIP_OFFSETS, _STRIP_SIZES = 278, 273, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES = 322, 323, 324, 325
_SHAPE_TAGS = {_WIDTH, _HEIGHT, _SAMPLES, _PLANAR, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT}
_TABLE_TAGS = {_STRIP_OFFSETS, _STRIP_SIZES, _TILE_OFFSETS, _TILE_SIZES}
_MAX_DIRECTORIES = 1024
_MAX_TAGS = 4096
"""Of a directory; libtiff believes no more either."""
_BIG = 43
"""The version number of BigTIFF."""

_FAR = 2**61
"""Beyond every file; the sum of two such numbers still fits."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """One image of the file: the scene (the first), a mask, or an overview."""

    block_shape: tuple[int, int]
    """Rows and columns of a block as stored."""
    offsets: Numbers
    """`(planes, rows of blocks, columns of blocks)`; one plane, or one a band where bands are stored apart."""
    sizes: Numbers
    """Stored bytes, likewise; 0 where a block was never written."""


def read_directories(path: Path) -> tuple[Directory, ...]:
    """Every directory of a TIFF file; raises BrokenRaster where one is not whole, and OSError."""
    with path.open("rb") as file:
        return tuple(_Parser(path, file).directories())


class _Parser:
    """Reads the directories of one file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._size = path.stat().st_size
        self._taken = 0  # bytes of arrays read so far; honest arrays do not share bytes
        self._order = "<" if self._read(0, 2) == b"II" else ">"
        self._big = self._number(2, 2) == _BIG

    def directories(self) -> list[Directory]:
        """Follow the chain from the header; a chain that bites its tail ends there."""
        found: dict[int, Directory] = {}
        at = self._number(8, 8) if self._big else self._number(4, 4)
        while at and at not in found and len(found) < _MAX_DIRECTORIES:
            found[at], at = self._directory(at)
        if not found:
            raise BrokenRaster(f"{self._path}: a TIFF without any image. Copy it again from its source.")
        return list(found.values())

    def _directory(self, at: int) -> tuple[Directory, int]:
        """The directory at this offset, and the offset of the next one."""
        count_bytes, entry_bytes, next_bytes = (8, 20, 8) if self._big else (2, 12, 4)
        count = self._number(at, count_bytes)
        end = at + count_bytes + min(count, _MAX_TAGS) * entry_bytes
        self._need(end + next_bytes)
        starts = range(at + count_bytes, end, entry_bytes)
        tags = {tag: start for start in starts if (tag := self._number(start, 2)) in _SHAPE_TAGS | _TABLE_TAGS}
        values = {tag: self._values(start) for tag, start in tags.items()}
        return self._image(values), self._number(end, next_bytes)

    def _values(self, entry: int) -> Numbers:
        """The numbers of a tag, from the entry itself where they fit into it."""
        kind = _TYPES.get(self._number(entry + 2, 2))
        if kind is None:
            return np.empty(0, np.int64)
        inline, at = (8, entry + 12) if self._big else (4, entry + 8)
        count = self._number(entry + 4, inline)
        size = count * int(kind[1])
        if size > inline:
            at = self._number(at, inline)
        self._taken += size
        self._need(self._taken)
        stored = np.frombuffer(self._read(at, size), self._order + kind)
        if kind == "u8":
            stored = np.minimum(stored, _FAR)
        return stored.astype(np.int64)

    def _image(self, values: dict[int, Numbers]) -> Directory:
        def one(tag: int, default: int) -> int:
            return int(values[tag][0]) if tag in values and values[tag].size else default

        height, width = one(_HEIGHT, 0), one(_WIDTH, 0)
        tiled = _TILE_WIDTH in values
        rows = one(_TILE_HEIGHT if tiled else _ROWS_PER_STRIP, height)
        shape = (min(rows, height) if not tiled else rows, one(_TILE_WIDTH, width) if tiled else width)
        if min(height, width, *shape) < 1:
            raise BrokenRaster(
                f"{self._path}: a TIFF of {width} × {height} pixels in blocks of {shape[1]} × {shape[0]}. "
                "Copy it again from its source."
            )
        planes = one(_SAMPLES, 1) if one(_PLANAR, 1) == 2 else 1
        blocks = (planes, -(-height // shape[0]), -(-width // shape[1]))
        nothing = np.empty(0, np.int64)
        # Some writers use the tags of strips for tiles; libtiff takes either.
        offsets = values.get(_TILE_OFFSETS, values.get(_STRIP_OFFSETS, nothing))
        sizes = values.get(_TILE_SIZES, values.get(_STRIP_SIZES, nothing))
        return Directory(shape, *self._table(offsets, sizes, blocks))

    def _table(self, offsets: Numbers, sizes: Numbers, blocks: tuple[int, int, int]) -> tuple[Numbers, Numbers]:
        count = blocks[0] * blocks[1] * blocks[2]
        if len(offsets) < count:
            raise BrokenRaster(
                f"{self._path}: its directory lists {len(offsets):,} blocks, but the size it declares needs {count:,}. "
                "Copy it again from its source."
            )
        if len(sizes) < count or not sizes.any():
            sizes = np.minimum(offsets, 1)  # old writers leave sizes out
        return offsets[:count].reshape(blocks), sizes[:count].reshape(blocks)

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self._read(at, size), "little" if self._order == "<" else "big")

    def _read(self, at: int, size: int) -> bytes:
        self._need(at + size)
        self._file.seek(at)
        return self._file.read(size)

    def _need(self, size: int) -> None:
        if size > self._size:
            raise BrokenRaster(
                f"{self._path}: truncated: its directory needs {size:,} bytes, but the file has {self._size:,}. "
                "Copy it again from its source."
            )
