"""Backbones: networks of torchvision and timm without classifier, so that weights load anywhere.

`group_batch_norm` computes BatchNorm
statistics over fixed parts of the global batch (BatchNorm groups), whatever the number of ranks:
one rank with four BatchNorm groups and four ranks with one each compute the same.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainables import networks
from trainables.errors import UserError
from trainables.spec import Training
from trainables.training import distributed

M = TypeVar("M", bound=nn.Module)
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


def used(backbone: Backbone, empty: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what becomes of an empty image; freeze what has no part in it.

    DDP refuses parameters that are never used, such as the norm of pooled features.
    """
    trained, training = [p for p in backbone.parameters() if p.requires_grad], backbone.training
    backbone.eval()
    output = encode(empty.to(trained[0].device))
    slopes = torch.autograd.grad(output.sum(), trained, allow_unused=True)
    backbone.train(training)
    for parameter, slope in zip(trained, slopes, strict=True):
        parameter.requires_grad_(slope is not None)
    return output.detach()


def save_backbone(backbone: Backbone, folder: Path) -> None:
    save(backbone.net, folder / WEIGHTS)


def save(module: nn.Module, path: Path) -> None:
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    save_file(state, path)


class Seen(NamedTuple):
    """What one call of a layer saw of each BatchNorm group.

    means, inverses: mean and 1 / std, [channels]. sizes: values of a channel.
    """

    norm: "GroupedBatchNorm"
    means: list[Tensor]
    inverses: list[Tensor]
    sizes: list[float]


class GroupedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over `groups` equal, contiguous parts of the local batch.

    What it sees is added to `seen`, which all layers of a network share: see `update_statistics`.
    """

    groups = 1
    seen: list[Seen]
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.dim() in (2, 4), input.shape

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        parts = input.chunk(self.groups)
        outs, means, inverses = zip(*map(self._normalised, parts), strict=True)
        if self.track_running_stats:
            sizes = [part.numel() / part.shape[1] for part in parts]
            self.seen.append(Seen(self, [*means], [*inverses], sizes))
        return torch.cat(outs) if len(outs) > 1 else outs[0]

    def _normalised(self, part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.native_batch_norm(
            part, self.weight, self.bias, None, None, True, 0.0, self.eps
        )


class GroupedBatchNormAct(GroupedBatchNorm):
    """The same for timm's BatchNorm that is followed by dropout and an activation."""

    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.get_submodule("drop")(super().forward(input)))


def group_batch_norm(module: nn.Module, groups: int) -> None:
    """Replace every BatchNorm in place; groups: how many BatchNorm groups this rank holds.

    Running statistics are updated at the end of every forward pass of `module`.
    """
    seen: list[Seen] = []
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            acts = hasattr(child, "act")  # timm's BatchNormAct2d, without importing timm
            child.__class__ = GroupedBatchNormAct if acts else GroupedBatchNorm
            child.groups, child.seen = groups, seen  # type: ignore[assignment]
    module.register_forward_hook(partial(_after_forward, seen))


def _after_forward(seen: list[Seen], *_: object) -> None:
    update_statistics(seen)


def untracked(module: M) -> M:
    """Stop the running statistics of an encoder that nothing evaluates; returns the module."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.track_running_stats = False
    return module


@torch.no_grad()
def update_statistics(seen: list[Seen]) -> None:
    """Move the running statistics by what was seen, and forget that.

    All layers share a few calls, since a layer by itself takes 19 launches with four parts.
    """
    rounds, calls = list[list[Seen]](), Counter[GroupedBatchNorm]()
    for one in seen:
        if calls[one.norm] == len(rounds):
            rounds.append([])
        rounds[calls[one.norm]].append(one)
        calls[one.norm] += 1
    seen.clear()
    for some in rounds:
        _update(some)


def _update(seen: Sequence[Seen]) -> None:
    """Update each layer once: running += momentum * (mean over the parts - running).

    That is linear, so the mean over ranks equals the statistics of one rank with all parts.
    """
    momenta = [0.1 if one.norm.momentum is None else one.norm.momentum for one in seen]
    parts = len(seen[0].means)
    each = [(one, momentum / parts) for one, momentum in zip(seen, momenta, strict=True)]
    plain = [weight for _, weight in each for _ in range(parts)]
    unbiased = [weight * n / max(n - 1, 1) for one, weight in each for n in one.sizes]
    variances = torch._foreach_pow([x for one in seen for x in one.inverses], -2)
    torch._foreach_sub_(variances, [one.norm.eps for one in seen for _ in range(parts)])
    means = [x for one in seen for x in one.means]
    moves = torch._foreach_mul([*means, *variances], plain + unbiased)
    running = [one.norm.running_mean for one in seen] + [one.norm.running_var for one in seen]
    torch._foreach_mul_(running, [1 - momentum for momentum in momenta] * 2)
    for part in range(parts):
        torch._foreach_add_(running, [*moves[part::parts]])
    torch._foreach_add_([one.norm.num_batches_tracked for one in seen], 1)


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
        for norm in norms:
            if isinstance(norm, GroupedBatchNorm):
                update_statistics(norm.seen)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    average_statistics(module)
    module.train(was)


@contextlib.contextmanager
def in_one_group(module: nn.Module) -> Iterator[None]:
    """Make each batch one BatchNorm group for the block, however many this rank holds."""
    grouped = [child for child in module.modules() if isinstance(child, GroupedBatchNorm)]
    before = [child.groups for child in grouped]
    for child in grouped:
        child.groups = 1
    try:
        yield
    finally:
        for child, count in zip(grouped, before, strict=True):
            child.groups = count


@torch.no_grad()
def average_statistics(module: nn.Module) -> None:
    """Average the running statistics over ranks in place; valid at any step, updates are linear."""
    if distributed.world_size() == 1:
        return
    for child in module.modules():
        if isinstance(child, GroupedBatchNorm) and child.track_running_stats:
            for buffer in (child.running_mean, child.running_var):
                dist.all_reduce(buffer)
                buffer.div_(distributed.world_size())
