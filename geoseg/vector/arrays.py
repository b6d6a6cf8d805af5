"""Ragged arrays and chains: many short sequences in one flat array, handled without a loop per sequence."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]


def offsets_of(lengths: NDArray[Any]) -> Ints:
    """Where each of the sequences starts, and the total at the end: (N,) lengths → (N + 1,) offsets."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def owners_of(offsets: Ints) -> Ints:
    """Number of the sequence that each element belongs to."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """The concatenation of `arange(start, start + length)` over all pairs."""
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)


def take_sequences(offsets: Ints, picked: Ints) -> tuple[Ints, Ints]:
    """Elements of the picked sequences in that order, and their offsets."""
    lengths = offsets[picked + 1] - offsets[picked]
    return ranges(offsets[picked], lengths), offsets_of(lengths)


def chains(following: Ints) -> tuple[Ints, Ints, Bools]:
    """Put linked elements in order, by pointer doubling (list ranking; Wyllie 1979).

    `following` (N,) holds the element after each, or −1 at the end of a chain; no two elements share a follower.
    A cycle is opened at its smallest element. Returns the elements chain after chain, in the order of their
    last element, the offsets of the chains, and for each chain whether it is a cycle. N·log(longest) work.
    """
    following = following.copy()
    last = np.where(following < 0, np.arange(len(following)), following)
    steps = (following >= 0).astype(np.int64)
    cyclic = _advance(following, last, steps, np.flatnonzero(following[last] >= 0))
    looping = np.zeros(len(following), bool)
    if len(cyclic):
        _open_cycles(following, cyclic)
        opened = following[cyclic] < 0
        last[cyclic], steps[cyclic] = np.where(opened, cyclic, following[cyclic]), ~opened
        looping[cyclic[opened]] = True
        _advance(following, last, steps, cyclic[following[last[cyclic]] >= 0])
    lengths = np.bincount(last, minlength=len(following))
    ends = np.flatnonzero(lengths)
    offsets = offsets_of(lengths[ends])
    stop = np.zeros(len(following), np.int64)
    stop[ends] = offsets[1:]
    order = np.empty(len(following), np.int64)
    order[stop[last] - 1 - steps] = np.arange(len(following))
    return order, offsets, looping[ends]


def _advance(following: Ints, ahead: Ints, steps: Ints, moving: Ints) -> Ints:
    """Move `ahead` of the `moving` elements to the end of their chains, in place, and count their `steps` to it.

    Returns those that have no end to come to: they are on cycles.
    """
    while len(moving):
        via = ahead[moving]
        steps[moving] += steps[via]
        ahead[moving] = via = ahead[via]
        left = moving[following[via] >= 0]
        if len(left) == len(moving):
            break
        moving = left
    return moving


def _open_cycles(following: Ints, members: Ints) -> None:
    """Cut each cycle before its smallest element, in place."""
    place = np.empty(len(following), np.int64)
    place[members] = np.arange(len(members))
    link = place[following[members]]
    ahead, smallest = link, np.arange(len(members))
    while (smallest != smallest[link]).any():
        smallest = np.minimum(smallest, smallest[ahead])
        ahead = ahead[ahead]
    cut = link == smallest
    following[members[cut]] = -1


def words(column: Any) -> Any:
    """The values of a table's column as words; 1.0 is "1", for whole numbers are read as floats where a feature has none."""
    return column.map(lambda v: str(int(v)) if isinstance(v, float) and v.is_integer() else str(v))
