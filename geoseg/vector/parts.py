"""What came of a block: the file that workers leave and the finaliser reads. No pickles, the same bytes each time."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import OutputError
from geoseg.files import atomic
from geoseg.vector.arrays import Bools, Bytes, Floats, Ints, offsets_of


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The regions of a block and its outermost rows: all that is needed to join blocks."""

    value: Bytes
    """(R,) class of each region."""
    pixels: Ints
    """(R,) its pixels, filled pinholes among them."""
    own: Ints
    """(R,) its pixels that the class raster gave to its class."""
    confidence: Ints
    """(R,) sum of the confidence, 0–100, over its own pixels."""
    top: Ints
    """(2, N) runs of the first row: first column, with the padding as column 0, and region."""
    bottom: Ints
    """(2, N) runs of the last row."""
    seen: Ints
    """(256,) pixels of each class before any speck was sieved; 0 for nodata."""


@dataclass(frozen=True, slots=True, eq=False)
class Borders:
    """The arcs of a block, raw and which of their vertices are kept."""

    offsets: Ints
    """(A + 1,) first vertex of each arc, and the end of the last."""
    xy: Ints
    """(V, 2) vertices on the pixel lattice of the scene, column and row."""
    keep: Bools
    """(V,) True where the vertex is one of the simplified border."""
    left: Ints
    """(A,) region of this block on the left."""
    right: Ints
    """(A,) region of this block on the right."""


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Skeleton lines of the road classes of a block, from node to node, in pixels of the thinned raster."""

    value: Bytes
    """(P,) class of each piece."""
    offsets: Ints
    """(P + 1,) first point of each piece, and the end of the last."""
    xy: Ints
    """(Q, 2) points, column and row of the thinned raster."""
    radius: NDArray[np.float32]
    """(Q,) distance to the road's border in pixels of the scene."""
    confidence: NDArray[np.float32]
    """(Q,) confidence 0–100; NaN where it is not known."""
    ends: Bytes
    """(P, 2) how each begins and ends, as in `network`."""


@dataclass(frozen=True, slots=True, eq=False)
class Squares:
    """Buildings that were squared with the block."""

    region: Ints
    """(B,) region of this block, ascending; one comes several times where necks link parts."""
    shape: Ints
    """(B,) which of `buildings.SHAPES` each is."""
    direction: Floats
    """(B,) main direction on the ground in radians, from the columns towards the rows."""
    there: Bools
    """(B,) False where no model was good enough."""
    xy: Floats
    """(V, 2) vertices of those that are there, in pixels of the scene, column and row."""
    rings: Ints
    """(R + 1,) first vertex of each ring."""
    shells: Ints
    """(P + 1,) first ring of each that is there."""


NO_SQUARES = Squares(
    region=np.zeros(0, np.int64),
    shape=np.zeros(0, np.int64),
    direction=np.zeros(0),
    there=np.zeros(0, bool),
    xy=np.zeros((0, 2)),
    rings=np.zeros(1, np.int64),
    shells=np.zeros(1, np.int64),
)
"""Where no building is squared."""

NO_PIECES = Pieces(
    value=np.zeros(0, np.uint8),
    offsets=np.zeros(1, np.int64),
    xy=np.zeros((0, 2), np.int64),
    radius=np.zeros(0, np.float32),
    confidence=np.zeros(0, np.float32),
    ends=np.zeros((0, 2), np.uint8),
)
"""Where there is no road."""


def concatenated(many: Sequence[Pieces]) -> Pieces:
    """All pieces, one after the other."""
    both = {
        name: np.concatenate([getattr(p, name) for p in many])
        for name in ("value", "xy", "radius", "confidence", "ends")
    }
    return Pieces(**both, offsets=offsets_of(np.concatenate([np.diff(p.offsets) for p in many])))


_Block = Table | Borders | Pieces | Squares


def save(path: Path, *blocks: _Block) -> None:
    """Write a part, atomically."""
    members = {f"{type(b).__name__}.{f.name}": getattr(b, f.name) for b in blocks for f in fields(b)}
    with atomic(path) as temporary:
        np.savez(temporary, allow_pickle=False, **{name: _narrow(array) for name, array in members.items()})


def load_table(path: Path) -> Table:
    """The regions of a part; raises OutputError if the file is no part."""
    return Table(**_members(path, Table))


def load_borders(path: Path) -> Borders:
    """The arcs of a part; raises OutputError if the file is no part."""
    return Borders(**_members(path, Borders))


def load_sides(path: Path) -> tuple[Ints, Ints]:
    """The regions on both sides of each arc of a part; raises OutputError if the file is no part."""
    sides = _members(path, Borders, ("left", "right"))
    return sides["left"], sides["right"]


def load_pieces(path: Path) -> Pieces:
    """The skeleton lines of a part; raises OutputError if the file is no part."""
    return Pieces(**_members(path, Pieces))


def load_squares(path: Path) -> Squares:
    """The buildings of a part that are squared; raises OutputError if the file is no part."""
    return Squares(**_members(path, Squares))


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    """Integers that fit into 32 bits, in 32 bits."""
    if array.dtype == np.int64 and (not array.size or abs(array).max() < 1 << 31):
        return array.astype(np.int32)
    return array


def _members(path: Path, kind: type[_Block], names: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """The named arrays of a block, or all of them."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[f"{kind.__name__}.{name}"] for name in names or [f.name for f in fields(kind)]}
    except (OSError, ValueError, KeyError) as exc:
        raise OutputError(
            f"{path}: is missing or no part of a vector layer ({exc}). Run the same command again."
        ) from exc
    return {name: array.astype(np.int64) if array.dtype == np.int32 else array for name, array in arrays.items()}
