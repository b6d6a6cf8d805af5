"""One network learning: its start, loss, scores, optimizer and schedule."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from geoseg.contract import CONFIG_FILE, load_contract
from geoseg.errors import ModelError
from geoseg.nn.architectures import build
from geoseg.nn.data import Window
from geoseg.nn.data_sources import IGNORE, known_classes
from geoseg.nn.enlarge import forward_enlarged
from geoseg.nn.losses import WeightedLoss
from geoseg.nn.metrics import merged, scores
from geoseg.nn.modeldir import build_from_config, load_model, read_safetensors
from geoseg.nn.scaling import scale_pixels
from geoseg.train_config import Optimization, TrainConfig

_CUT = 64
"""Pixels cut off on each side of a window to see what its middle says alone: half the default overlap of tiles."""
_ENCODERS = ("encoder.", "net.backbone.")
"""What the names of an encoder's parameters begin with: smp's, and torchvision's in our FCN."""
_FADED = 48
"""Pixels along the new edge that blending hardly weighs (see geoseg.grid.taper)."""


class SegmentationTask(pl.LightningModule):  # type: ignore[misc]
    """One network, its loss and its scores."""

    def __init__(self, config: TrainConfig, *, start: bool = True) -> None:
        """Build the network; with `start`, from the weights that the settings name."""
        super().__init__()
        self.config = config
        self.model = (initial_model(config) if start else _build(config)).to(memory_format=torch.channels_last)
        if config.model.kernel_limit is not None:
            limit_kernels(self.model, config.model.kernel_limit)
        _keep_depthwise_float32(self.model)
        self.loss = WeightedLoss({str(k): w for k, w in config.loss.items()})
        # Not in checkpoints: they are settings, and a resumed run may have others.
        self.register_buffer("class_weights", _class_weights(config), persistent=False)
        self.known = [known_classes(source, config.legend) for source in config.sources]
        channels = config.legend.channels
        self.matrices: Any = nn.ModuleList(
            MulticlassConfusionMatrix(channels, ignore_index=IGNORE, validate_args=False) for _ in config.sources
        )
        self.losses: Any = nn.ModuleList(MeanMetric() for _ in config.sources)
        self.results: dict[str, Any] = {}
        self.train()

    def forward(self, pixels: Tensor, valid: Tensor, enlargement: float = 1.0) -> Tensor:
        """(N, C, H, W) pixels as they are in files, (N, H, W) where they count → logits (N, K, H, W)."""
        scaled = scale_pixels(pixels, valid, self.config.scaling)
        return forward_enlarged(self.model, scaled.contiguous(memory_format=torch.channels_last), enlargement)

    def training_step(self, batch: Window, _: int) -> Tensor:
        """The loss of a batch."""
        # Dropout of a step depends on nothing but its number, so a resumed training is the one that was killed.
        torch.manual_seed(hash((self.config.seed, self.global_step, self.global_rank)) % 2**63)
        logits = self(batch.image, batch.valid)
        loss = self._loss(logits, batch.label, batch.known, batch.source)
        if self.config.agreement:
            loss = loss + self.config.agreement * self._disagreement(batch, logits)
        self.log("loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def _loss(self, logits: Tensor, label: Tensor, known: Tensor, source: Tensor) -> Tensor:
        weights = None if self.class_weights is None else self.class_weights[source]
        loss: Tensor = self.loss(logits, label, known, weights)
        return loss

    def _disagreement(self, batch: Window, logits: Tensor) -> Tensor:
        """Symmetric Kullback–Leibler divergence (nats a pixel) of windows and their middles, where tiles are blended."""
        middle = (..., slice(_CUT, -_CUT), slice(_CUT, -_CUT))
        inner = (..., slice(_FADED, -_FADED), slice(_FADED, -_FADED))
        alone = functional.log_softmax(self(batch.image[middle], batch.valid[middle]).float()[inner], 1)
        within = functional.log_softmax(logits.float()[middle][inner], 1)
        return ((alone.exp() - within.exp()) * (alone - within)).sum(1).mean()

    def train(self, mode: bool = True) -> Self:
        """As PyTorch's, but statistics that the settings freeze stay as they are."""
        super().train(mode)
        if self.config.model.freeze_norm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def validation_step(self, batch: Window, _: int) -> None:
        """Count what was predicted, source by source."""
        logits = self._as_mapped(batch)
        predicted = merged(logits.argmax(1), batch.label, batch.known)
        for index in sorted(set(batch.source.tolist())):
            own = batch.source == index
            self.matrices[index].update(predicted[own], batch.label[own])
            # By pixels: windows at the edge of a scene hold few that others have not counted already.
            if count := int((batch.label[own] != IGNORE).sum()):
                loss = self._loss(logits[own], batch.label[own], batch.known[own], batch.source[own]).detach()
                self.losses[index].update(loss, weight=count)

    def _as_mapped(self, batch: Window) -> Tensor:
        """Float32 logits (N, K, H, W) of windows that the network is shown as large as when their scene is mapped."""
        count, *size = batch.label.shape
        logits = torch.empty((count, self.config.legend.channels, *size), device=batch.label.device)
        for factor in set(batch.enlargement.tolist()):
            alike = batch.enlargement == factor
            logits[alike] = self(batch.image[alike], batch.valid[alike], factor).float()
        return logits

    def on_validation_epoch_end(self) -> None:
        """Turn the counts into scores, log them, and start anew."""
        self.results = {}
        for source, matrix, known, mean in zip(
            self.config.sources, self.matrices, self.known, self.losses, strict=True
        ):
            # Of all processes; one of them may have seen nothing of a small source.
            counts = matrix.compute()
            matrix.reset()
            if float(counts.sum()) == 0:
                continue
            loss = round(float(mean.compute()), 4)
            mean.reset()
            self.results[source.name] = {"loss": loss} | scores(counts, self.config.legend.category_names, known)
        self.log("mean_iou", _mean([r["mean_iou"] for r in self.results.values()]), prog_bar=True)
        self.log("validation_loss", _mean([r["loss"] for r in self.results.values()]), prog_bar=True)
        self.log_dict(dict(_flat(self.results)))

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimizer and its schedule, a factor by step."""
        how = self.config.optimization
        optimizer = _optimizer(self.model, how)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, how=how, steps=self.config.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _class_weights(config: TrainConfig) -> Tensor | None:
    """Float32 (sources, K), or None where all weigh the same."""
    if config.class_weights is None and all(s.class_weights is None for s in config.sources):
        return None
    general = config.class_weights or (1.0,) * config.legend.channels
    return torch.tensor([s.class_weights or general for s in config.sources])


def initial_model(config: TrainConfig) -> nn.Module:
    """The network a training starts from: a model directory, an encoder's weights, or random ones."""
    if config.model.start_from is not None:
        _check_start(config, config.model.start_from)
        return load_model(config.model.start_from).train()
    model = _build(config)
    if config.model.encoder_weights is not None:
        load_encoder(model, config.model.encoder_weights)
    return model


def load_encoder(model: nn.Module, path: Path) -> None:
    """Fill a `tu-` encoder from a safetensors file under timm's names; the classifier's weights are left out.

    Raises ModelError where the network has no encoder of its own, or the file does not hold every weight of it.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file of encoder weights.")
    encoder: Any = getattr(model, "encoder", None)
    if encoder is None:
        raise ModelError(f"{path}: {type(model).__name__} has no encoder to fill. Leave `encoder_weights` out.")
    wanted = encoder.state_dict()
    tensors = {f"model.{name}": tensor for name, tensor in read_safetensors(path).items()}
    if missing := [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]:
        raise ModelError(f"{path}: not the weights of this encoder: {len(missing)} are missing, such as {missing[0]}.")
    if other := [n for n in wanted if n in tensors and tensors[n].shape != wanted[n].shape]:
        is_, needed = (tuple(t[other[0]].shape) for t in (tensors, wanted))
        raise ModelError(f"{path}: not the weights of this encoder: {other[0]} is {is_}, but {needed} is needed.")
    encoder.load_state_dict({name: t for name, t in tensors.items() if name in wanted}, strict=False)


def limit_kernels(model: nn.Module, limit: int) -> None:
    """Set the weights of depthwise kernels that lie outside their middle `limit` × `limit` to zero, and keep them so."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and max(module.kernel_size) > limit:
            rows, cols = (_middle(size, limit) for size in module.kernel_size)
            inner = (rows[:, None] & cols[None, :]).to(module.weight.dtype)
            with torch.no_grad():
                module.weight.mul_(inner)
            module.weight.register_hook(partial(_masked, inner))  # type: ignore[no-untyped-call]


def _masked(inner: Tensor, gradient: Tensor) -> Tensor:
    """The model may be elsewhere by now, and in another precision."""
    return gradient * inner.to(gradient)


def _middle(size: int, limit: int) -> Tensor:
    """Bool (size,): the middle `limit` places, or one more where they cannot be even on both sides."""
    return (torch.arange(size) - (size - 1) / 2).abs() <= limit / 2


def _check_start(config: TrainConfig, model_dir: Path) -> None:
    contract = load_contract(model_dir)
    for what, theirs, ours in (
        ("classes", contract.legend.category_names, config.legend.category_names),
        ("bands", [*contract.bands], [*config.bands]),
    ):
        if theirs != ours:
            raise ModelError(f"{model_dir}: its {what} are {theirs}, but the settings say {ours}; make them the same.")


def _build(config: TrainConfig) -> nn.Module:
    m = config.model
    if m.start_from is not None:
        return build_from_config(m.start_from / CONFIG_FILE)
    settings = {"encoder_name": m.encoder, "in_channels": len(config.bands), "classes": config.legend.channels}
    return build(m.architecture, settings | m.settings)


def _optimizer(model: nn.Module, how: Optimization) -> torch.optim.Optimizer:
    encoder = [p for name, p in model.named_parameters() if name.startswith(_ENCODERS)]
    others = [p for name, p in model.named_parameters() if not name.startswith(_ENCODERS)]
    groups: list[dict[str, Any]] = [
        {"params": others},
        {"params": encoder, "lr": how.learning_rate * how.encoder_factor},
    ]
    groups = [g for g in groups if g["params"]]
    if how.optimizer == "sgd":
        return torch.optim.SGD(groups, how.learning_rate, momentum=0.9, nesterov=True, weight_decay=how.weight_decay)
    kind = torch.optim.Adam if how.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, how.learning_rate, weight_decay=how.weight_decay)


def _rate(step: int, how: Optimization, steps: int) -> float:
    """Factor of the learning rate at a step: a linear rise, then as the schedule says."""
    if step < how.warmup_steps:
        return (step + 1) / how.warmup_steps
    done = min(1.0, (step - how.warmup_steps) / max(1, steps - how.warmup_steps))
    match how.schedule:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "poly":
            return float((1 - done) ** 0.9)
        case _:
            return 1.0


def _keep_depthwise_float32(model: nn.Module) -> None:
    """On CPUs the backward pass of a depthwise convolution takes 4–6 times as long in bfloat16 as in float32."""
    if torch.cuda.is_available():
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            # A partial and no closure: copies of the model then call their own weights.
            module.forward = partial(_in_float32, module)  # type: ignore[method-assign]


def _in_float32(conv: nn.Conv2d, x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return type(conv).forward(conv, x.float())


def _flat(results: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for source, result in results.items():
        yield f"{source}/accuracy", result["accuracy"]
        for name, values in result["classes"].items():
            yield f"{source}/{name}", values["iou"]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
