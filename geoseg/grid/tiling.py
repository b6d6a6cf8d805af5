"""The lattice of overlapping tiles of a scene, and its strips.

One axis, tile size T, overlap V, stride S = T − V (T, V multiples of the network's stride, 32):

    scene   0                                                    length
    tile 0  |tttttttttttttttttttttttt|
    tile 1                    |tttttttttttttttttttttttt|
    tile 2                                      |ttttttttttttttt|      only as large as it must be
            0                 S      T          2S
    owned   |ooooooooooooooooo|ooooooooooooooooo|ooooooooooooooo|      rows that are final after the tile

Every pixel lies in one or two tiles of an axis. Tile i owns the pixels from its own start to the start of the next:
once tiles 0 … i were added, no later one changes them. The lattice belongs to the scene: a strip is a run of tile rows
of it, so that any cut into strips adds the same numbers in the same order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from geoseg.errors import ConfigError

NETWORK_STRIDE = 32
"""An encoder–decoder halves five times: sizes and offsets are multiples of 2⁵."""


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis."""

    index: int
    start: int
    """First pixel."""
    stop: int
    """Pixel after the last one that lies in the scene."""
    padded: int
    """Size the network sees: a multiple of the network's stride, at least stop − start."""
    owned_stop: int
    """Pixel after the last one that no later tile changes."""

    @property
    def size(self) -> int:
        """Pixels of the scene in the tile."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Axis:
    """Tiles along one axis of a scene."""

    length: int
    """Pixels of the scene, at least 1."""
    tile_size: int
    overlap: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"an axis needs at least 1 pixel, got {self.length}")
        check_tiling(self.tile_size, self.overlap)

    @property
    def stride(self) -> int:
        """Pixels between the starts of neighbouring tiles."""
        return self.tile_size - self.overlap

    def __len__(self) -> int:
        return max(1, -(-(self.length - self.overlap) // self.stride))

    def __getitem__(self, index: int) -> Span:
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        last = index == len(self) - 1
        start = index * self.stride
        stop = self.length if last else start + self.tile_size
        padded = -(-(stop - start) // NETWORK_STRIDE) * NETWORK_STRIDE
        return Span(index, start, stop, padded, stop if last else start + self.stride)

    def __iter__(self) -> Iterator[Span]:
        return (self[i] for i in range(len(self)))


@dataclass(frozen=True, slots=True)
class Strip:
    """A full-width run of tile rows: the unit that is scheduled, retried and resumed."""

    index: int
    first: int
    """First tile row it owns."""
    stop: int
    """Tile row after the last."""
    row_start: int
    """First pixel row it owns."""
    row_stop: int
    """Pixel row after the last; the strips of a scene own every row once."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The tiles of a scene, the same for every strip, worker and batch size."""

    height: int
    width: int
    tile_size: int
    overlap: int

    @property
    def rows(self) -> Axis:
        """Tile rows."""
        return Axis(self.height, self.tile_size, self.overlap)

    @property
    def cols(self) -> Axis:
        """Tile columns."""
        return Axis(self.width, self.tile_size, self.overlap)

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    @property
    def forwarded_pixels(self) -> int:
        """Pixels that the network sees, padding included, rows that strips share not."""
        return sum(r.padded for r in self.rows) * sum(c.padded for c in self.cols)

    def strips(self, tile_rows: int) -> tuple[Strip, ...]:
        """Cut into strips of at most `tile_rows` tile rows, as even as can be."""
        if tile_rows < 1:
            raise ConfigError(f"strip_rows is {tile_rows}, but a strip has at least 1 tile row.")
        axis = self.rows
        count = -(-len(axis) // tile_rows)
        bounds = [i * len(axis) // count for i in range(count + 1)]
        return tuple(Strip(i, a, b, axis[a].start, axis[b - 1].owned_stop) for i, (a, b) in enumerate(pairwise(bounds)))


def default_overlap(tile_size: int) -> int:
    """128 px, or half of a tile that is smaller than two of these; what the default model needs to leave no seams."""
    return min(128, tile_size // (2 * NETWORK_STRIDE) * NETWORK_STRIDE)


def check_tiling(tile_size: int, overlap: int) -> None:
    """Raise ConfigError unless tiles of this size and overlap form a lattice."""
    if tile_size < NETWORK_STRIDE or tile_size % NETWORK_STRIDE:
        raise ConfigError(f"tile_size is {tile_size}, but must be a positive multiple of {NETWORK_STRIDE}.")
    if overlap < 0 or overlap % NETWORK_STRIDE:
        raise ConfigError(f"overlap is {overlap}, but must be 0 or a positive multiple of {NETWORK_STRIDE}.")
    if 2 * overlap > tile_size:
        raise ConfigError(f"overlap is {overlap}, but must be at most half the tile size ({tile_size // 2}).")
