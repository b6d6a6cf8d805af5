"""What a training shows while it goes on: a bar with loss and IoU in a terminal, else a line for each epoch."""

import logging
import time
import warnings
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import Console


def training_progress() -> Callback:
    """A bar where there is a terminal, plain lines on the standard error stream where there is none."""
    console = Console(stderr=True)
    return RichProgressBar() if console.is_terminal else PlainLines(console)


def say(text: str, console: Console | None = None) -> None:
    """One plain line, on the standard error stream."""
    (console or Console(stderr=True)).print(text, markup=False, highlight=False, soft_wrap=True)


def quiet_lightning() -> None:
    """Keep Lightning from telling of devices that are not there, of its other products, and of its own deprecations."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for told in (".*LeafSpec.*", "Checkpoint directory .*", ".*does not have many workers.*"):
        warnings.filterwarnings("ignore", told, module="lightning")
    # Sources without validation scenes have nothing to compute.
    warnings.filterwarnings("ignore", ".*was called before the ``update`` method.*")


class PlainLines(Callback):  # type: ignore[misc]
    """A line after each validation: steps, losses, IoU, and the time left."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self._console = console
        self._started, self._first = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Called by Lightning; a resumed run begins at a later step."""
        self._started, self._first = time.perf_counter(), trainer.global_step
        say(
            f"training: step {trainer.global_step} of {trainer.max_steps} on {trainer.strategy.root_device}",
            self._console,
        )

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Called by Lightning."""
        done = trainer.global_step - self._first
        if trainer.state.fn != "fit" or not done:
            return
        scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
        a_step = (time.perf_counter() - self._started) / done
        left = (trainer.max_steps - trainer.global_step) * a_step / 60
        say(
            f"step {trainer.global_step} of {trainer.max_steps}: loss {scores.get('loss', float('nan')):.3f}, validation "
            f"loss {scores['validation_loss']:.3f}, mean IoU {scores['mean_iou']:.3f}; {a_step:.2f} s a step, {left:,.0f} min left",
            self._console,
        )
