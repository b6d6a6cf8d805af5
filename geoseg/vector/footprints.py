"""Buildings between squaring and the layers: on disk, so that a scene's buildings are never all in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import OutputError
from geoseg.files import atomic
from geoseg.vector.arrays import Bools, Floats, Ints

Polygons = NDArray[Any]
Bounds = tuple[float, float, float, float]

_COLUMNS = ("region", "pixels", "shape", "direction")
_KEPT = 3
"""Files held in memory: those that a block's buildings reach into."""


@dataclass(frozen=True, slots=True, eq=False)
class Footprints:
    """Buildings that ended in one block, ascending by region; coordinates are pixels of the scene, column and row."""

    region: Ints
    """(B,) region of the scene."""
    pixels: Ints
    """(B,) its pixels."""
    outlines: Polygons
    """(B,) simplified outlines, which do not overlap one another or any other feature."""
    polygons: Polygons
    """(B,) what is delivered: squared, or the outline."""
    shape: Ints
    """(B,) which of `buildings.SHAPES` each is."""
    direction: Floats
    """(B,) main direction on the ground in radians, from the columns towards the rows."""

    @property
    def squared(self) -> Bools:
        """(B,) True where the polygon is not the outline."""
        return self.shape > 0

    def picked(self, which: NDArray[Any]) -> "Footprints":
        """Some of them."""
        return Footprints(**{name: getattr(self, name)[which] for name in (*_COLUMNS, "outlines", "polygons")})

    def unsquared(self, which: NDArray[Any]) -> "Footprints":
        """The same with the outlines of some taken back."""
        polygons, shape = self.polygons.copy(), self.shape.copy()
        polygons[which], shape[which] = self.outlines[which], 0
        return replace(self, polygons=polygons, shape=shape)


@dataclass(frozen=True, slots=True)
class Shelf:
    """All buildings of a scene, one file for each block in which some ended."""

    folder: Path
    name: str
    """What the files are called before their number."""
    bounds: list[Bounds] = field(default_factory=list)
    """Of each file: least column and row, greatest column and row."""

    def __len__(self) -> int:
        return len(self.bounds)

    def add(self, footprints: Footprints) -> None:
        """Put the buildings of the next block on the shelf."""
        _save(self._path(len(self)), footprints)
        both = shapely.total_bounds(np.concatenate([footprints.outlines, footprints.polygons]))
        self.bounds.append(tuple(both.tolist()))

    def __iter__(self) -> Iterator[Footprints]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Footprints:
        path = self._path(index)
        return _load(path, path.stat().st_mtime_ns)

    def near(self, bounds: Bounds) -> Iterator[Footprints]:
        """Files that may hold buildings within the bounds."""
        for index, (left, top, right, bottom) in enumerate(self.bounds):
            if left <= bounds[2] and bounds[0] <= right and top <= bounds[3] and bounds[1] <= bottom:
                yield self[index]

    def _path(self, index: int) -> Path:
        return self.folder / f"{self.name}_{index:05d}.npz"


def _save(path: Path, footprints: Footprints) -> None:
    members = {name: getattr(footprints, name) for name in _COLUMNS}
    for name in ("outlines", "polygons"):
        _, xy, (rings, polygons) = shapely.to_ragged_array(getattr(footprints, name))
        members |= {f"{name}.xy": xy, f"{name}.rings": rings, f"{name}.polygons": polygons}
    with atomic(path) as temporary:
        np.savez(temporary, allow_pickle=False, **members)


@lru_cache(maxsize=_KEPT)
def _load(path: Path, _written: int) -> Footprints:
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in _COLUMNS}
            for name in ("outlines", "polygons"):
                offsets = file[f"{name}.rings"], file[f"{name}.polygons"]
                columns[name] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, file[f"{name}.xy"], offsets)
    except (OSError, ValueError, KeyError) as exc:
        raise OutputError(f"{path}: is missing or holds no buildings ({exc}). Run the same command again.") from exc
    return Footprints(**columns)
