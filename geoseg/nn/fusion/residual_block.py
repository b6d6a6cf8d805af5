"""The blocks of ResNets, with the sum and the activation at their end in the last convolution."""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from geoseg.nn.fusion.onednn import activate, can_take


def join_residuals(model: nn.Module) -> int:
    """Change torchvision's residual blocks in evaluation mode, in place; returns how many.

    Left as they are: blocks whose normalizations are not in their convolutions (`geoseg.nn.fusion.norms`).
    """
    places = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()]
    blocks = {child: JoinedBlock(child) for *_, child in places if _can_join(child)}
    for parent, name, child in places:
        if child in blocks:
            setattr(parent, name, blocks[child])
    return len(blocks)


class JoinedBlock(nn.Module):
    """A `BasicBlock` or `Bottleneck` of torchvision."""

    def __init__(self, block: nn.Module) -> None:
        """Take over the convolutions of `block`."""
        super().__init__()
        self.convs = nn.ModuleList(_convolutions(block))
        for conv in self.convs:
            activate(conv, block.relu)  # type: ignore[arg-type]
        self.downsample = block.downsample

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → features of the block."""
        out = x
        for conv in self.convs[:-1]:
            out = conv(out)
        return self.convs[-1](out, x if self.downsample is None else self.downsample(x))  # type: ignore[no-any-return,operator]


def _convolutions(block: nn.Module) -> list[nn.Conv2d]:
    return [child for name, child in block.named_children() if name.startswith("conv")]  # type: ignore[misc]


def _can_join(block: nn.Module) -> bool:
    return (
        type(block) in (BasicBlock, Bottleneck)
        and all(isinstance(child, nn.Identity) for name, child in block.named_children() if name.startswith("bn"))
        and all(map(can_take, _convolutions(block)))
        and type(block.relu) is nn.ReLU
    )
