"""Read and write model directories. Weights are safetensors and nothing else: loading them cannot run code."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from geoseg.contract import CONFIG_FILE, WEIGHTS_FILE, Contract, load_contract
from geoseg.errors import ModelError
from geoseg.files import atomic, sha256_file
from geoseg.nn.architectures import build

_ARCHITECTURE_KEY = "_model_class"


def load_model(model_dir: Path) -> nn.Module:
    """The model of `model_dir` in float32 and in evaluation mode, on the CPU.

    The weights must be those the contract names (SHA-256) and fit the network exactly.
    Raises ModelError for anything else, pickles included: they are not opened.
    """
    contract = load_contract(model_dir)
    path = model_dir / WEIGHTS_FILE
    if (found := sha256_file(path)) != contract.weights_sha256:
        raise ModelError(
            f"{path}: SHA-256 is {found[:12]}…, but the contract names {contract.weights_sha256[:12]}…; "
            "the weights were changed or damaged. Copy the model directory again."
        )
    model = build_from_config(model_dir / CONFIG_FILE)
    fill(model, read_safetensors(path), path)
    return model.eval()


def save_model(model: nn.Module, model_dir: Path, contract: Contract, *, half: bool = True) -> Contract:
    """Write `config.json`, `model.safetensors` and `contract.json`; the contract goes last, so a torn one is seen.

    Args:
        model: built by `geoseg.nn.architectures.build`, which keeps its settings in `model.config`.
        model_dir: made if absent; files of the same names are replaced.
        contract: its digests are filled in.
        half: store convolution and linear weights as float16 (normalisation layers stay float32).

    Returns the contract as written.

    """
    model_dir.mkdir(parents=True, exist_ok=True)
    config = {_ARCHITECTURE_KEY: type(model).__name__, **dict(_settings(model))}
    with atomic(model_dir / CONFIG_FILE) as tmp:
        tmp.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tensors = {name: _stored(tensor, half) for name, tensor in model.state_dict().items()}
    with atomic(model_dir / WEIGHTS_FILE) as tmp:
        tmp.write_bytes(save(tensors, metadata={"format": "pt"}))
    contract.model_copy(update={"weights_sha256": sha256_file(model_dir / WEIGHTS_FILE)}).write(model_dir)
    return load_contract(model_dir)


def build_from_config(path: Path) -> nn.Module:
    """The network that a `config.json` describes, with random weights."""
    try:
        config = json.loads(path.read_bytes())
    except ValueError as exc:
        raise ModelError(f"{path}: not JSON: {exc}.") from None
    if not isinstance(config, dict) or not isinstance(config.get(_ARCHITECTURE_KEY), str):
        raise ModelError(f"{path}: no '{_ARCHITECTURE_KEY}'; write the model with smp's save_pretrained or geoseg.")
    return build(config[_ARCHITECTURE_KEY], config)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; raises ModelError for anything else."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as exc:
        raise ModelError(
            f"{path}: not a safetensors file ({exc}). Pickled weights can run code and are refused."
        ) from None
    return tensors


def load_plain(path: Path) -> Any:
    """The tensors and plain values in a PyTorch file; raises ModelError for what would run code when loaded."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # noqa: BLE001 - hostile bytes can raise anything, and nothing of it is to pass
        raise ModelError(
            f"{path}: not plain weights, which are all that is loaded (weights_only): "
            f"{' '.join(str(exc).split())[:160]} … Files that could run code are refused."
        ) from None


def fill(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load the tensors of `path` into `model`, strictly, in the model's own dtype; raises ModelError."""
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as exc:
        raise ModelError(
            f"{path}: the weights do not fit the network's settings: {' '.join(str(exc).split())[:300]}"
        ) from None


def _settings(model: nn.Module) -> dict[str, Any]:
    settings = getattr(model, "config", None)
    if settings is None:
        raise ModelError(f"{type(model).__name__} keeps no settings: build it with geoseg.nn.architectures.build.")
    return dict(settings)


def _stored(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    # Only matrices and kernels: running variances of batch norm can leave the range of float16.
    if half and tensor.ndim >= 2 and tensor.is_floating_point():
        return tensor.to(torch.float16)
    return tensor
