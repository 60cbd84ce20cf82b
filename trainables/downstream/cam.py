"""Grad-CAM of a classifier (Selvaraju et al., 2017), in batches, for any backbone.

    logits, (found,) = grad_cam(backbone, head, views, lambda logits: [logits.argmax(1)])
    found                     # [n, h, w], at least 0: where it looked, in cells of the last maps

The network runs without gradients up to its last feature maps, so a map costs little more than an
answer. All layers are in evaluation mode if the caller has them so.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainables import networks
from trainables.backbone import Backbone


def grad_cam(
    backbone: Backbone, head: nn.Module, views: Tensor, choose: Callable[[Tensor], Sequence[Tensor]]
) -> tuple[Tensor, list[Tensor]]:
    """Return the logits [n, classes], and a map [n, h, w] of each choice.

    choose: from the logits, classes to explain: int64 [n] each; -1 has a map of zeros.
    """
    with _frozen(backbone), _watched(backbone.net) as kept, torch.enable_grad():
        logits = head(backbone(views)).float()
        (layer,) = kept
        found = []
        for classes in choose(logits.detach()):
            told = logits.gather(1, classes.clamp(min=0)[:, None])[:, 0] * (classes >= 0)
            (gradient,) = torch.autograd.grad(told.sum(), layer, retain_graph=True)
            found.append(_map(backbone.net, layer.detach(), gradient))
    return logits.detach(), found


def _map(net: nn.Module, layer: Tensor, gradient: Tensor) -> Tensor:
    maps, slopes = (networks.arranged(net, one).float() for one in (layer, gradient))
    return (slopes.mean((2, 3), keepdim=True) * maps).sum(1).relu()


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Keep no graph of the parameters for the block."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _watched(net: nn.Module) -> Iterator[list[Tensor]]:
    """Give the last feature maps gradients of their own; yields the list that they come into.

    A transformer that answers from its class token is watched before its last attention: after it
    no patch has a say in the answer.
    """
    kept = list[Tensor]()

    def watch(found: Tensor) -> Tensor:
        kept.append(found.detach().requires_grad_())
        return kept[-1]

    blocks = getattr(net, "blocks", None)
    if blocks is not None and getattr(net, "global_pool", None) == "token":
        handle = blocks[-1].norm1.register_forward_hook(lambda *given: watch(given[-1]))
        try:
            yield kept
        finally:
            handle.remove()
        return
    plain = net.forward_features
    net.forward_features = lambda x: watch(plain(x))  # type: ignore[operator, assignment]
    try:
        yield kept
    finally:
        del net.forward_features
