"""What a training shows while it goes on: a bar with loss and IoU in a terminal, else a line for each epoch."""

import logging
import time
import warnings
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import Console

from geoseg.nn.say import say


def training_progress() -> Callback:
    """A bar where there is a terminal, plain lines on the standard error stream where there is none."""
    console = Console(stderr=True)
    return RichProgressBar(console_kwargs={"stderr": True}) if console.is_terminal else PlainLines(console)


def quiet_lightning() -> None:
    """Keep Lightning from telling of devices that are not there, of its other products, and of its own deprecations."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for told in (
        ".*LeafSpec.*",
        "Checkpoint directory .*",
        "Experiment logs directory .*",  # what lay there is set aside before
        ".*does not have many workers.*",
        ".*srun.* command is available.*",
        ".*module\\(s\\) in eval mode.*",  # frozen statistics
    ):
        warnings.filterwarnings("ignore", told, module="lightning")
    # Sources without validation scenes have nothing to compute.
    warnings.filterwarnings("ignore", ".*was called before the ``update`` method.*")


_A_LINE_S = 60.0


class PlainLines(Callback):  # type: ignore[misc]
    """A line after each validation, and every minute: steps, losses, IoU, and the time left."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self._console = console
        self._started, self._first, self._told = 0.0, 0, 0.0

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Called by Lightning; a resumed run begins at a later step."""
        self._started, self._first = time.perf_counter(), trainer.global_step
        self._told = self._started
        say(
            f"training: step {trainer.global_step} of {trainer.max_steps} on {trainer.strategy.root_device}",
            self._console,
        )

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Called by Lightning."""
        if time.perf_counter() - self._told > _A_LINE_S and trainer.global_step > self._first:
            self._tell(trainer, "")

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Called by Lightning."""
        if trainer.state.fn == "fit" and trainer.global_step > self._first:
            scores = trainer.callback_metrics
            self._tell(
                trainer,
                f", validation loss {float(scores['validation_loss']):.3f}, mean IoU {float(scores['mean_iou']):.3f}",
            )

    def _tell(self, trainer: pl.Trainer, scores: str) -> None:
        self._told = time.perf_counter()
        a_step = (self._told - self._started) / (trainer.global_step - self._first)
        left = (trainer.max_steps - trainer.global_step) * a_step / 60
        loss = float(trainer.callback_metrics.get("loss", float("nan")))
        say(
            f"step {trainer.global_step} of {trainer.max_steps}: loss {loss:.3f}{scores}; {a_step:.2f} s a step, "
            f"{left:,.0f} min left",
            self._console,
        )
