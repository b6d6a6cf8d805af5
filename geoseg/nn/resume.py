"""Whether a training goes on from its checkpoint, or begins anew: a record beside it says what it was of."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.contract import load_contract
from geoseg.errors import TrainingError
from geoseg.files import read_json, sha256_file, sha256_json, write_json
from geoseg.nn.data import TrainingData
from geoseg.nn.modeldir import load_plain
from geoseg.nn.say import say
from geoseg.train_config import TrainConfig

LAST = "last.ckpt"
BEST = "best.ckpt"
START = "start.json"
"""The scores of the model that a training started from."""
_RECORD = "training.json"
_NOT_OF_THE_TRAINING = {
    "name", "version", "description", "licence", "limits", "output", "run_dir", "steps", "patience",
    "workers", "threads", "devices", "precision",
}  # fmt: skip
"""Settings that leave what is trained as it is, or say how long."""


def checkpoint_to_go_on_from(config: TrainConfig, data: TrainingData, *, resume: bool) -> Path | None:
    """The last checkpoint of this training; None where it begins anew, and what another one left is removed.

    A training that was over begins anew where its data or settings have changed since, as they do when maps are
    corrected again and again. One that was interrupted goes on, with other settings too, but not on other data, nor with
    another network or optimization: the checkpoint holds those.

    Raises TrainingError for such an interrupted training, and for a checkpoint that could run code.
    """
    last = config.run_dir / LAST
    before = read_json(config.run_dir / _RECORD) or {}
    now = {
        "data": _digest_of(data),
        "settings": _digest_of_settings(config),
        "network": _digest_of_settings(config, {"model": True, "optimization": True, "bands": True, "classes": True}),
    }
    goes_on = resume and last.is_file()
    if goes_on and before.get("over"):
        goes_on = all(before.get(key) == now[key] for key in ("data", "settings"))
    elif goes_on:
        _check_the_same(last, before, now)
    if goes_on:
        # Before Lightning does, whose own message of a file that could run code is no line for a user.
        if load_plain(last).get("global_step", 0) >= config.steps:
            say(
                f"{config.run_dir}: its {config.steps} steps are done, with these settings and data; raise `steps` to go on"
            )
    else:
        if last.is_file():
            say(
                f"{config.run_dir}: training anew: data or settings are not those of before"
                if resume
                else f"{config.run_dir}: training anew"
            )
        if config.output.exists():
            say(f"{config.output}: will be replaced at the end")
        for name in (LAST, BEST, START):
            (config.run_dir / name).unlink(missing_ok=True)
    write_json(config.run_dir / _RECORD, {**now, "over": False})
    return last if goes_on else None


def _check_the_same(last: Path, before: dict[str, str], now: dict[str, str]) -> None:
    """Raise TrainingError where an interrupted training cannot go on."""
    of_what = {
        "data": "on other data (images, labels or their split)",
        "network": "with another `model`, `optimization`, `bands` or `classes`",
    }
    for key, words in of_what.items():
        if before.get(key, now[key]) != now[key]:
            raise TrainingError(
                f"{last}: is of a training {words} that was interrupted. Give back what it had, name another `run_dir`, or "
                "begin anew with --fresh."
            )


def mark_over(config: TrainConfig) -> None:
    """The training is over: the next one goes on from it only if nothing but its length has changed."""
    record = config.run_dir / _RECORD
    write_json(record, {**read_json(record), "over": True})


def _digest_of(data: TrainingData) -> str:
    """Of all pixels and labels, and of what side of the split they are on; paths and times do not count."""
    digest = hashlib.sha256()
    for scene in (*data.training, *data.validation):
        digest.update(repr((scene.source, scene.validation, scene.known, scene.pixel_size_m)).encode())
        for pixels in (scene.image, scene.label):
            digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _digest_of_settings(config: TrainConfig, only: dict[str, bool] | None = None) -> str:
    left_out: dict[str, Any] = dict.fromkeys(_NOT_OF_THE_TRAINING, True)
    left_out |= {"sources": {"__all__": {"root"}}, "model": {"start_from", "encoder_weights"}}
    # Without defaults: a key that a later version brings changes nothing.
    values = config.model_dump(mode="json", exclude=left_out, include=only, exclude_defaults=True)
    model = config.model
    start = load_contract(model.start_from).weights_sha256 if model.start_from else None
    encoder = sha256_file(model.encoder_weights) if model.encoder_weights else None
    return sha256_json({**values, "start": start, "encoder": encoder})
