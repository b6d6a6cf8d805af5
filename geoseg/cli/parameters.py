"""Types of options that several verbs share."""

from collections.abc import Callable
from typing import Any

import click


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Numbers with commas between them."""

    def __init__(self, kind: Callable[[str], float], name: str) -> None:
        self._kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """`1,2,3` → (1, 2, 3)."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._kind(part) for part in value.split(","))
        except ValueError:
            self.fail(f"'{value}' is not of the form {self.name}", param, ctx)
