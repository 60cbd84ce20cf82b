"""Class-activation maps: the package grad-cam is the oracle, for every family of backbones."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainables.backbone import Backbone
from trainables.downstream.cam import grad_cam

# Each with the layer that grad-cam's authors advise, and its name in the network.
FAMILIES = {
    "resnet10": "layer4",
    "convnext_atto": "stages.3",
    "vit_tiny_patch16_224": "blocks.11.norm1",
    "tf_efficientnet_lite0": "bn2",
}


def made(name: str) -> tuple[Backbone, nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    backbone = Backbone(name, 3).eval()
    return backbone, nn.Linear(backbone.width, 4), torch.randn(3, 3, 96, 96)


def scaled(one: np.ndarray) -> np.ndarray:
    return (one - one.min()) / (1e-7 + (one - one.min()).max())


def enlarged(one: np.ndarray) -> np.ndarray:
    return F.interpolate(torch.from_numpy(one)[None, None], (96, 96), mode="bilinear")[0, 0].numpy()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_map_is_that_of_the_package_grad_cam(name):
    """Which scales each map to 0..1, enlarges it to the image and scales it again."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    backbone, head, views = made(name)
    wanted = torch.tensor([2, 0, 3])
    _, (maps,) = grad_cam(backbone, head, views, lambda _: [wanted])
    side = maps.shape[-1]

    def tokens(found: torch.Tensor) -> torch.Tensor:
        return found[:, 1:].transpose(1, 2).unflatten(2, (side, side))

    layer = backbone.net.get_submodule(FAMILIES[name])
    shaped = tokens if name.startswith("vit") else None
    with GradCAM(nn.Sequential(backbone, head), [layer], reshape_transform=shaped) as oracle:
        expected = oracle(views, [ClassifierOutputTarget(k) for k in wanted.tolist()])
    assert max(map(np.ptp, expected)) > 0.5
    for one, told in zip(maps.numpy(), expected, strict=True):
        assert told == pytest.approx(scaled(enlarged(scaled(one))), abs=1e-4)


def test_the_map_of_a_linear_layer_on_pooled_maps_is_the_weighted_mean_of_the_maps():
    backbone, head, views = made("resnet10")
    logits, (found, nothing) = grad_cam(
        backbone, head, views, lambda told: [told.argmax(1), torch.tensor([1, -1, -1])]
    )
    with torch.no_grad():
        maps, expected = backbone.maps(views), head(backbone(views))
    torch.testing.assert_close(logits, expected)
    weights = head.weight[logits.argmax(1)] / maps[0, 0].numel()
    torch.testing.assert_close(
        found, torch.einsum("nc,nchw->nhw", weights.detach(), maps).relu(), rtol=1e-4, atol=1e-6
    )
    assert nothing[0].sum() > 0
    assert not nothing[1:].any(), "no class, no map"


def test_the_network_is_left_as_it_was():
    backbone, head, views = made("resnet10")
    next(backbone.parameters()).requires_grad_(False)
    trained = [p.requires_grad for p in backbone.parameters()]
    grad_cam(backbone, head, views, lambda told: [told.argmax(1)])
    assert [p.requires_grad for p in backbone.parameters()] == trained
    assert all(p.grad is None for p in [*backbone.parameters(), *head.parameters()])
    assert "forward_features" not in vars(backbone.net)
