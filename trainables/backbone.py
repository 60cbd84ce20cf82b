"""Backbones: networks of torchvision and timm without classifier, so that weights load anywhere.

`group_batch_norm` computes BatchNorm
statistics over fixed parts of the global batch (BatchNorm groups), whatever the number of ranks:
one rank with four BatchNorm groups and four ranks with one each compute the same.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainables import networks
from trainables.errors import UserError
from trainables.spec import Training
from trainables.training import distributed

WEIGHTS = "backbone.safetensors"  # in the folder of every stage that has a backbone


class Backbone(nn.Module):
    """A network whose forward returns pooled features; `maps` returns the last feature maps.

    net: the network, whose state dict has torchvision's or timm's names. width: of the features.
    map_width: channels of the maps; the same but for networks with layers after pooling, as
    MobileNetV3. stride: pixels of the input a cell of the maps.
    """

    def __init__(self, name: str, channels: int = 3) -> None:
        super().__init__()
        self.net = networks.built(name, channels)
        self.width, self.map_width, self.stride, *_ = networks.facts(name)
        self.frozen: tuple[str, ...] = ()  # BatchNorms that stay in evaluation mode

    def maps(self, x: Tensor) -> Tensor:
        """Return feature maps: [n, channels, h, w] -> [n, map_width, h / stride, w / stride]."""
        return networks.maps(self.net, x)

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features: [n, channels, h, w] -> [n, width]."""
        return self.net(x)

    def blocks(self, coarse: bool = True) -> list[list[nn.Parameter]]:
        """Return the parameters of each block, the stem first; see `networks.blocks`."""
        return networks.blocks(self.net, coarse)

    def train_last(self, count: int) -> None:
        """Freeze all but the last blocks: no gradients, and no new statistics of BatchNorm."""
        found = self.blocks()
        if count > len(found):
            raise UserError(
                f"trainable=last_blocks={count}: must be at most {len(found)}, the blocks of "
                f"profile.backbone with its stem; try last_blocks={len(found) - 1}"
            )
        for parameter in (p for block in found[: len(found) - count] for p in block):
            parameter.requires_grad_(False)
        self.frozen = tuple(
            name for name, one in self.net.named_modules()
            if isinstance(one, nn.modules.batchnorm._BatchNorm)
            and not any(p.requires_grad for p in one.parameters())
        )  # fmt: skip

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self.frozen:
            self.net.get_submodule(name).eval()
        return self


def trained_backbone(training: Training, channels: int, folder: Path | None) -> Backbone:
    """Return the backbone that a stage trains: with the weights in `folder`, frozen as it says."""
    backbone = load_backbone(Backbone(training.backbone, channels), folder)
    if training.trainable != "all":
        backbone.train_last(blocks_of(training.trainable))
    return backbone


def blocks_of(trainable: str) -> int:
    """Return the N of `last_blocks=N`; UserError for another text."""
    if not (found := re.fullmatch(r"last_blocks=([1-9]\d*)", trainable)):
        raise UserError(f"trainable={trainable}: must be all or last_blocks=N; try last_blocks=1")
    return int(found[1])


def load_backbone(backbone: Backbone, folder: Path | None) -> Backbone:
    """Load weights and BatchNorm statistics of the stage in `folder`; None changes nothing."""
    if folder is not None:
        backbone.net.load_state_dict(load_file(folder / WEIGHTS))
    return backbone


def save_backbone(backbone: Backbone, folder: Path) -> None:
    save(backbone.net, folder / WEIGHTS)


def save(module: nn.Module, path: Path) -> None:
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    save_file(state, path)


class GroupedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over `groups` equal, contiguous parts of the local batch.

    Running statistics take the mean over the parts. That is linear, so their mean over ranks equals
    the statistics of one rank that holds all parts.
    """

    groups = 1

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.dim() in (2, 4), input.shape

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.track_running_stats:
            return super().forward(input)
        momentum = 0.1 if self.momentum is None else self.momentum
        outs, means, variances = [], [], []
        for part in input.chunk(self.groups):
            out, mean, inverse_std = torch.native_batch_norm(
                part, self.weight, self.bias, None, None, True, momentum, self.eps
            )
            n = part.numel() / part.shape[1]
            outs.append(out)
            means.append(mean)
            variances.append((inverse_std.pow(-2) - self.eps) * (n / max(n - 1, 1)))
        with torch.no_grad():
            self.running_mean.lerp_(torch.stack(means).mean(0), momentum)  # type: ignore[union-attr]
            self.running_var.lerp_(torch.stack(variances).mean(0), momentum)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        return torch.cat(outs) if len(outs) > 1 else outs[0]


class GroupedBatchNormAct(GroupedBatchNorm):
    """The same for timm's BatchNorm that is followed by dropout and an activation."""

    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.get_submodule("drop")(super().forward(input)))


def group_batch_norm(module: nn.Module, groups: int) -> None:
    """Replace every BatchNorm in place; groups: how many BatchNorm groups this rank holds."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            acts = hasattr(child, "act")  # timm's BatchNormAct2d, without importing timm
            child.__class__ = GroupedBatchNormAct if acts else GroupedBatchNorm
            child.groups = groups  # type: ignore[assignment]


@torch.no_grad()
def fit_statistics(
    module: nn.Module, encode: Callable[[Tensor], Any], batches: Iterable[Tensor]
) -> None:
    """Refit the running statistics of BatchNorm as the plain mean over `batches` and ranks.

    A parent stage may have trained on patches or small crops, whose statistics do not fit full
    views. encode: runs `module` on one batch.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta, was = [norm.momentum for norm in norms], module.training
    module.train()
    for number, batch in enumerate(batches):
        for norm in norms:
            norm.momentum = 1 / (1 + number)
        encode(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    average_statistics(module)
    module.train(was)


@torch.no_grad()
def average_statistics(module: nn.Module) -> None:
    """Average the running statistics over ranks in place; valid at any step, updates are linear."""
    if distributed.world_size() == 1:
        return
    for child in module.modules():
        if isinstance(child, GroupedBatchNorm):
            for buffer in (child.running_mean, child.running_var):
                assert buffer is not None
                dist.all_reduce(buffer)
                buffer.div_(distributed.world_size())
