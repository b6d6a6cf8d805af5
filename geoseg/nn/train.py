"""Training: data to model directory. The routine of it (checkpoints, precision, devices, logs) is Lightning's."""

import copy
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils.data import DataLoader

from geoseg.card import write_card
from geoseg.contract import Source as SourceRecord
from geoseg.errors import ModelError
from geoseg.files import atomic, check_folder, write_json
from geoseg.nn.data import GridWindows, RandomWindows, TrainingData, Window, read_data
from geoseg.nn.data_sources import labelled
from geoseg.nn.device import choose_device, choose_precision, keep_freed_memory
from geoseg.nn.modeldir import load_plain, save_model
from geoseg.nn.resume import BEST, START, checkpoint_to_go_on_from, mark_over
from geoseg.nn.task import SegmentationTask
from geoseg.nn.train_progress import quiet_lightning, training_progress
from geoseg.nn.train_report import example_windows, write_curves, write_examples
from geoseg.train_config import TrainConfig

_CURVES = "curves"


def train(config: TrainConfig, *, resume: bool = True) -> Path:
    """Train as `config` says and write the model directory; returns its path.

    The run's folder keeps the last and the best checkpoint, curves as CSV and, at the end, the scores by source. A
    killed run goes on from its last checkpoint if `resume`; one that was over is repeated where anything has changed.

    Raises, before the first epoch, ConfigError where a file is in the place of a folder, and TrainingError where the data
    cannot be trained on, or are not those of the killed run.
    """
    prepare_training()
    quiet_lightning()
    check_folder(config.output, "output")
    check_folder(config.run_dir, "run_dir")
    if config.threads:
        torch.set_num_threads(config.threads)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    task = SegmentationTask(config)  # what is wrong with it is said before what another training left is removed
    _check_step(task, config)
    data = read_data(config)
    resumed = checkpoint_to_go_on_from(config, data, resume=resume)
    if resumed is None and config.model.start_from is not None:
        write_json(config.run_dir / START, validate(SegmentationTask(config), data, config))
    _keep_curves(config.run_dir / _CURVES, resumed)
    trainer = _trainer(config)
    with _interruptible(trainer):
        trainer.fit(task, datamodule=_Windows(data, config), ckpt_path=resumed, weights_only=True)
    _alone(trainer)
    _bring_back_curves(config.run_dir / _CURVES)
    model_dir = export(config, config.run_dir / BEST, data)
    mark_over(config)
    return model_dir


def _check_step(task: SegmentationTask, config: TrainConfig) -> None:
    """Raise ModelError where the network cannot be trained on batches of this shape.

    Some pool a window to one pixel, and normalize over the batch what is left.
    """
    side, network = config.window_px, copy.deepcopy(task).train().model
    try:
        with torch.no_grad():
            network(torch.zeros(min(config.batch, 2), len(config.bands), side, side))  # two are as good as many
    except (RuntimeError, ValueError) as exc:
        raise ModelError(
            f"{config.name}: the network takes no batch of {config.batch} windows of {side} px ({str(exc).splitlines()[0]}). "
            "Set a larger window_px, or a batch of 2 or more."
        ) from exc


def _alone(trainer: pl.Trainer) -> None:
    """Go on in the first process of a training on several devices; the others end here."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if trainer.global_rank:
        raise SystemExit(0)


def prepare_training() -> None:
    """Make the process ready to fork loaders, and let it keep memory between steps."""
    # A lock held by a thread of OpenCV's pool would stay locked in forked processes for ever.
    cv2.setNumThreads(0)
    keep_freed_memory()


def export(config: TrainConfig, checkpoint: Path, data: TrainingData) -> Path:
    """Write the model directory of a checkpoint, with its scores on the validation scenes; returns its path."""
    task = SegmentationTask(config, start=False)
    state = load_plain(checkpoint)
    task.load_state_dict(state["state_dict"])
    results = validate(task, data, config)
    contract = config.contract("training", sources=tuple(_source_records(data, config)), metrics=results)
    write_card(save_model(task.model, config.output, contract), config.output, config.limits)
    _report(task, data, config)
    return config.output


def _report(task: "SegmentationTask", data: TrainingData, config: TrainConfig) -> None:
    write_json(config.run_dir / "metrics.json", task.results)
    windows = example_windows(GridWindows(data.validation, config))
    write_examples(task, windows, config.legend, config.run_dir / "examples.png")
    if tables := sorted((config.run_dir / _CURVES).glob("*.csv")):
        write_curves(tables, config.run_dir / "curves.png")


def _keep_curves(folder: Path, resumed: Path | None) -> None:
    """Set the curves of the run that is resumed aside: Lightning's logger would delete them."""
    if resumed is None:
        for old in folder.glob("*.csv"):
            old.unlink()
    elif (folder / "metrics.csv").is_file():
        (folder / "metrics.csv").rename(folder / f"before-{len([*folder.glob('*.csv')]):03d}.csv")


def _bring_back_curves(folder: Path) -> None:
    """Where no step was left to do, the curves that were set aside are the last ones again."""
    aside = sorted(folder.glob("before-*.csv"))
    if aside and not (folder / "metrics.csv").is_file():
        aside[-1].rename(folder / "metrics.csv")


def validate(task: "SegmentationTask", data: TrainingData, config: TrainConfig) -> dict[str, Any]:
    """Loss and scores by source on the validation scenes."""
    trainer = pl.Trainer(
        accelerator="auto", devices=1, logger=False, enable_checkpointing=False, enable_model_summary=False,
        enable_progress_bar=False, precision=lightning_precision(config),
    )  # fmt: skip
    with _interruptible(trainer):
        trainer.validate(task, datamodule=_Windows(data, config), verbose=False)
    return task.results


@contextmanager
def _interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Let Ctrl-C be what it is elsewhere: Lightning makes an exit with code 1 of it, and is deaf to the next."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


class _Windows(pl.LightningDataModule):  # type: ignore[misc]
    """Loaders of windows; a new stretch of the endless sequence each epoch, so that a resumed run sees what it would have."""

    def __init__(self, data: TrainingData, config: TrainConfig) -> None:
        super().__init__()
        self._data, self._config = data, config

    def train_dataloader(self) -> DataLoader[Window]:
        c = self._config
        count = c.steps_per_epoch * c.batch * (self.trainer.world_size if self.trainer else 1)
        epoch = self.trainer.current_epoch if self.trainer else 0
        windows = RandomWindows(self._data.training, c, epoch * count, count)
        return DataLoader(
            windows,
            c.batch,
            num_workers=c.workers,
            drop_last=True,
            worker_init_fn=_one_thread,
            prefetch_factor=4 if c.workers else None,
            multiprocessing_context=_forked(c.workers),
        )

    def val_dataloader(self) -> DataLoader[Window]:
        windows, workers = GridWindows(self._data.validation, self._config), min(1, self._config.workers)
        return DataLoader(
            windows,
            self._config.batch,
            num_workers=workers,
            worker_init_fn=_one_thread,
            multiprocessing_context=_forked(workers),
        )


def _trainer(config: TrainConfig) -> pl.Trainer:
    callbacks = list(_callbacks(config))
    return pl.Trainer(
        default_root_dir=config.run_dir,
        accelerator="auto",
        devices=config.devices,
        precision=lightning_precision(config),
        max_steps=config.steps,
        gradient_clip_val=config.optimization.clip_norm or None,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        log_every_n_steps=min(10, config.steps_per_epoch),
        enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
        logger=CSVLogger(config.run_dir, name="", version=_CURVES),
        callbacks=callbacks,
        plugins=[_Checkpoints()],
        enable_model_summary=False,
    )


def _callbacks(config: TrainConfig) -> Iterator[Callback]:
    yield training_progress()
    if config.optimization.ema_decay:
        yield EMAWeightAveraging(decay=config.optimization.ema_decay)
    folder = config.run_dir
    # After each test, and this one first: the last one then knows how good the best is, and a resumed run too.
    at: dict[str, Any] = {"save_on_train_epoch_end": False, "enable_version_counter": False}
    yield ModelCheckpoint(folder, "best", monitor="mean_iou", mode="max", **at)
    # Not save_last of the one above: that is written only when the best is.
    yield ModelCheckpoint(folder, "last", **at)
    if config.patience:
        yield _Patience("mean_iou", mode="max", patience=config.patience, check_on_train_epoch_end=False)


class _Patience(EarlyStopping):  # type: ignore[misc]
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As Lightning's, but as patient as the settings say now."""
        super().load_state_dict({**state_dict, "patience": self.patience})


class _Checkpoints(TorchCheckpointIO):  # type: ignore[misc]
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Whole or not at all, wherever the temporary files of the system lie."""
        with atomic(Path(path)) as tmp:
            torch.save(checkpoint, tmp)


def lightning_precision(config: TrainConfig) -> Any:
    """What Lightning calls the precision of a training."""
    wanted = {"auto": "auto", "bf16": "bfloat16", "32": "float32"}[config.precision]
    return "bf16-mixed" if choose_precision(wanted, choose_device("auto")) == "bfloat16" else "32-true"


def _forked(workers: int) -> str | None:
    """How loaders are started: forked, where they can be, they share the scenes; else each has them all again."""
    return "fork" if workers and sys.platform == "linux" else None


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _source_records(data: TrainingData, config: TrainConfig) -> Iterator[SourceRecord]:
    for source in config.sources:
        own = [s for s in data.training if s.source == source.name]
        pixels = sum(int(labelled(s.label).sum()) for s in own)
        if pixels:
            yield SourceRecord(name=source.name, licence=source.licence, pixels=pixels)
