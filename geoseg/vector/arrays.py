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
    last, steps = _ends(following)
    looping = following[last] >= 0
    if looping.any():
        _open_cycles(following, np.flatnonzero(looping))
        last, steps = _ends(following)
    lengths = np.bincount(last, minlength=len(following))
    ends = np.flatnonzero(lengths)
    offsets = offsets_of(lengths[ends])
    stop = np.zeros(len(following), np.int64)
    stop[ends] = offsets[1:]
    order = np.empty(len(following), np.int64)
    order[stop[last] - 1 - steps] = np.arange(len(following))
    return order, offsets, looping[ends]


def _ends(following: Ints) -> tuple[Ints, Ints]:
    """Last element of each element's chain and the steps to it; on a cycle, some element of it."""
    ended = following < 0
    ahead = np.where(ended, np.arange(len(following)), following)
    steps = np.where(ended, 0, 1)
    remaining = -1
    while (left := int(np.count_nonzero(following[ahead] >= 0))) != remaining:
        remaining = left
        steps += steps[ahead]
        ahead = ahead[ahead]
    return ahead, steps


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
