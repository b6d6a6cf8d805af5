"""Weights that were trained elsewhere become a model directory. Nothing in them is run."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geoseg.card import write_card
from geoseg.contract import CONFIG_FILE, WEIGHTS_FILE
from geoseg.errors import ConfigError, ModelError
from geoseg.import_settings import ImportSettings
from geoseg.nn.architectures import build
from geoseg.nn.modeldir import build_from_config, fill, load_plain, read_safetensors, save_model

_PROBE_PX = 256
"""Side of the window that a network is tried on: PAN pools it down to one pixel."""


def import_model(source: Path, directory: Path, settings: ImportSettings) -> Path:
    """Write a model directory of `source`, a folder that smp saved or a file with a state_dict; returns `directory`.

    Raises:
        ModelError: the weights are missing, not plain tensors, or do not fit the network.
        ConfigError: the settings do not say which network, or contradict it; `directory` holds a model already.

    """
    if (directory / WEIGHTS_FILE).exists():
        raise ConfigError(f"{directory}: holds a model already. Choose another directory, or remove this one.")
    weights = _weights_file(source)
    contract = settings.contract(str(source))
    model = _network(weights, settings, len(contract.bands), contract.legend.channels)
    fill(model, _tensors(weights, settings), weights)
    _check_shape(model, len(contract.bands), contract.legend.channels)
    written = save_model(model, directory, contract, half=False)
    write_card(written, directory, settings.limits)
    return directory


def read_tensors(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a PyTorch file by `weights_only`: what would run code is refused.

    Args:
        path: the file.
        key: entry of a PyTorch file that holds the tensors.

    Raises ModelError for anything but a mapping of names to tensors.

    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    value = load_plain(path)
    if key is not None:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not value or not all(isinstance(v, Tensor) for v in value.values()):
        found = f"its entries are {', '.join(map(str, list(value)[:8]))}" if isinstance(value, dict) else "it has none"
        raise ModelError(f"{path}: no names and tensors{f' under {key!r}' if key else ''}; {found}. Say `key`.")
    return value


def _weights_file(source: Path) -> Path:
    if source.is_file():
        return source
    if (source / WEIGHTS_FILE).is_file():
        return source / WEIGHTS_FILE
    # What huggingface_hub wrote before safetensors.
    if (source / "pytorch_model.bin").is_file():
        return source / "pytorch_model.bin"
    what = f"no {WEIGHTS_FILE} or pytorch_model.bin in this folder" if source.is_dir() else "no such file or folder"
    raise ModelError(f"{source}: {what}; name a folder that smp's save_pretrained wrote, or a file with a state_dict.")


def _network(weights: Path, settings: ImportSettings, bands: int, channels: int) -> nn.Module:
    config = weights.parent / CONFIG_FILE
    if settings.architecture is None:
        if not config.is_file():
            raise ConfigError(
                f"{weights}: no {CONFIG_FILE} beside it, so the settings must name `architecture` and `encoder`."
            )
        return build_from_config(config)
    named = {"encoder_name": settings.encoder} if settings.encoder else {}
    return build(settings.architecture, {"in_channels": bands, "classes": channels} | named | settings.settings)


def _tensors(weights: Path, settings: ImportSettings) -> dict[str, Tensor]:
    tensors = read_tensors(weights, settings.key)
    own = {name.removeprefix(settings.prefix): t for name, t in tensors.items() if name.startswith(settings.prefix)}
    if not own:
        raise ModelError(
            f"{weights}: no name begins with `prefix` '{settings.prefix}'; the first is {next(iter(tensors))}."
        )
    return own


def _check_shape(model: nn.Module, bands: int, channels: int) -> None:
    """Raise ConfigError unless the network takes the bands and gives the classes that the settings say."""
    config: Any = model.config
    if (got := int(config.get("in_channels", 3))) != bands:
        raise ConfigError(f"`bands` names {bands}, but the network takes {got} channels.")
    with torch.inference_mode():
        found = model.eval()(torch.zeros(1, bands, _PROBE_PX, _PROBE_PX)).shape
    if tuple(found) != (1, channels, _PROBE_PX, _PROBE_PX):
        raise ConfigError(
            f"the network gives {found[1]} channels of {found[2]} × {found[3]} for {_PROBE_PX} × {_PROBE_PX} pixels, but "
            f"`classes` with the background are {channels}, and logits must be as large as the image."
        )
