"""python -m benchmarks.training [STEPS]: the share of a training step that the network takes, and not the loader.

The configuration is that of the default model, on rendered towns alone. A step is forward, loss, backward and the
optimizer; the rest of the time the network waits for windows.
"""

import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from benchmarks.material import WORK
from geoseg.nn.data import read_data
from geoseg.nn.task import SegmentationTask
from geoseg.nn.train import _Windows, lightning_precision, prepare_training
from geoseg.train_config import TownSource, TrainConfig, load_train_config

CONFIG = Path(__file__).parents[1] / "configs" / "train" / "default.yaml"
_WARM_STEPS = 5


class Clock(pl.Callback):
    """Seconds inside of steps and between them, once the first few are over."""

    def __init__(self) -> None:
        self.inside, self.between, self.steps = 0.0, 0.0, 0
        self._started = self._ended = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """Called by Lightning."""
        self._started = _now()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Called by Lightning."""
        ended = _now()
        if trainer.global_step > _WARM_STEPS:
            self.steps += 1
            self.inside += ended - self._started
            self.between += self._started - self._ended
        self._ended = ended


def config(steps: int) -> TrainConfig:
    """The default model's training on a few rendered towns, in one epoch."""
    loaded = load_train_config(CONFIG)
    towns = next(s for s in loaded.sources if isinstance(s, TownSource))
    few = towns.model_copy(update={"root": WORK / "towns", "scenes": 4, "validation_scenes": 1})
    model = loaded.model.model_copy(update={"encoder_weights": None, "start_from": None})
    own = {"sources": (few,), "model": model, "steps": steps, "steps_per_epoch": steps, "run_dir": WORK / "training"}
    return loaded.model_copy(update=own)


def main(steps: int) -> None:
    """Train `steps` steps and print the shares."""
    prepare_training()
    settings = config(steps)
    data, clock = read_data(settings), Clock()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    trainer = pl.Trainer(
        max_steps=steps, limit_val_batches=0, callbacks=[clock], precision=lightning_precision(settings), logger=False,
        devices=1, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(SegmentationTask(settings), datamodule=_Windows(data, settings))
    total = clock.inside + clock.between
    pixels = clock.steps * settings.batch * settings.window_px**2
    print(
        f"training on {trainer.strategy.root_device}, {settings.batch} × {settings.window_px}², {settings.workers} loader "
        f"processes: {clock.inside / total:.1%} of the time in forward, backward and optimizer; "
        f"{total / clock.steps:.3f} s a step, {pixels / 1e6 / total:.2f} MP/s over {clock.steps} steps"
    )


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 40)
