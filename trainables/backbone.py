"""Backbones: torchvision's ResNets without classifier, so that weights load anywhere.

State-dict keys are torchvision's and timm's (minus `fc`). `group_batch_norm` computes BatchNorm
statistics over fixed parts of the global batch (BatchNorm groups), whatever the number of ranks:
one rank with four BatchNorm groups and four ranks with one each compute the same.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import resnet

from trainables.architectures import ARCHITECTURES
from trainables.errors import UserError
from trainables.plugins import unknown
from trainables.training import distributed

WEIGHTS = "backbone.safetensors"  # in the folder of every stage that has a backbone


class Backbone(resnet.ResNet):
    """A ResNet whose forward returns pooled features; `maps` returns the last feature maps.

    width: the number of features (512 for basic blocks, 2048 for bottlenecks).
    """

    def __init__(self, name: str, channels: int = 3) -> None:
        if name not in ARCHITECTURES:
            raise UserError(unknown("profile.backbone", name, tuple(ARCHITECTURES)))
        known = ARCHITECTURES[name]
        super().__init__(getattr(resnet, known.block), known.layers, zero_init_residual=False)
        self.width: int = self.fc.in_features
        del self.fc
        if channels != 3:
            self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, x: Tensor) -> Tensor:
        """Return feature maps: [n, channels, h, w] -> [n, width, h / 32, w / 32]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features: [n, channels, h, w] -> [n, width]."""
        return self.maps(x).mean((2, 3))


def load_backbone(backbone: Backbone, folder: Path | None) -> Backbone:
    """Load weights and BatchNorm statistics of the stage in `folder`; None changes nothing."""
    if folder is not None:
        backbone.load_state_dict(load_file(folder / WEIGHTS))
    return backbone


def save_backbone(backbone: nn.Module, folder: Path) -> None:
    save(backbone, folder / WEIGHTS)


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


def group_batch_norm(module: nn.Module, groups: int) -> None:
    """Replace every BatchNorm in place; groups: how many BatchNorm groups this rank holds."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.__class__ = GroupedBatchNorm
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
