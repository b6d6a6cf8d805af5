"""A model as ONNX, for programs that do not run PyTorch; its agreement is checked before the file appears."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from geoseg.contract import Contract, Scaling, load_contract
from geoseg.errors import ModelError
from geoseg.files import atomic
from geoseg.nn.modeldir import load_model
from geoseg.nn.scaling import scale_pixels

OPSET = 18
_PROBES = ((1, 128, 128), (2, 160, 224))
"""Batch, height and width of the windows that are compared; other than those the graph is traced with."""
_TRACED = (2, 192, 160)
_TOLERANCE = 1e-3
"""Largest difference of a logit, relative to the range of the logits."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the ONNX graph agrees with PyTorch, over all windows compared."""

    largest: float
    """Largest absolute difference of a logit."""
    span: float
    """Range of PyTorch's logits."""


def export_onnx(model_dir: Path, target: Path) -> Agreement:
    """Write the model of `model_dir` as ONNX: pixels (N, C, H, W) float32 as in the scene → logits (N, K, H, W).

    Scaling is part of the graph; N, H and W are free, H and W multiples of the contract's stride. The contract lies in
    the file's metadata under `geoseg_contract`.

    Raises ModelError where the network cannot be exported, or where ONNX Runtime's logits are not PyTorch's.
    """
    contract = load_contract(model_dir)
    network = _FromPixels(load_model(model_dir), contract.scaling).eval()
    with atomic(target) as tmp:
        _write(network, contract, tmp)
        return _compare(network, contract, tmp)


class _FromPixels(nn.Module):
    """A network behind its scaling."""

    def __init__(self, network: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self._network = network
        self._scaling = scaling

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) pixel values → logits (N, K, H, W)."""
        logits: Tensor = self._network(scale_pixels(pixels, None, self._scaling))
        return logits


def _write(network: nn.Module, contract: Contract, path: Path) -> None:
    free = {0: "batch", 2: "height", 3: "width"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the scaling becomes a constant, which is meant
            # The tracer and not the dynamo: it keeps height and width free in every architecture of smp.
            torch.onnx.export(
                network,
                (_pixels(contract, _TRACED),),
                path,
                input_names=["pixels"],
                output_names=["logits"],
                dynamic_axes={"pixels": free, "logits": free},
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as exc:
        raise ModelError(f"{contract.name}: cannot be written as ONNX: {' '.join(str(exc).split())[:300]}") from exc
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {"geoseg_contract": contract.to_json()})
    onnx.save(graph, path)


def _compare(network: nn.Module, contract: Contract, path: Path) -> Agreement:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    largest, low, high = 0.0, np.inf, -np.inf
    for shape in _PROBES:
        pixels = _pixels(contract, shape)
        with torch.inference_mode():
            wanted = network(pixels).numpy()
        (found,) = session.run(None, {"pixels": pixels.numpy()})
        if found.shape != wanted.shape:
            raise ModelError(f"{contract.name}: ONNX gives logits of shape {found.shape}, but PyTorch {wanted.shape}.")
        largest = max(largest, float(np.abs(found - wanted).max()))
        low, high = min(low, float(wanted.min())), max(high, float(wanted.max()))
    if not largest <= _TOLERANCE * max(high - low, 1e-6):
        raise ModelError(
            f"{contract.name}: logits of ONNX Runtime differ by up to {largest:.3g} from PyTorch's (range "
            f"{high - low:.3g}), but at most {_TOLERANCE:g} of the range is accepted. Nothing was written."
        )
    return Agreement(largest, high - low)


def _pixels(contract: Contract, shape: tuple[int, int, int]) -> Tensor:
    """Noise over the range of values that the scaling expects."""
    low, high = contract.scaling.clip or (0.0, contract.scaling.divide)
    batch, height, width = shape
    noise = torch.rand((batch, len(contract.bands), height, width), generator=torch.Generator().manual_seed(0))
    return low + (high - low) * noise
