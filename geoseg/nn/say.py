"""What a training has to say while it goes on."""

from rich.console import Console


def say(text: str, console: Console | None = None) -> None:
    """One plain line, on the standard error stream."""
    (console or Console(stderr=True)).print(text, markup=False, highlight=False, soft_wrap=True)
