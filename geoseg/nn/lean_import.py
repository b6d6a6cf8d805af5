"""Importing torchvision and timm without torch's compiler, which takes longer to import than all the rest."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"
_MODULES = (_COMPILER, f"{_COMPILER}.utils")


def import_without_compiler(*names: str) -> None:
    """Import modules that ask torch's compiler no more than whether it is there, and to leave their functions alone.

    torchvision and timm import it for that at once: 2.6 of 6.3 seconds and 150 MB of every process, on two cores. geoseg
    compiles nothing. Who imports the compiler later gets the real one. Where the modules ask for more than that, they
    get the real one too.
    """
    if not _imported(_COMPILER):
        with _stood_in_for(), suppress(ImportError, AttributeError):
            for name in names:
                importlib.import_module(name)
            return
    for name in names:
        importlib.import_module(name)


def _imported(name: str) -> bool:
    return name in sys.modules


@contextmanager
def _stood_in_for() -> Iterator[None]:
    """A stand-in for the compiler, which supports nothing and disables nothing."""
    package, utils = (ModuleType(name) for name in _MODULES)
    package.__path__ = []
    package.disable = _as_it_is  # type: ignore[attr-defined]
    utils.is_compile_supported = lambda _: False  # type: ignore[attr-defined]
    before = set(sys.modules)
    sys.modules |= {_COMPILER: package, f"{_COMPILER}.utils": utils}
    vars(torch)["_dynamo"] = package
    try:
        yield
    finally:
        del vars(torch)["_dynamo"]
        for name in [n for n in sys.modules if n in _MODULES and n not in before]:
            del sys.modules[name]


def _as_it_is(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """`torch._dynamo.disable`, bare or as a decorator with arguments."""
    return (lambda given: given) if function is None else function
